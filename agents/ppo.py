"""Recurrent PPO (Schulman et al. 2017, arXiv 1707.06347) for any core, on Stable-Baselines3's ``OnPolicyAlgorithm``.

How it differs from sb3-contrib's class of the same name: the core is a choice, not an LSTM; a minibatch is sequences
of equal length, without padding or masks, and one scan goes over all of it, episode boundaries included; the state
before a sequence is computed anew, with the weights of the moment, at each pass; actor and critic share the core and
both train it, unless told otherwise.
"""

import os
from contextlib import nullcontext
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import FloatSchedule

from s7rl.agents import distributed
from s7rl.agents.acting import ActingMixin
from s7rl.agents.allocator import keep_freed_memory
from s7rl.agents.anomalies import find_anomalies
from s7rl.agents.arguments import LEARN_ARGUMENTS, PPO_ARGUMENTS, check_policy, check_policy_kwargs
from s7rl.agents.distributions import mask_parts
from s7rl.agents.learning import LearningMixin
from s7rl.agents.lstm_policies import LSTM_POLICIES, from_lstm_policy
from s7rl.agents.minibatch_sizes import cut_rollout
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.policy_names import POLICIES
from s7rl.agents.resume import ResumeMixin
from s7rl.agents.rollout_buffer import SequenceBuffer
from s7rl.agents.spaces import check_spaces
from s7rl.agents.threads import choose_threads, torch_threads
from s7rl.agents.vec_env import prepare_env
from s7rl.agents.vectorization import make_vec
from s7rl.checks import check_arguments

Self = TypeVar("Self", bound="RecurrentPPO")


