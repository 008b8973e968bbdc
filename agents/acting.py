"""How :class:`s7rl.agents.RecurrentPPO` acts: rollouts, with the memory carried from step to step."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from s7rl.agents import distributed
from s7rl.agents.action_masks import get_action_masks, is_masking_supported
from s7rl.agents.anomalies import diagnosing
from s7rl.agents.numerics import (
    check_actions,
    check_last_observation,
    check_observations,
    check_rewards,
    check_rollout,
)
from s7rl.agents.observations import to_tensors
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.rollout_buffer import History, SequenceBuffer
from s7rl.envs.rewards import frozen

VALUED_AT_ONCE = 256
"""Last observations, at most, in one batch: images of more may not fit where those of a minibatch do."""


class ActingMixin(OnPolicyAlgorithm):
    """Collects rollouts."""

    policy: RecurrentActorCriticPolicy
    burn_in: int
    _use_masking: bool
    _statistics: distributed.SharedStatistics
    _between_rollouts: bool
    _last_state: Tensor | None = None
    _history: History | None = None
    """The steps before the rollout, if there is a burn-in."""
    _next_history: History | None = None
    """The last steps of the rollout, for the next one."""

    def _set_masking(self, wanted: bool | None) -> None:
        if self.env is None:
            raise ValueError("env is None, but learning needs an environment: pass one, or call set_env first.")
        offered = is_masking_supported(self.env)
        if wanted and not offered:
            raise ValueError(
                "use_masking is True, but the environments have no method action_masks(): add it, or leave it out."
            )
        self._use_masking = offered if wanted is None else wanted

    def collect_rollouts(  # type: ignore[override]
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: SequenceBuffer, n_rollout_steps: int
    ) -> bool:
        """Act for ``n_rollout_steps`` steps in every environment and compute advantages.

        Returns:
            False if the callback asked to stop.
        """
        self.policy.set_training_mode(False)
        buffer = rollout_buffer
        new_obs: Any = self._last_obs
        assert new_obs is not None
        check_observations(new_obs, env, 0, self.num_timesteps)
        self._between_rollouts = True
        callback.on_rollout_start()  # before anything else, so that what it saves is where a rollout begins
        self._between_rollouts = False
        self._warm_up()
        starts, state = self._last_episode_starts, self._last_state
        assert starts is not None
        assert state is not None
        before_last_steps = state
        buffer.clear_ends()
        steps_at_once = env.num_envs * distributed.world_size()
        time_outs = _TimeOuts()
        episodes = distributed.SharedEpisodes(self)
        goes_on = True

        for n_steps in range(n_rollout_steps):
            self.renew_noise(n_steps, env.num_envs)
            if n_steps % buffer.sequence_length == 0:
                buffer.states[n_steps // buffer.sequence_length] = state
            if n_steps == n_rollout_steps - self.burn_in:
                before_last_steps = state
            obs_tensor = to_tensors(new_obs, self.device)
            episode_starts = torch.as_tensor(starts, dtype=torch.bool, device=self.device)
            masks = torch.as_tensor(get_action_masks(env), device=self.device) if self._use_masking else None
            forward = partial(self.policy, obs_tensor, state, episode_starts, action_masks=masks)
            with torch.no_grad(), diagnosing(self.policy, forward, step=n_steps + 1, timesteps=self.num_timesteps):
                taken, values, log_probs, state = forward()
                # Names that callbacks written for SB3 look for in their locals, here and below.
                actions = taken.cpu().numpy()
                check_actions(actions, log_probs.cpu().numpy(), n_steps + 1, self.num_timesteps)
            buffer.add(n_steps, obs_tensor, episode_starts, taken, values, log_probs, masks)

            clipped_actions = self.policy.to_action_space(actions)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            self.num_timesteps += steps_at_once
            check_observations(new_obs, env, n_steps + 1, self.num_timesteps)
            check_rewards(rewards, env, n_steps + 1, self.num_timesteps)
            buffer.rewards[n_steps] = torch.as_tensor(rewards)
            if dones.any():
                truncated = np.zeros(env.num_envs, dtype=bool)
                episodes.add(n_steps, infos, dones)
                for i in dones.nonzero()[0].tolist():
                    if infos[i].get("TimeLimit.truncated", False):
                        truncated[i] = True
                        last_obs = _last_observation(infos[i], i)
                        check_last_observation(last_obs, i, n_steps + 1, self.num_timesteps)
                        time_outs.add(n_steps, i, last_obs, state[i])
                buffer.add_ends(n_steps, dones & ~truncated, truncated)

            starts = dones
            self._last_obs, self._last_episode_starts, self._last_state = new_obs, starts, state
            callback.update_locals(locals())
            goes_on = callback.on_step()
            if not goes_on:
                break

        # What ranks exchange, they exchange here, where they meet: none waits for one that has stopped.
        if distributed.any_rank(not goes_on):
            # Each counted its own steps for those of all, but some stopped earlier; the mean is what all took together.
            self.num_timesteps = sum(distributed.gather(self.num_timesteps)) // distributed.world_size()
            return False
        episodes.merge()
        self._statistics.merge()
        with torch.no_grad():
            buffer.states[-1] = state
            last_values = self.policy.predict_values(
                to_tensors(new_obs, self.device),
                state,
                torch.as_tensor(starts, dtype=torch.bool, device=self.device),
            )
            buffer.finish(last_values, *time_outs.values(self.policy), gamma=self.gamma, gae_lambda=self.gae_lambda)
        check_rollout(buffer, self.num_timesteps)
        if self.burn_in:
            self._next_history = buffer.last_steps(self.burn_in, before_last_steps)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def renew_noise(self, step: int, n_envs: int) -> None:
        """Draw gSDE's noise anew where a rollout does; of other exploration there is nothing to draw beforehand.

        Call it before each step of play with ``deterministic=False``: :meth:`predict` keeps the noise that there is, so
        that all episodes would share it.

        Args:
            step: of the play, from 0: noise is drawn at the first and then every ``sde_sample_freq`` steps, every
                ``n_steps`` where that is -1.
            n_envs: environments, each of which gets its own.
        """
        if self.use_sde and step % (self.sde_sample_freq if self.sde_sample_freq > 0 else self.n_steps) == 0:
            self.policy.reset_noise(n_envs)

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log: what SB3's algorithms write, and the mean return of shaped rewards where there are some."""
        # Episodes of environments without shaping, where set_env changed them, have none.
        shaped = [episode["shaped_r"] for episode in self.ep_info_buffer or () if "shaped_r" in episode]
        if shaped:
            self.logger.record("rollout/ep_shaped_rew_mean", safe_mean(shaped))
        super().dump_logs(iteration)

    def _warm_up(self) -> None:
        """Warm the memory up with the weights of now, from the last steps of the rollout before."""
        self._history, self._next_history = self._next_history, None
        if self._history is not None:
            with torch.no_grad():
                self._last_state = self.policy.advance(
                    self._history.observations, self._history.state, self._history.episode_starts
                )


