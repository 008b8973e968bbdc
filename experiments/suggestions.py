"""Finding a thing by its name, with a helpful refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from s7rl.experiments.errors import UsageError

Thing = TypeVar("Thing")
FEW = 8
"""So many names fit into a message."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``"; did you mean x?"`` for the name most like the given one, else all of them where they are few, or nothing."""
    known = list(names)
    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if len(known) <= FEW else ""


def named(kind: str, name: str, things: Mapping[str, Thing], where: str) -> Thing:
    """Looks a thing up by its name.

    Args:
        kind: what it is, for the message.
        name: what the user wrote.
        things: all there are.
        where: how the user finds out what there is.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in things:
        raise UsageError(f"there is no {kind} '{name}'{did_you_mean(name, things)} ({where})")
    return things[name]
