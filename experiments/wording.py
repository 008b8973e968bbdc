"""How lines for people are put: printed as they are, with numbers, nouns and the names of programs."""

from __future__ import annotations

import os
import shutil
import sys
from decimal import Decimal
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console


def say(console: Console, line: str, **style: Any) -> None:
    """Prints a line as it is: no markup read into it, no colours, no breaks."""
    console.print(line, markup=False, highlight=False, soft_wrap=True, **style)


def plural(count: int, noun: str) -> str:
    """``1 thread``, ``2 threads``, ``1,024 threads``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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


def program(name: str) -> str:
    """What to type for a program of this environment: its name, or its path where the shell would not find it."""
    beside = Path(sys.executable).with_name(name)
    return quote(os.path.relpath(beside)) if beside.exists() and shutil.which(name) is None else name
