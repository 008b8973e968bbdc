"""Random numbers for many rows at once, each row's from a generator of its own.

One generator for all rows would be fast, but a row's numbers would depend on what the others took; a call to each row's
own generator costs a microsecond or more a row.  A tape draws a block of numbers per row ahead, so that Python runs
over rows only once a block, and taking numbers for any set of rows is one look-up.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Distribution = Literal["uniform", "normal"]


class RandomTape:
    """Blocks of random numbers, one per row; what a row gets depends on its generator and its own requests alone."""

    def __init__(self, num_rows: int, distribution: Distribution, block: int) -> None:
        """Make an empty tape.

        Args:
            num_rows: how many rows there are.
            distribution: "uniform" in [0, 1), or "normal" with mean 0 and variance 1.
            block: numbers drawn ahead for a row, at least as many as one request asks for.
        """
        self._distribution = distribution
        self._generators: list[np.random.Generator | None] = [None] * num_rows
        self._numbers = np.empty((num_rows, block))
        self._used = np.full(num_rows, block)

    def restart(self, row: int, generator: np.random.Generator) -> None:
        """Take the row's numbers from another generator, and forget those drawn ahead."""
        self._generators[row] = generator
        self._used[row] = self._numbers.shape[1]

    def take(self, rows: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Return the next ``count`` numbers of each row, [len(rows), count].

        Where fewer are left of a row's block, the rest is thrown away and a new block drawn.
        """
        block = self._numbers.shape[1]
        assert count <= block, "a request must fit into a block"
        first = self._used[rows]
        for row in rows[first > block - count].tolist():
            self._refill(row)
        first = self._used[rows]
        self._used[rows] = first + count
        numbers: NDArray[np.float64] = self._numbers[rows[:, np.newaxis], first[:, np.newaxis] + np.arange(count)]
        return numbers

    def integers(self, rows: NDArray[np.int64], high: int, count: int) -> NDArray[np.int64]:
        """Return ``count`` integers of each row, uniform from 0 up to but excluding ``high``; of a uniform tape."""
        return (self.take(rows, count) * high).astype(np.int64)

    def _refill(self, row: int) -> None:
        generator = self._generators[row]
        assert generator is not None, "a row needs a generator before it draws"
        draw = generator.random if self._distribution == "uniform" else generator.standard_normal
        draw(out=self._numbers[row])
        self._used[row] = 0