class RecurrentPPO(ResumeMixin, ActingMixin, LearningMixin, OnPolicyAlgorithm):
    """PPO whose policy remembers.

    Everything that an SB3 user knows works as there: callbacks, loggers, ``VecNormalize``, ``evaluate_policy``, and
    ``predict(obs, state, episode_start)`` with a state that is one numpy array ``[n_envs, S]``.

    Inside :func:`s7rl.agents.process_group`, K processes with ``n_envs`` environments and minibatches of ``batch_size``
    steps each learn as one with K times as many: gradients are averaged, advantages and ``VecNormalize`` go by the
    steps of all, ``num_timesteps`` counts them, and only rank 0 logs and saves.

    Args:
        policy: "MlpPolicy", "CnnPolicy" for images, "MultiInputPolicy" for Dict observations, or a subclass of
            :class:`RecurrentActorCriticPolicy`.  sb3-contrib's "MlpLstmPolicy", "CnnLstmPolicy" and
            "MultiInputLstmPolicy" with their keyword arguments mean ``core="lstm"``.
        env: an SB3 VecEnv, a Gymnasium environment or vector environment, see
            :func:`s7rl.agents.prepare_env`, or an id, which stands for ``make_vec(env, n_envs=16, seed=seed)``.
        learning_rate: step size of the optimiser, or a function of the remaining progress (1 to 0).
        n_steps: T, steps per environment and rollout.  It should span at least two episodes, or whatever lies
            between a cue and the decision that needs it twice: the gradient reaches no further back.
        batch_size: steps per minibatch: whole rows of the rollout, or one sequence where it is smaller than
            ``n_steps``.  None: about 2,048.
        n_epochs: passes over each rollout.
        gamma: discount, in [0, 1].
        gae_lambda: trace decay of the advantage estimate, in [0, 1].
        clip_range: how far the probability ratio may move, or a function of the remaining progress.
        clip_range_vf: the same for the value, in units of the return; None: no clipping.
        normalize_advantage: normalise advantages over the steps of each minibatch.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: the gradient is clipped to this norm.
        use_sde: exploration that depends on the state (gSDE, Raffin et al. 2021, arXiv 2005.05719), for Box actions.
        sde_sample_freq: steps after which its noise is drawn anew; -1: once a rollout.
        target_kl: stop an update when the KL divergence passes 1.5 times this; None: never.
        stats_window_size: episodes over which return, length and success are averaged.
        tensorboard_log: folder of the TensorBoard events; None: none.
        policy_kwargs: see :class:`RecurrentActorCriticPolicy`: ``core``, ``d_model``, ``d_state``, ``n_blocks``,
            ``core_kwargs``, ``critic_core``, ``net_arch``, ...
        verbose: 0 silent, 1 information, 2 debug.
        seed: seeds torch, numpy, the action space and the environments.
        device: "cpu", "cuda" or "auto".
        sequence_length: steps that one gradient reaches back, a divisor of ``n_steps``: rows are cut into sequences
            of this length.  None: whole rows, or ``batch_size`` if that is smaller.
        refresh: where the memory's state before a sequence comes from.  "epoch": at each pass over the rollout it is
            computed from the row's first step with the weights of the moment; "never": it stays what it was while
            acting.
        burn_in: K, steps of the rollout before from which a row's first state is computed anew whenever states are
            refreshed and before the next rollout begins; 0: it stays as acting left it.
        n_threads: torch threads on the CPU; "auto": one, but as many as torch had before for learning with a network
            of width 512 or more.  The number from before is restored when ``learn`` returns.
        debug_anomalies: where a number becomes nan or infinite while learning, name the layer; slow.  Without it too
            every such number ends ``learn`` by a :class:`NumericalError` before it reaches the weights.
        compile_policy: compile what the policy does while learning by ``torch.compile``.  The first update then takes
            longer, by seconds to minutes; on a CPU, of s7, gru, lru and mamba, later ones were faster for mamba alone.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if one is out of range, the environment's spaces are not supported, or rollout and minibatch do not
            fit together.
    """

    policy: RecurrentActorCriticPolicy
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict(POLICIES)
    _wrap_env = staticmethod(prepare_env)

    def __init__(
        self,
        policy: str | type[RecurrentActorCriticPolicy] = "MlpPolicy",
        env: GymEnv | VectorEnv | str | None = None,
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
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        target_kl: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | os.PathLike[str] | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        sequence_length: int | None = None,
        refresh: str = "epoch",
        burn_in: int = 0,
        n_threads: int | str = "auto",
        debug_anomalies: bool = False,
        compile_policy: bool = False,
    ) -> None:
        check_arguments(locals(), **PPO_ARGUMENTS)
        check_policy(policy, [*self.policy_aliases, *LSTM_POLICIES], RecurrentActorCriticPolicy)
        if isinstance(policy, str) and policy in LSTM_POLICIES:
            policy, policy_kwargs = from_lstm_policy(policy, policy_kwargs)
        policy_class = self.policy_aliases[policy] if isinstance(policy, str) else policy
        check_policy_kwargs(policy_kwargs or {}, policy_class)
        if burn_in > n_steps:
            raise ValueError(
                f"burn_in is {burn_in}, but a rollout has n_steps = {n_steps}: pass a number from 0 to that."
            )
        if env is None and _init_setup_model:
            raise ValueError("env is None, but an agent follows from what it sees and does: pass an environment.")
        if isinstance(env, str):
            env = make_vec(env, seed=seed)
        if env is not None:
            env = prepare_env(env, verbose)
            check_spaces(env.observation_space, env.action_space)
            if use_sde and not isinstance(env.action_space, spaces.Box):
                raise ValueError(f"use_sde is True, but it is for Box actions, not {env.action_space}: leave it out.")
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
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            stats_window_size=stats_window_size,
            tensorboard_log=None if tensorboard_log is None else os.fspath(tensorboard_log),
            policy_kwargs=policy_kwargs,
            verbose=verbose if distributed.rank() == 0 else 0,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        # Functions of the remaining progress once the model is set up, as in SB3.
        self.clip_range: Any = clip_range
        self.clip_range_vf: Any = clip_range_vf
        self.normalize_advantage = normalize_advantage
        self.target_kl = target_kl
        self.stats_window_size = stats_window_size
        self.sequence_length = sequence_length
        self.refresh = refresh
        self.burn_in = burn_in
        self.n_threads = n_threads
        self.debug_anomalies = debug_anomalies
        self.compile_policy = compile_policy
        self._iteration = 0
        if _init_setup_model:
            if env is not None:
                cut_rollout(self.n_envs, n_steps, batch_size, sequence_length)  # say early what does not fit
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.clip_range = FloatSchedule(self.clip_range)
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)
        self.policy = self._make_policy().to(self.device)
        if self.compile_policy:
            self.policy.evaluate_actions = torch.compile(self.policy.evaluate_actions)  # type: ignore[method-assign]
        if self.seed is not None and distributed.rank() > 0:
            # The same weights as on rank 0, but other episodes and actions: its environments are the next ones.
            self.set_random_seed(self.seed + distributed.rank() * self.n_envs)
        if self.verbose >= 1:
            print(f"torch threads while learning: {self.threads}")

    def _make_policy(self) -> RecurrentActorCriticPolicy:
        policy: RecurrentActorCriticPolicy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, use_sde=self.use_sde, **self.policy_kwargs
        )
        return policy

    @property
    def threads(self) -> int:
        """Torch threads on the CPU while learning, as ``n_threads`` says."""
        return choose_threads(self.policy.d_model) if self.n_threads == "auto" else int(self.n_threads)

    @property
    def acting_threads(self) -> int:
        """Torch threads on the CPU while acting: one, unless ``n_threads`` is a number."""
        return 1 if self.n_threads == "auto" else int(self.n_threads)

    def _setup_learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if distributed.world_size() > 1:
            distributed.check_same({"total_timesteps": total_timesteps, **self.shared_settings()})
        distributed.broadcast_parameters(self.policy)
        self._statistics = distributed.SharedStatistics(self.get_vec_normalize_env())
        if distributed.rank() > 0:
            self.set_logger(Logger(None, []))
        # Here, not in _setup_model: a model may be loaded with fewer environments, only to act.
        length, self._sequences = cut_rollout(self.n_envs, self.n_steps, self.batch_size, self.sequence_length)
        self.rollout_buffer: SequenceBuffer = SequenceBuffer(  # type: ignore[assignment]
            self.n_steps,
            self.n_envs,
            self.observation_space,
            self.action_space,
            self.policy.state_size,
            self.device,
            sequence_length=length,
            mask_size=sum(mask_parts(self.action_space)) if self._use_masking else 0,
        )
        total_timesteps, callback = super()._setup_learn(total_timesteps, *args, **kwargs)
        assert self._last_episode_starts is not None
        if self._last_state is None or self._last_episode_starts.all():
            self._last_state = self.policy.initial_state(self.n_envs)
            self._history = self._next_history = None
        return total_timesteps, callback

    def learn(
        self: Self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str = "RecurrentPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        use_masking: bool | None = None,
    ) -> Self:
        """Train for ``total_timesteps`` environment steps, rounded up to whole rollouts.

        On the CPU, with glibc, the whole process keeps from then on what it frees, other parts of the program too,
        until it ends; :mod:`s7rl.agents.allocator` says why.

        Args:
            total_timesteps: environment steps, summed over all environments.
            callback: one callback, a list of them or a function, as in SB3.
            log_interval: rollouts between two dumps of the log; None: none is dumped.
            tb_log_name: name of the TensorBoard run.
            reset_num_timesteps: start counting at 0 and reset the environments; False: go on where the last call of
                ``learn`` stopped.
            progress_bar: show SB3's progress bar.
            use_masking: take only actions that the environments' ``action_masks()`` allow, as with sb3-contrib's
                MaskablePPO; None: where they have that method.

        Raises:
            TypeError: if an argument is of the wrong kind.
            ValueError: if one is out of range, or masks are asked for and the environments have none, or have some that
                do not fit.
            NumericalError: if an observation, a reward, the loss or a gradient is nan or infinite.
        """
        check_arguments(locals(), **LEARN_ARGUMENTS)
        if self.policy.device.type == "cpu":
            keep_freed_memory()
        anomalies = find_anomalies(self.policy) if self.debug_anomalies else nullcontext()
        with torch_threads(self.threads), anomalies:
            if reset_num_timesteps:
                self._iteration = 0
            self._set_masking(use_masking)
            total_timesteps, callback = self._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
            assert self.env is not None
            callback.on_training_start(locals(), globals())
            while self.num_timesteps < total_timesteps:
                with torch_threads(self.acting_threads):
                    goes_on = self.collect_rollouts(self.env, callback, self.rollout_buffer, self.n_steps)
                if not goes_on:
                    break
                self._iteration += 1
                self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
                if log_interval is not None and self._iteration % log_interval == 0:
                    self.dump_logs(self._iteration)
                self.train()
            self._between_rollouts = True
            callback.on_training_end()
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[Any], Any]:
        """Choose actions; see :meth:`RecurrentActorCriticPolicy.predict`."""
        return self.policy.predict(observation, state, episode_start, deterministic, action_masks)
