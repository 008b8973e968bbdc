"""Finding a thing by its name, with a helpful refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def chosen(kind: str, names: Sequence[str], known: Iterable[str], option: str) -> tuple[str, ...]:
    """The names that an option was given, all that there are where it was given none.

    Args:
        kind: what they name, for the message.
        names: what the user wrote.
        known: all there are.
        option: for the message.

    Raises:
        UsageError: there is none of a name, or it was given twice.
    """
    things = dict.fromkeys(known)
    for name in names:
        named(kind, name, things, f"{option} takes any of {', '.join(things)}")
    check_once(names, option)
    return tuple(names or things)


def check_once(names: Sequence[str], option: str) -> None:
    """Raises UsageError where an option was given a name, whose second time may stand for another that was meant."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{option} names '{name}' twice: give it once")
