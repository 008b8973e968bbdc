"""Numbers as a reader of a table wants them."""

from __future__ import annotations

from pathlib import Path

from s7rl.experiments.bench.measuring import Spread


def number(value: float) -> str:
    """Three digits, never an exponent: ``0.0123``, ``1.23``, ``123``, ``12,300``."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:
        return f"{rounded:,.0f}"
    text = f"{rounded:.10f}".rstrip("0")
    shown = len(text.replace(".", "").lstrip("0"))
    return text + "0" * max(0, 3 - shown) if abs(rounded) < 100 else text


def with_spread(spread: Spread, scale: float = 1.0) -> str:
    """The median, and how far the middle half lies from it: ``12.3 ±2%``."""
    return f"{number(spread.median * scale)} ±{spread.relative:.0%}"


def between_quartiles(spread: Spread) -> str:
    """The median, and the quartiles: ``1.30 (1.25 to 1.34)``."""
    return f"{number(spread.median)} ({number(spread.lower)} to {number(spread.upper)})"


def in_short(reason: str) -> str:
    """The kind of a reason why a cell was left out, which stands before its colon: ``over memory``."""
    return reason.partition(":")[0]


def ending(folder: Path) -> str:
    """Where to find it all."""
    return f"results: {folder}"
