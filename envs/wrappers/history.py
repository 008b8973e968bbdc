"""The last observations of an episode, side by side, for algorithms that have no memory of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from s7rl.checks import SIZE, check_arguments, shown
from s7rl.envs.batched import IntArray
from s7rl.envs.wrappers.vector import ALL_ROWS, Rows, SameStepWrapper

__all__ = ["OBSERVATION", "VALID", "HistoryVector", "HistoryWrapper"]

OBSERVATION, VALID = "observation", "valid"
"""Keys of what is shown: of the observations, where they have no keys of their own, and of the marks beside them."""


class HistoryWrapper(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Show the last observations of the episode, oldest first, and which of them there are.

    Beside :class:`s7rl.agents.S7HistoryExtractor`, which runs a sequence model over them, this gives any algorithm of
    Stable-Baselines3 and sb3-contrib a memory, those with a replay buffer included.  The result is a flat Dict for
    "MultiInputPolicy":

    * "valid", MultiBinary of ``length``: 1 where there is an observation, 0 before the episode's start;
    * "observation", or the keys of a Dict, with ``length`` observations each, zeros where there is none:

      ===========================  =====================================================================
      of                           is shown
      ===========================  =====================================================================
      Box of shape s               a Box of shape ``(length, *s)`` and the same dtype, whose bounds take 0 in
      Box of two axes, with bytes  the same with a last axis of 1: a gray image, which SB3 would else mistake for a
      up to 255                    picture with ``length`` channels
      Discrete, MultiDiscrete      MultiDiscrete, one observation after the other, counted from 0
      MultiBinary of shape s       MultiBinary of shape ``(length, *s)``
      ===========================  =====================================================================

    A replay buffer keeps ``length`` times as much, in the dtype of the observations: images stay bytes.

    Args:
        env: an environment whose observations are Box, Discrete, MultiDiscrete, MultiBinary, or a flat Dict of these.
        length: K, how many observations are shown, the newest included.

    Raises:
        TypeError: in one line, if ``length`` is no whole number.
        ValueError: in one line, if it is below 1, or the observations are of another kind.

    Example:
        >>> import gymnasium as gym
        >>> env = HistoryWrapper(gym.make("FrozenLake-v1", is_slippery=False), length=3)
        >>> env.reset(seed=0)[0]
        {'observation': array([0, 0, 0]), 'valid': array([0, 0, 1], dtype=int8)}
        >>> env.step(2)[0]
        {'observation': array([0, 0, 1]), 'valid': array([0, 1, 1], dtype=int8)}
    """

    def __init__(self, env: gym.Env[Any, Any], length: int) -> None:
        RecordConstructorArgs.__init__(self, length=length)
        gym.Wrapper.__init__(self, env)
        self._windows = _Windows(env.observation_space, length, 1)
        self.observation_space = self._windows.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._windows.clear(ALL_ROWS)
        return self._show(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._show(observation), reward, terminated, truncated, info

    def _show(self, observation: Any) -> dict[str, NDArray[Any]]:
        entries = observation if isinstance(observation, dict) else {OBSERVATION: observation}
        self._windows.push({key: np.asarray(entry)[np.newaxis] for key, entry in entries.items()}, ALL_ROWS)
        return {key: window[0] for key, window in self._windows.show(ALL_ROWS).items()}


class HistoryVector(SameStepWrapper):
    """:class:`HistoryWrapper` for a vector environment."""

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]], length: int) -> None:
        super().__init__(envs)
        self._windows = _Windows(envs.single_observation_space, length, self.num_envs)
        # Rows that a reset leaves out show again what they showed.
        self._has_news = np.zeros(self.num_envs, dtype=bool)
        self._show_in(self._windows.space)

    def _begin(self, rows: IntArray) -> None:
        self._windows.clear(rows)
        self._has_news[rows] = True

    def _advance(self, actions: Any, rewards: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        self._has_news[:] = True
        return rewards

    def _show(self, observations: Any, rows: Rows) -> Any:
        entries = observations if isinstance(observations, dict) else {OBSERVATION: observations}
        news = self._has_news[rows]
        if news.all():
            self._windows.push(entries, rows)
        else:
            new = np.arange(self.num_envs)[rows][news]
            self._windows.push({key: entry[news] for key, entry in entries.items()}, new)
        self._has_news[rows] = False
        return self._windows.show(rows)


@dataclass(frozen=True)
class _Leaf:
    """How an entry of the observations is kept."""

    shape: tuple[int, ...]
    """Of one observation of it."""
    start: NDArray[np.int64] | None
    """Where its symbols begin to count; None for numbers."""
    space: gym.Space[Any]
    """In which it is shown."""

    @classmethod
    def of(cls, space: gym.Space[Any], length: int) -> _Leaf:
        if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
            counts = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
            return cls(counts.shape, np.ravel(space.start), spaces.MultiDiscrete(np.tile(counts, length)))
        if isinstance(space, spaces.MultiBinary):
            return cls(space.shape, None, spaces.MultiBinary([length, *space.shape]))
        if not isinstance(space, spaces.Box):
            raise ValueError(
                f"the observation space has a {shown(space)} in it, but HistoryWrapper takes Box, Discrete, "
                "MultiDiscrete, MultiBinary or a flat Dict of these: flatten it with s7rl.envs.FlattenNested."
            )
        # Also of a number without axes, of which SB3 would make none either.
        shape = (*space.shape, 1) if _is_gray(space) or not space.shape else space.shape
        low, high = (
            np.broadcast_to(bound.reshape(shape), (length, *shape))
            for bound in (np.minimum(space.low, 0), np.maximum(space.high, 0))
        )
        return cls(shape, None, spaces.Box(low, high, dtype=space.dtype))


class _Windows:
    """The last observations of each of a batch of environments."""

    def __init__(self, observations: gym.Space[Any], length: int, num_envs: int) -> None:
        check_arguments({"length": length}, length=SIZE)
        old = observations.spaces if isinstance(observations, spaces.Dict) else {OBSERVATION: observations}
        if VALID in old:
            raise ValueError(
                f"the observation space has an entry {VALID!r} already, which HistoryWrapper adds: rename it with a "
                "gymnasium.ObservationWrapper."
            )
        self._leaves = {key: _Leaf.of(space, length) for key, space in old.items()}
        windows = [(key, leaf.space) for key, leaf in self._leaves.items()]
        self.space = spaces.Dict([*windows, (VALID, spaces.MultiBinary(length))])
        self._kept = {
            key: np.zeros((num_envs, length, *leaf.shape), dtype=leaf.space.dtype) for key, leaf in self._leaves.items()
        }
        self._kept[VALID] = np.zeros((num_envs, length), dtype=np.int8)

    def clear(self, rows: Rows) -> None:
        """Forget the observations of these rows."""
        for kept in self._kept.values():
            kept[rows] = 0

    def push(self, observations: dict[str, NDArray[Any]], rows: Rows) -> None:
        """Add an observation to each of these rows, and forget their oldest."""
        for kept in self._kept.values():
            kept[rows, :-1] = kept[rows, 1:]
        self._kept[VALID][rows, -1] = 1
        for key, leaf in self._leaves.items():
            new = observations[key].reshape(-1, *leaf.shape)
            self._kept[key][rows, -1] = new if leaf.start is None else new - leaf.start

    def show(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The observations of these rows, copied."""
        return {key: kept[rows].reshape(-1, *(self.space[key].shape or ())).copy() for key, kept in self._kept.items()}


def _is_gray(space: spaces.Box) -> bool:
    """Whether a Box is an image without an axis for its channels, once its bounds take 0 in."""
    return len(space.shape) == 2 and space.dtype == np.uint8 and bool((space.high == 255).all())
