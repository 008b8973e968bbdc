"""Timing things against each other.

A machine is never alone: another job or the clock of the processor can make everything slower for seconds. Things that
are compared therefore take turns, A B C A B C ..., and are compared within each round: what slows the machine down
meets all of them, and cancels in the ratio. Nothing here knows what is measured.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Thunk = Callable[[], object]
Clock = Callable[[], float]
Key = TypeVar("Key", bound=Hashable)

MIN_ROUNDS = 5
"""Fewer give no quartiles to speak of."""
FAILED = "failed"
"""How the reason begins why something that raised an error is left out."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The middle of some numbers, and how far they scatter."""

    median: float
    """Half of them are smaller."""
    lower: float
    """A quarter of them are smaller."""
    upper: float
    """A quarter of them are larger."""
    minimum: float
    """The smallest."""
    maximum: float
    """The largest."""
    repeats: int
    """How many there are."""

    @classmethod
    def of(cls, numbers: Times) -> Spread:
        """Summarises at least one number; quartiles are interpolated."""
        minimum, lower, median, upper, maximum = map(float, np.quantile(numbers, [0.0, 0.25, 0.5, 0.75, 1.0]))
        return cls(
            median=median, lower=lower, upper=upper, minimum=minimum, maximum=maximum, repeats=int(np.size(numbers))
        )

    @property
    def relative(self) -> float:
        """Half of the distance between the quartiles, over the median."""
        return (self.upper - self.lower) / 2 / self.median

    def scaled(self, factor: float) -> Spread:
        """The spread in another unit."""
        numbers = {name: getattr(self, name) * factor for name in ("median", "lower", "upper", "minimum", "maximum")}
        return Spread(**numbers, repeats=self.repeats)


def ratio(numerator: Times, denominator: Times) -> Spread:
    """The ratio of two things that took turns, taken within each round and summarised over the rounds."""
    return Spread.of(numerator / denominator)


def interleave(thunks: Mapping[Key, Thunk], rounds: int, *, clock: Clock = time.perf_counter) -> dict[Key, Times]:
    """Runs things in turns and times each, after one round that is not timed: memory is mapped in it.

    Args:
        thunks: what to run, by some key, in this order in every round. What runs on a GPU has to wait for it.
        rounds: how often each is timed.
        clock: seconds since some moment.

    Returns:
        Seconds, ``rounds`` numbers for each; the n-th of all were taken in the same round.
    """
    times = {key: np.empty(rounds) for key in thunks}
    for thunk in thunks.values():
        thunk()
    gc.collect()
    collects = gc.isenabled()
    gc.disable()  # A collection would be charged to whichever thing happens to run, or to run next.
    try:
        for turn in range(rounds):
            for key, thunk in thunks.items():
                times[key][turn] = _timed(thunk, clock)
    finally:
        if collects:
            gc.enable()
    return times


@dataclass(frozen=True, kw_only=True)
class Measured(Generic[Key]):
    """What came of ``measure``: every key of the request stands in exactly one of the two."""

    times: dict[Key, Times]
    """Seconds by round."""
    left_out: dict[Key, str]
    """Why there are none."""


def measure(
    thunks: Mapping[Key, Thunk], *, repeats: int, budget_seconds: float, clock: Clock = time.perf_counter
) -> Measured[Key]:
    """Times things in turns, within a budget for each.

    Each runs twice first, alone: once to compile its kernels, then for an estimate. What cannot run ``MIN_ROUNDS``
    times in the budget is left out. The others run a third time, in turns; the rounds after that are timed. The slowest
    says how many there are, the same for all.

    Args:
        thunks: what to run, by some key.
        repeats: the most rounds.
        budget_seconds: for the rounds of one thing.
        clock: seconds since some moment.
    """
    estimates: dict[Key, float] = {}
    left_out: dict[Key, str] = {}
    for key, thunk in thunks.items():
        try:
            thunk()
            estimate = _timed(thunk, clock)
        except (RuntimeError, MemoryError) as error:
            left_out[key] = failure(error)
            continue
        if reason := too_long(estimate, budget_seconds):
            left_out[key] = reason
        else:
            estimates[key] = estimate
    if not estimates:
        return Measured(times={}, left_out=left_out)
    affordable = int(budget_seconds / max(*estimates.values(), 1e-9))
    rounds = min(repeats, affordable)
    kept = {key: thunks[key] for key in estimates}
    return Measured(times=interleave(kept, rounds, clock=clock), left_out=left_out)


def too_long(seconds: float, budget_seconds: float) -> str | None:
    """Says why something that takes so long is left out, or None where it is not."""
    if MIN_ROUNDS * seconds <= budget_seconds:
        return None
    return f"over budget: {MIN_ROUNDS} x {seconds:.3g} s"


def failure(error: BaseException) -> str:
    """An error as the reason why something is left out: its first line, for a cell of a table."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{FAILED}: {lines[0]}"


@dataclass
class Forecast:
    """What something will cost at a larger size, from what it cost at smaller ones."""

    seen: dict[int, float] = field(default_factory=dict)
    """Costs by size."""

    def __call__(self, size: int) -> float:
        """The cost by the power law through the two largest sizes seen; 0 where nothing is known.

        The power is held between 0 and 2, and is 1 where only one size was seen. A forecast saves the time to find out
        how much too much something is; where it is too low, the limits of the run itself hold.
        """
        if not self.seen:
            return 0.0
        *before, largest = sorted(self.seen)
        power = 1.0
        if before and self.seen[before[-1]] > 0:
            growth = max(self.seen[largest], 1e-12) / self.seen[before[-1]]
            power = float(np.clip(np.log(growth) / np.log(largest / before[-1]), 0.0, 2.0))
        return float(self.seen[largest] * (size / largest) ** power)


def _timed(thunk: Thunk, clock: Clock) -> float:
    began = clock()
    thunk()
    return clock() - began
