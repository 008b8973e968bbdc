"""Rewards that come late: what an action was worth must be found out by remembering it."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from s7rl.envs.batched import IntArray, check_count
from s7rl.envs.wrappers.vector import SameStepWrapper

__all__ = ["DelayedReward", "DelayedRewardVector"]


class DelayedReward(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Pay every reward ``steps`` steps later, or all of them at the end of the episode.

    What is still owed when an episode ends, terminated or truncated, is paid with its last step, so that the
    undiscounted return is that of the wrapped environment, to rounding.  Discounted returns differ: with a discount g,
    a reward that comes k steps later counts g^k times as much.

    Delayed until the end, this is the episodic reward of Arjona-Medina et al. (2019, "RUDDER: Return Decomposition for
    Delayed Rewards", NeurIPS 32).

    Args:
        env: any environment.
        steps: 1 or more; None: until the end of the episode.

    Raises:
        ValueError: in one line, if ``steps`` is less than 1.
        TypeError: in one line, if ``steps`` is neither an integer nor None.

    Example:
        >>> import gymnasium as gym
        >>> env = DelayedReward(gym.make("CartPole-v1", max_episode_steps=5), steps=3)
        >>> _ = env.reset(seed=0)
        >>> [env.step(action)[1] for action in (0, 1, 0, 1, 0)]
        [0.0, 0.0, 0.0, 1.0, 4.0]
    """

    def __init__(self, env: gym.Env[Any, Any], steps: int | None = None) -> None:
        RecordConstructorArgs.__init__(self, steps=steps)
        gym.Wrapper.__init__(self, env)
        self._steps = _check_steps(steps)
        self._waiting: deque[float] = deque()
        self._earned = self._paid = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode: nothing is owed."""
        self._waiting.clear()
        self._earned = self._paid = 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action; the reward is what falls due."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._earned += float(reward)
        due = 0.0
        if self._steps is not None:
            self._waiting.append(float(reward))
            if len(self._waiting) > self._steps:
                due = self._waiting.popleft()
        if terminated or truncated:
            due = self._earned - self._paid
        self._paid += due
        return observation, due, terminated, truncated, info


class DelayedRewardVector(SameStepWrapper):
    """:class:`DelayedReward` for a vector environment."""

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]], steps: int | None = None) -> None:
        super().__init__(envs)
        self._steps = _check_steps(steps)
        # A ring: the slot of this step holds what was earned ``steps`` steps ago.  Rows of a new episode hold zeros.
        self._waiting: NDArray[np.float64] = np.zeros((self._steps or 0, self.num_envs))
        self._slot = 0
        self._earned: NDArray[np.float64] = np.zeros(self.num_envs)
        self._paid: NDArray[np.float64] = np.zeros(self.num_envs)

    def _show_last(self, final_obs: NDArray[np.object_], rows: IntArray) -> NDArray[np.object_]:
        return final_obs

    def _begin(self, rows: IntArray) -> None:
        self._waiting[:, rows] = 0.0
        self._earned[rows] = self._paid[rows] = 0.0

    def _advance(self, actions: Any, rewards: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        self._earned += rewards
        due = np.zeros(self.num_envs)
        if self._steps is not None:
            due = self._waiting[self._slot].copy()
            self._waiting[self._slot] = rewards
            self._slot = (self._slot + 1) % self._steps
        due = np.where(ended, self._earned - self._paid, due)
        self._paid += due
        return due


def _check_steps(steps: int | None) -> int | None:
    return None if steps is None else check_count("steps", steps)
