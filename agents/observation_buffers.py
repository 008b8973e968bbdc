"""Room for the newest observations of several environments, in memory that processes may share.

One row for each environment: its observation, or a record of the entries of a Dict.  What is written is cast to the
space's dtype, as SB3's ``DummyVecEnv`` does it.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def can_hold(space: gym.Space[Any]) -> bool:
    """Whether observations of this space are arrays of a fixed shape, or a Dict of such."""
    return all(
        isinstance(leaf, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        and not np.dtype(leaf.dtype).hasobject
        for leaf in _leaves(space).values()
    )


def buffer_size(space: gym.Space[Any], num_envs: int) -> int:
    """Bytes for the observations of ``num_envs`` environments, at least 1."""
    return max(1, num_envs * _row(space).itemsize)


class ObservationBuffers:
    """The newest observation of each environment."""

    def __init__(self, space: gym.Space[Any], num_envs: int, memory: Any) -> None:
        """Lay out the rows.

        Args:
            space: observation space of one environment, one that ``can_hold``.
            num_envs: how many there are.
            memory: a writable buffer of ``buffer_size(space, num_envs)`` bytes.
        """
        rows: NDArray[Any] = np.ndarray(num_envs, _row(space), memory)
        self._arrays: dict[Any, NDArray[Any]] = {key: rows if key is None else rows[key] for key in _leaves(space)}

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


def _row(space: gym.Space[Any]) -> np.dtype[Any]:
    if isinstance(space, spaces.Dict):
        return np.dtype([(key, leaf.dtype, leaf.shape or ()) for key, leaf in space.spaces.items()], align=True)
    return np.dtype((space.dtype, space.shape or ()))
