"""Numbers as a reader of a table wants them."""

from __future__ import annotations

from decimal import Decimal

from s7rl.experiments.bench.measuring import Spread


def number(value: float) -> str:
    """Three digits, never an exponent: ``0.0123``, ``1.23``, ``123``, ``12,300``."""
    if value == 0:
        return "0"
    rounded = Decimal(f"{value:.2e}")  # Which keeps the zeros at the end.
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:f}"


def compact(value: float) -> str:
    """Two digits and a unit: ``850``, ``1.2k``, ``120k``, ``5.0M``."""
    rounded = float(f"{value:.1e}")
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if rounded >= size:
            return f"{rounded / size:.{1 if rounded < 10 * size else 0}f}{unit}"
    return f"{rounded:.0f}"


def with_spread(spread: Spread, scale: float = 1.0) -> str:
    """The median, and how far the middle half lies from it: ``12.3 ±2%``."""
    return f"{number(spread.median * scale)} ±{spread.relative:.0%}"


def between_quartiles(spread: Spread) -> str:
    """The median, and the quartiles: ``1.30 (1.25 to 1.34)``."""
    return f"{number(spread.median)} ({number(spread.lower)} to {number(spread.upper)})"


def in_short(reason: str) -> str:
    """The kind of a reason why a cell was left out, which stands before its colon: ``over memory``."""
    return reason.partition(":")[0]
