"""How lines for people are put: printed as they are, with numbers, nouns and the names of programs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console


def say(console: Console, line: str, **style: Any) -> None:
    """Prints a line as it is: no markup read into it, no colours, no breaks."""
    console.print(line, markup=False, highlight=False, soft_wrap=True, **style)


def plural(number: int, noun: str) -> str:
    """``1 thread``, ``2 threads``, ``1,024 threads``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def program(name: str) -> str:
    """What to type for a program of this environment: its name, or its path where the shell would not find it."""
    beside = Path(sys.executable).with_name(name)
    return quote(os.path.relpath(beside)) if beside.exists() and shutil.which(name) is None else name
