"""The reward to learn from, for vectorised environments."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from s7rl.envs.rewards import RewardError, RewardShaping, frozen


class ShapedRewardVecEnv(VecEnvWrapper):
    """Replace the rewards of environments as a :class:`s7rl.envs.rewards.RewardShaping` says.

    Put it around ``VecMonitor``, so that what is reported as an episode's return stays the environment's own, and
    inside ``VecNormalize``, which scales what is learned from.  The return of the new rewards, undiscounted, stands in
    ``info["episode"]["shaped_r"]``; :class:`s7rl.agents.RecurrentPPO` logs its mean as ``rollout/ep_shaped_rew_mean``.

    The functions are called in this process, once per environment and step; clipping and scaling alone take no loop
    over environments.  The info that a :class:`s7rl.agents.BatchedVecEnv` hands on holds nothing but ``is_success``.

    Args:
        venv: any vectorised environments.
        shaping: what becomes of the rewards.

    Raises:
        RewardError: by ``reset`` and ``step``, if a function of the user's fails or returns no finite number.
    """

    def __init__(self, venv: VecEnv, shaping: RewardShaping) -> None:
        super().__init__(venv)
        self.shaping = shaping
        self.shaped_returns: NDArray[np.float64] = np.zeros(self.num_envs)
        """The return of the episodes under way, ``[n_envs]``."""
        self._potentials: NDArray[np.float64] = np.zeros(self.num_envs)
        self._last_obs: Any = None
        self._actions: NDArray[Any] | None = None
        self._steps = 0
        self._asks = shaping.potential is not None or shaping.reward is not None

    def reset(self) -> VecEnvObs:
        """Start all episodes anew."""
        obs = self.venv.reset()
        self._steps = 0
        self.shaped_returns = np.zeros(self.num_envs)
        if self._asks:
            self._last_obs = frozen(obs)
            self._potentials = np.array([self._potential(i, _row(self._last_obs, i)) for i in range(self.num_envs)])
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for the reward function, and hand them on."""
        if self.shaping.reward is not None:
            self._actions = frozen(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments."""
        obs, rewards, dones, infos = self.venv.step_wait()
        self._steps += 1
        infos = list(infos)  # SubprocVecEnv gives a tuple
        chosen, after = np.asarray(rewards, dtype=np.float64), np.zeros(self.num_envs)
        if self._asks:
            chosen, after = self._ask(obs, chosen, dones, infos)
        shaped = self.shaping.combine(chosen, self._potentials, after)
        self.shaped_returns = self.shaped_returns + shaped
        if dones.any():
            for i in np.flatnonzero(dones).tolist():
                if "episode" in infos[i]:
                    episode = infos[i]["episode"] | {"shaped_r": float(self.shaped_returns[i])}
                    infos[i] = infos[i] | {"episode": episode}
                after[i] = self._potential(i, _row(self._last_obs, i)) if self._asks else 0.0
            self.shaped_returns[dones] = 0.0
        self._potentials = after
        return obs, shaped.astype(np.float32), dones, infos

    def _ask(
        self, obs: VecEnvObs, rewards: NDArray[np.float64], dones: NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rewards of the step, and potentials after it, with 0 for the terminal states; in one loop."""
        before, self._last_obs = self._last_obs, frozen(obs)
        chosen, after = rewards.copy(), np.zeros(self.num_envs)
        for i in range(self.num_envs):
            done, info = bool(dones[i]), infos[i]
            truncated = done and bool(info.get("TimeLimit.truncated", False))
            next_obs = frozen(info["terminal_observation"]) if done else _row(self._last_obs, i)
            if truncated or not done:
                after[i] = self._potential(i, next_obs)
            if self._actions is not None:
                try:
                    chosen[i] = self.shaping.reward_of(
                        _row(before, i), self._actions[i], next_obs, rewards[i], done and not truncated, truncated, info
                    )
                except RewardError as error:
                    raise self._placed(error, i) from error
        return chosen, after

    def _potential(self, i: int, obs: Any) -> float:
        try:
            return self.shaping.potential_of(obs)
        except RewardError as error:
            raise self._placed(error, i) from error

    def _placed(self, error: RewardError, i: int) -> RewardError:
        when = f"at its step {self._steps:,}" if self._steps else "before its first step"
        return RewardError(f"in environment {i}, {when}: {error}")


def _row(obs: Any, i: int) -> Any:
    """What one environment showed, of a batch."""
    if isinstance(obs, Mapping):
        return {key: _row(part, i) for key, part in obs.items()}
    return tuple(_row(part, i) for part in obs) if isinstance(obs, tuple) else obs[i]