def _last_observation(info: Mapping[str, Any], row: int) -> Any:
    if "terminal_observation" not in info:
        raise ValueError(
            f"an episode of environment {row} ended since time was up (info['TimeLimit.truncated']), but its info has "
            "no 'terminal_observation', whose value it needs: let the wrapper that ends it put that there, as SB3's "
            "VecEnvs do."
        )
    return info["terminal_observation"]


class _TimeOuts:
    """Last observations of truncated episodes, valued many at a time once the rollout is over."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self.observations: list[Any] = []
        self.states: list[Tensor] = []

    def add(self, step: int, env: int, observation: Any, state: Float[Tensor, " S"]) -> None:
        self.places.append((step, env))
        self.observations.append(frozen(observation))  # environments may go on to write into it
        self.states.append(state.clone())  # a view would keep the states of all environments at this step

    def values(self, policy: RecurrentActorCriticPolicy) -> tuple[Tensor, Tensor]:
        """(step, environment) of each, and the value of its last observation under the state after the last step."""
        places = torch.tensor(self.places, dtype=torch.long, device=policy.device).reshape(-1, 2)
        if not self.places:
            return places, torch.zeros(0, device=policy.device)
        return places, torch.cat(
            [self._values(policy, slice(at, at + VALUED_AT_ONCE)) for at in range(0, len(places), VALUED_AT_ONCE)]
        )

    def _values(self, policy: RecurrentActorCriticPolicy, part: slice) -> Float[Tensor, " N"]:
        last, states = self.observations[part], torch.stack(self.states[part])
        stacked = (
            {key: np.stack([obs[key] for obs in last]) for key in last[0]}
            if isinstance(last[0], dict)
            else np.stack(last)
        )
        no_reset = torch.zeros(len(last), dtype=torch.bool, device=policy.device)
        return policy.predict_values(to_tensors(stacked, policy.device), states, no_reset)
