"""Recurrent PPO (Schulman et al. 2017, arXiv 1707.06347) for any core, on Stable-Baselines3's ``OnPolicyAlgorithm``.

How it differs from sb3-contrib's class of the same name: the core is a choice, not an LSTM; a minibatch is whole rows
of the rollout, without padding or masks, and one scan goes over all of it, episode boundaries included; actor and
critic share the core and both train it.
"""

from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import FloatSchedule, explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from s7rl.agents.allocator import keep_freed_memory
from s7rl.agents.buffer import SequenceBuffer, Sequences, rows_per_minibatch
from s7rl.agents.checkpoint import CheckpointMixin
from s7rl.agents.policies import RecurrentActorCriticPolicy, check_spaces
from s7rl.agents.threads import choose_threads, torch_threads
from s7rl.agents.vec_env import make_vec_env

Self = TypeVar("Self", bound="RecurrentPPO")


class RecurrentPPO(CheckpointMixin, OnPolicyAlgorithm):
    """PPO whose policy remembers.

    Everything that an SB3 user knows works as there: callbacks, loggers, ``VecNormalize``, ``evaluate_policy``, and
    ``predict(obs, state, episode_start)`` with a state that is one numpy array ``[n_envs, S]``.

    Args:
        policy: "MlpPolicy", or a subclass of :class:`RecurrentActorCriticPolicy`.
        env: an SB3 VecEnv, a Gymnasium environment, or an id, which stands for
            ``make_vec_env(env, n_envs=16, seed=seed)``.
        learning_rate: step size of the optimiser, or a function of the remaining progress (1 to 0).
        n_steps: T, steps per environment and rollout.  It should span at least two episodes, or whatever lies
            between a cue and the decision that needs it twice: the gradient reaches no further back.
        batch_size: steps per minibatch, a multiple of ``n_steps``: a minibatch is whole rows.  None: about 2,048.
        n_epochs: passes over each rollout.
        gamma: discount, in [0, 1].
        gae_lambda: trace decay of the advantage estimate, in [0, 1].
        clip_range: how far the probability ratio may move, or a function of the remaining progress.
        clip_range_vf: the same for the value, in units of the return; None: no clipping.
        normalize_advantage: normalise advantages over the steps of each minibatch.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: the gradient is clipped to this norm.
        target_kl: stop an update when the KL divergence passes 1.5 times this; None: never.
        stats_window_size: episodes over which return, length and success are averaged.
        tensorboard_log: folder of the TensorBoard events; None: none.
        policy_kwargs: see :class:`RecurrentActorCriticPolicy`: ``core``, ``d_model``, ``d_state``, ``n_blocks``,
            ``core_kwargs``, ``net_arch``, ...
        verbose: 0 silent, 1 information, 2 debug.
        seed: seeds torch, numpy, the action space and the environments.
        device: "cpu", "cuda" or "auto".
        n_threads: torch threads on the CPU while learning; "auto": one for small networks.  The number from before is
            restored when ``learn`` returns.

    Raises:
        ValueError: if the environment's spaces are not supported, or rollout and minibatch do not fit together.
    """

    policy: RecurrentActorCriticPolicy
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": RecurrentActorCriticPolicy}

    def __init__(
        self,
        policy: str | type[RecurrentActorCriticPolicy] = "MlpPolicy",
        env: GymEnv | str | None = None,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 256,
        batch_size: int | None = None,
        n_epochs: int = 4,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        n_threads: int | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        if isinstance(env, str):
            env = make_vec_env(env, seed=seed)
        if env is not None:
            check_spaces(env.observation_space, env.action_space)
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None is how SB3's load makes a model without an environment
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.clip_range = clip_range
        self.clip_range_vf = clip_range_vf
        self.normalize_advantage = normalize_advantage
        self.target_kl = target_kl
        self.stats_window_size = stats_window_size
        self.n_threads = n_threads
        self._last_state: Tensor | None = None
        if n_threads != "auto" and (not isinstance(n_threads, int) or n_threads < 1):
            raise ValueError(f"n_threads is {n_threads!r}, but it is a number of threads: pass 1 or more, or 'auto'.")
        if _init_setup_model:
            if env is not None:
                rows_per_minibatch(self.n_envs, n_steps, batch_size)  # say early what does not fit
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._clip_range = FloatSchedule(self.clip_range)
        self._clip_range_vf = None if self.clip_range_vf is None else FloatSchedule(self.clip_range_vf)
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        )
        self.policy = self.policy.to(self.device)
        if self.verbose >= 1:
            print(f"torch threads while learning: {self.threads}")

    @property
    def threads(self) -> int:
        """Torch threads on the CPU while learning, as ``n_threads`` says."""
        return choose_threads(self.policy.d_model) if self.n_threads == "auto" else int(self.n_threads)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        total_timesteps, callback = super()._setup_learn(*args, **kwargs)
        # Here, not in _setup_model: a model may be loaded with fewer environments, only to act.
        self._rows = rows_per_minibatch(self.n_envs, self.n_steps, self.batch_size)
        self.rollout_buffer: SequenceBuffer = SequenceBuffer(  # type: ignore[assignment]
            self.n_steps,
            self.n_envs,
            self.observation_space,
            self.action_space,
            self.policy.core.state_size,
            self.device,
        )
        assert self._last_episode_starts is not None
        if self._last_state is None or self._last_episode_starts.all():
            self._last_state = self.policy.initial_state(self.n_envs)
        return total_timesteps, callback

    def learn(
        self: Self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "RecurrentPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for ``total_timesteps`` environment steps, rounded up to whole rollouts.

        Args:
            total_timesteps: environment steps, summed over all environments.
            callback: one callback, a list of them or a function, as in SB3.
            log_interval: rollouts between two dumps of the log.
            tb_log_name: name of the TensorBoard run.
            reset_num_timesteps: start counting at 0 and reset the environments; False: go on where the last call of
                ``learn`` stopped.
            progress_bar: show SB3's progress bar.
        """
        keep_freed_memory()
        with torch_threads(self.threads):
            return super().learn(
                total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
            )

    def collect_rollouts(  # type: ignore[override]
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: SequenceBuffer, n_rollout_steps: int
    ) -> bool:
        """Act for ``n_rollout_steps`` steps in every environment and compute advantages.

        Returns:
            False if the callback asked to stop before the rollout was full.
        """
        self.policy.set_training_mode(False)
        buffer = rollout_buffer
        obs: Any = self._last_obs
        starts, state = self._last_episode_starts, self._last_state
        assert obs is not None
        assert starts is not None
        assert state is not None
        buffer.initial_state.copy_(state)
        time_outs = _TimeOuts()
        callback.on_rollout_start()

        for t in range(n_rollout_steps):
            obs_tensor = self._to_tensor(obs)
            starts_tensor = torch.as_tensor(starts, dtype=torch.bool, device=self.device)
            with torch.no_grad():
                actions, values, log_probs, state = self.policy(obs_tensor, state, starts_tensor)
            buffer.observations[t] = obs_tensor
            buffer.episode_starts[t] = starts_tensor
            buffer.actions[t] = actions
            buffer.values[t] = values
            buffer.log_probs[t] = log_probs

            obs, rewards, dones, infos = env.step(self.policy.to_action_space(actions.cpu().numpy()))
            self.num_timesteps += env.num_envs
            buffer.rewards[t] = torch.as_tensor(rewards, device=self.device)
            truncated = np.zeros(env.num_envs, dtype=bool)
            if dones.any():
                self._update_info_buffer(infos, dones)
                for i in dones.nonzero()[0].tolist():
                    if infos[i].get("TimeLimit.truncated", False):
                        truncated[i] = True
                        time_outs.add(t, i, infos[i]["terminal_observation"], state[i])
            buffer.truncated[t] = torch.as_tensor(truncated, device=self.device)
            buffer.terminated[t] = torch.as_tensor(dones & ~truncated, device=self.device)

            starts = dones
            self._last_obs, self._last_episode_starts, self._last_state = obs, starts, state
            callback.update_locals(locals())
            if not callback.on_step():
                return False

        with torch.no_grad():
            last_values = self.policy.predict_values(
                self._to_tensor(obs),
                state,
                torch.as_tensor(starts, dtype=torch.bool, device=self.device),
            )
            buffer.finish(last_values, *time_outs.values(self.policy), gamma=self.gamma, gae_lambda=self.gae_lambda)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """Update the policy from the last rollout."""
        self.policy.set_training_mode(True)
        learning_rate = self.lr_schedule(self._current_progress_remaining)
        self.logger.record("train/learning_rate", learning_rate)
        self.policy.set_learning_rate(learning_rate)
        clip_range = self._clip_range(self._current_progress_remaining)
        clip_range_vf = None if self._clip_range_vf is None else self._clip_range_vf(self._current_progress_remaining)
        statistics: list[dict[str, Tensor]] = []
        for _ in range(self.n_epochs):
            within_target = self._epoch(clip_range, clip_range_vf, statistics)
            self._n_updates += 1
            if not within_target:
                break
        self._log_update(statistics, clip_range, clip_range_vf)

    def _epoch(self, clip_range: float, clip_range_vf: float | None, statistics: list[dict[str, Tensor]]) -> bool:
        """Pass over the rollout once; False if the policy moved further than ``target_kl`` allows."""
        for batch in self.rollout_buffer.minibatches(self._rows):
            loss, numbers = self._loss(batch, clip_range, clip_range_vf)
            statistics.append(numbers)
            if self.target_kl is not None and numbers["approx_kl"] > 1.5 * self.target_kl:
                if self.verbose >= 1:
                    print(f"Stopping this update early: the KL divergence reached {numbers['approx_kl']:.3f}.")
                return False
            self.policy.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        return True

    def _loss(
        self, batch: Sequences, clip_range: float, clip_range_vf: float | None
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The clipped surrogate loss of a minibatch (eq. 9 of the paper), and its statistics under their log keys."""
        values, log_probs, entropies = self.policy.evaluate_actions(
            batch.observations, batch.actions, batch.initial_state, batch.episode_starts
        )
        advantages = batch.advantages
        if self.normalize_advantage:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = log_probs - batch.log_probs
        ratio = log_ratio.exp()
        policy_loss = -torch.min(advantages * ratio, advantages * ratio.clamp(1 - clip_range, 1 + clip_range)).mean()
        if clip_range_vf is not None:
            values = batch.values + (values - batch.values).clamp(-clip_range_vf, clip_range_vf)
        value_loss = nn.functional.mse_loss(values, batch.returns)
        # Where the entropy has no closed form, -log pi of the taken actions estimates it.
        entropy_loss = log_probs.mean() if entropies is None else -entropies.mean()
        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
        with torch.no_grad():
            numbers = {
                "entropy_loss": entropy_loss.detach(),
                "policy_gradient_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                # Low-variance estimate of KL(old, new): http://joschu.net/blog/kl-approx.html
                "approx_kl": (ratio - 1 - log_ratio).mean(),
                "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
                "loss": loss.detach(),
            }
        return loss, numbers

    def _log_update(self, statistics: list[dict[str, Tensor]], clip_range: float, clip_range_vf: float | None) -> None:
        for key in statistics[0]:
            self.logger.record(f"train/{key}", torch.stack([numbers[key] for numbers in statistics]).mean().item())
        buffer = self.rollout_buffer
        explained = explained_variance(buffer.values.flatten().cpu().numpy(), buffer.returns.flatten().cpu().numpy())
        self.logger.record("train/explained_variance", float(explained))
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", self.policy.log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def _to_tensor(self, obs: Any) -> Tensor:
        return torch.as_tensor(obs, device=self.device)


class _TimeOuts:
    """Last observations of truncated episodes, valued together once the rollout is over."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self.observations: list[Any] = []
        self.states: list[Tensor] = []

    def add(self, step: int, env: int, observation: Any, state: Float[Tensor, " S"]) -> None:
        self.places.append((step, env))
        self.observations.append(observation)
        self.states.append(state)

    def values(self, policy: RecurrentActorCriticPolicy) -> tuple[Tensor, Tensor]:
        """(step, environment) of each, and the value of its last observation under the state after the last step."""
        places = torch.tensor(self.places, dtype=torch.long, device=policy.device).reshape(-1, 2)
        if not self.places:
            return places, torch.zeros(0, device=policy.device)
        observations = torch.as_tensor(np.stack(self.observations), device=policy.device)
        no_reset = torch.zeros(len(places), dtype=torch.bool, device=policy.device)
        return places, policy.predict_values(observations, torch.stack(self.states), no_reset)
