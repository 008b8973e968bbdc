"""Room for the newest observations of several environments, in memory that processes may share.

One array ``[num_envs, *shape]`` for an observation, or one for each entry of a Dict.  What is written is cast to the
space's dtype, as SB3's ``DummyVecEnv`` does it.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

_ALIGNMENT = 64
"""Bytes; arrays begin at multiples of a cache line, so that no two are written to in the same one."""


def can_hold(space: gym.Space[Any]) -> bool:
    """Whether observations of this space are arrays of a fixed shape, or a Dict of such."""
    return all(
        isinstance(leaf, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        and not np.dtype(leaf.dtype).hasobject
        for leaf in _leaves(space).values()
    )


def buffer_size(space: gym.Space[Any], num_envs: int) -> int:
    """Bytes for the observations of ``num_envs`` environments, at least 1."""
    return max(1, sum(_aligned(num_envs * _row_size(leaf)) for leaf in _leaves(space).values()))


class ObservationBuffers:
    """The newest observation of each environment."""

    def __init__(self, space: gym.Space[Any], num_envs: int, memory: Any) -> None:
        """Lay out the arrays.

        Args:
            space: observation space of one environment, one that ``can_hold``.
            num_envs: how many there are.
            memory: a writable buffer of ``buffer_size(space, num_envs)`` bytes.
        """
        self._arrays: dict[Any, NDArray[Any]] = {}
        offset = 0
        for key, leaf in _leaves(space).items():
            shape = (num_envs, *(leaf.shape or ()))
            self._arrays[key] = np.ndarray(shape, leaf.dtype, memory, offset)
            offset += _aligned(num_envs * _row_size(leaf))

    def write(self, number: int, observation: Any) -> None:
        """Keep the observation of one environment."""
        for key, array in self._arrays.items():
            array[number] = observation if key is None else observation[key]

    def read(self) -> Any:
        """A copy of all observations: an array ``[num_envs, ...]``, or a dict of those."""
        copies = {key: array.copy() for key, array in self._arrays.items()}
        return copies.get(None, copies)


def _leaves(space: gym.Space[Any]) -> dict[Any, gym.Space[Any]]:
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {None: space}


def _row_size(leaf: gym.Space[Any]) -> int:
    return int(np.prod(leaf.shape or (), dtype=np.int64)) * np.dtype(leaf.dtype).itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
