"""The reward to learn from, for a single environment."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from s7rl.envs.rewards import RewardError, RewardShaping, frozen


class ShapedReward(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Replace the rewards of an environment as a :class:`s7rl.envs.rewards.RewardShaping` says.

    Put it around a monitor (SB3's ``Monitor``, Gymnasium's ``RecordEpisodeStatistics``), and ``info["episode"]`` keeps
    the environment's own return as ``"r"`` and gets that of the new rewards, undiscounted, as ``"shaped_r"``.  For
    vectorised environments ``s7rl.agents.ShapedRewardVecEnv`` does the same.

    Args:
        env: any environment.
        shaping: what becomes of the rewards.

    Raises:
        RewardError: by ``reset`` and ``step``, if a function of the user's fails or returns no finite number.
    """

    def __init__(self, env: gym.Env[Any, Any], shaping: RewardShaping) -> None:
        RecordConstructorArgs.__init__(self, shaping=shaping)
        super().__init__(env)
        self.shaping = shaping
        self._obs: Any = None
        self._potential = self._return = 0.0
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs, self._return = frozen(obs), 0.0
        try:
            self._potential = self.shaping.potential_of(self._obs)
        except RewardError as error:
            raise RewardError(f"at a reset after {self._steps} steps: {error}") from error
        return obs, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one action."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        before, self._obs = self._obs, frozen(obs)
        shaping, potential = self.shaping, self._potential
        try:
            self._potential = 0.0 if terminated else shaping.potential_of(self._obs)
            chosen = shaping.reward_of(before, action, self._obs, float(reward), terminated, truncated, info)
        except RewardError as error:
            raise RewardError(f"at step {self._steps}: {error}") from error
        shaped = float(shaping.combine(chosen, potential, self._potential))
        self._return += shaped
        if (terminated or truncated) and "episode" in info:
            info = info | {"episode": info["episode"] | {"shaped_r": self._return}}
        return obs, shaped, terminated, truncated, info
