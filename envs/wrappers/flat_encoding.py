"""Members of a space as float vectors, for whole batches: as they are for numbers, one-hot for symbols.

One member is laid out as ``gymnasium.spaces.flatten`` does it.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

FLAT_KINDS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
"""What can be encoded."""


class FlatEncoding:
    """The encoding of a Box, Discrete, MultiDiscrete or MultiBinary space, of any shape."""

    def __init__(self, space: gym.Space[Any]) -> None:
        """Lay out the vector.

        Args:
            space: one of ``FLAT_KINDS``.
        """
        assert isinstance(space, FLAT_KINDS)
        self._first: NDArray[np.int64] | None = None
        if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
            counts = np.atleast_1d(space.n if isinstance(space, spaces.Discrete) else space.nvec).ravel()
            start = np.atleast_1d(space.start).ravel()
            # Where the one of a symbol 0 would stand, in each block.
            self._first = (np.cumsum(counts) - counts - start).astype(np.int64)
            self.size = int(counts.sum())
        else:
            self.size = math.prod(space.shape)
        self.low: NDArray[np.float32] = np.zeros(self.size, dtype=np.float32)
        self.high: NDArray[np.float32] = np.ones(self.size, dtype=np.float32)
        if isinstance(space, spaces.Box):
            with np.errstate(over="ignore"):  # float64 bounds beyond float32 are none
                self.low = space.low.ravel().astype(np.float32)
                self.high = space.high.ravel().astype(np.float32)

    def write(self, members: Any, vectors: NDArray[np.float32]) -> None:
        """Encode a batch.

        Args:
            members: of the space, with the batch as first axis.
            vectors: where to, [batch, size]; the encoding of symbols expects zeros there.
        """
        members = np.asarray(members)
        rows = members.reshape(len(members), -1)
        if self._first is None:
            vectors[:] = rows
        else:
            vectors[np.arange(len(rows))[:, np.newaxis], rows + self._first] = 1.0
