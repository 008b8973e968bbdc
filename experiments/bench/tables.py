"""Measured times, and reasons for there being none, as a reader of a table wants them."""

from __future__ import annotations

from s7rl.experiments.bench.measuring import Spread
from s7rl.experiments.wording import number


def with_spread(spread: Spread, scale: float = 1.0) -> str:
    """The median, and how far the middle half lies from it: ``12.3 ±2%``."""
    return f"{number(spread.median * scale)} ±{spread.relative:.0%}"


def between_quartiles(spread: Spread) -> str:
    """The median, and the quartiles: ``1.30 (1.25 to 1.34)``."""
    return f"{number(spread.median)} ({number(spread.lower)} to {number(spread.upper)})"


def in_short(reason: str) -> str:
    """The kind of a reason why a cell was left out, which stands before its colon: ``over memory``."""
    return reason.partition(":")[0]
