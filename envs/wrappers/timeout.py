"""Time limits that an environment reports as terminations, told as what they are."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from s7rl.envs.batched import check_count

__all__ = ["TimeoutAsTruncation"]


class TimeoutAsTruncation(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Report the end of an episode as truncated, and not as terminated, where the environment's time limit is reached.

    For environments that have a time limit of their own and end with ``terminated`` when it is over (VizDoom, Memory
    Gym): an agent would take that for a state without a future.  It sets no limit; ``gymnasium.wrappers.TimeLimit``
    does.  An episode that happens to terminate for another reason in its very last step counts as truncated, since
    nothing tells the two apart.

    Args:
        env: an environment that ends episodes of that length with ``terminated``.
        max_episode_steps: the environment's own time limit, 1 or more.

    Raises:
        ValueError: in one line, if ``max_episode_steps`` is less than 1.
        TypeError: in one line, if ``max_episode_steps`` is no integer.

    Example:
        >>> import gymnasium as gym
        >>> env = TimeoutAsTruncation(gym.make("CartPole-v1"), max_episode_steps=11)
        >>> _ = env.reset(seed=0)
        >>> steps = [env.step(0)[2:4] for _ in range(11)]  # the pole falls in the last of them
        >>> steps[-1]
        (False, True)
    """

    def __init__(self, env: gym.Env[Any, Any], max_episode_steps: int) -> None:
        RecordConstructorArgs.__init__(self, max_episode_steps=max_episode_steps)
        gym.Wrapper.__init__(self, env)
        self._limit = check_count("max_episode_steps", max_episode_steps)
        self._elapsed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        self._elapsed = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._elapsed += 1
        if terminated and self._elapsed >= self._limit:
            terminated, truncated = False, True
        return observation, reward, terminated, truncated, info
