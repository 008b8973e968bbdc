"""What an argument may be, as data, so that the same mistake reads the same everywhere.

A :class:`Rule` says of what kind and in what range a value has to be, why, and what to pass instead.
:func:`check_arguments` holds a function's arguments against the rules for them; what is wrong is one line:

    gamma is 1.5, but it discounts a reward per step: pass a number from 0 to 1.

Numpy's numbers are numbers.  True and False are none, nor is text, however much it looks like one; and a whole number
is an integer: 64.0 is none.  Without torch, which the command line does without as long as it can.
"""

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

LARGEST = 2**63 - 1
"""What torch can count."""
LONGEST = 80
"""Characters of a value that a message repeats."""


def is_whole_number(value: object) -> bool:
    """Whether it is an integer of Python's or numpy's."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a number of Python's or numpy's, finite or not."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a number is finite, and no whole number beyond all floats."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What an argument may be."""

    meaning: str
    """Why, as in "but it is a size"."""
    hint: str
    """What to do, as in "pass a positive whole number"."""
    of_kind: Callable[[Any], bool]
    """Whether a value is of a kind that can be right; otherwise it is a TypeError."""
    in_range: Callable[[Any], bool] = lambda value: True
    """Whether a value of that kind is right; otherwise it is a ValueError."""

    def check(self, name: str, value: object) -> None:
        """Check a value.

        Raises:
            TypeError: if it is of the wrong kind.
            ValueError: if it is of the right kind, but out of range.
        """
        if self.of_kind(value):
            if self.in_range(value):
                return
            raise ValueError(self._message(name, value))
        raise TypeError(self._message(name, value))

    def or_none(self) -> "Rule":
        """The same, or None."""
        return replace(
            self,
            hint=f"{self.hint}, or None",
            of_kind=lambda value: value is None or self.of_kind(value),
            in_range=lambda value: value is None or self.in_range(value),
        )

    def _message(self, name: str, value: object) -> str:
        return f"{name} is {shown(value)}, but {self.meaning}: {self.hint}."


def check_arguments(arguments: Mapping[str, object], **rules: Rule) -> None:
    """Check the arguments for which there is a rule, in the order of the rules.

    Args:
        arguments: by name; ``locals()`` at the beginning of a function.
        rules: by the same names.

    Raises:
        TypeError: for the first that is of the wrong kind.
        ValueError: for the first that is out of range.
    """
    for name, rule in rules.items():
        rule.check(name, arguments[name])


def number(meaning: str, *, least: float = -math.inf, most: float = math.inf, above: float = -math.inf) -> Rule:
    """A finite number, at least ``least``, at most ``most``, and more than ``above``."""
    bounds = {
        (True, True): f"from {least:g} to {most:g}",
        (True, False): f"from {least:g} on",
        (False, False): f"above {above:g}" if above > -math.inf else "",
        (False, True): f"above {above:g}, up to {most:g}",
    }[least > -math.inf, most < math.inf]
    return Rule(
        meaning=meaning,
        hint=f"pass a number {bounds}".rstrip(),
        of_kind=is_number,
        in_range=lambda value: is_finite(value) and least <= value <= most and value > above,
    )


def whole_number(meaning: str, *, least: int, most: int | None = None) -> Rule:
    """An integer in a range."""
    return Rule(
        meaning=meaning,
        hint=f"pass a whole number {f'from {least} on' if most is None else f'from {least} to {most}'}",
        of_kind=is_whole_number,
        in_range=lambda value: least <= value <= (LARGEST if most is None else most),
    )


def choice(meaning: str, choices: Collection[str | float]) -> Rule:
    """One of a few words or numbers."""
    words = any(isinstance(known, str) for known in choices)
    return Rule(
        meaning=meaning,
        hint=f"pass one of {', '.join(map(repr, choices))}",
        of_kind=(lambda value: isinstance(value, str)) if words else is_number,
        in_range=lambda value: value in choices,
    )


def span(meaning: str, *, above: float, below: float = math.inf) -> Rule:
    """Two numbers strictly between the bounds, the smaller first."""
    bounds = f"above {above:g}" + ("" if below == math.inf else f" and below {below:g}")
    return Rule(
        meaning=meaning,
        hint=f"pass two numbers {bounds}, the smaller first",
        of_kind=lambda value: isinstance(value, tuple | list) and len(value) == 2 and all(map(is_number, value)),
        in_range=lambda value: above < value[0] <= value[1] < below,
    )


def instance(meaning: str, hint: str, *kinds: type) -> Rule:
    """An instance of one of some classes."""
    return Rule(meaning=meaning, hint=hint, of_kind=lambda value: isinstance(value, kinds))


def subclass(meaning: str, parent: type) -> Rule:
    """A class that is, or inherits from, another."""
    return Rule(
        meaning=meaning,
        hint=f"pass the class itself, a subclass of {parent.__name__}",
        of_kind=lambda value: isinstance(value, type) and issubclass(value, parent),
    )


class EnvironmentMistake(ValueError):
    """An environment gave what contradicts its own spaces or action masks."""


def one_line(text: str) -> str:
    """A text without line breaks, and with one space between words."""
    return " ".join(text.split())


def error_line(error: BaseException) -> str:
    """An error in one line, with its kind: what it says may be as little as a name."""
    return one_line(f"{type(error).__name__}: {error}")


def shown(value: object) -> str:
    """A value in one line, cut where it is long."""
    text = one_line(repr(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def instead(name: str, known: Iterable[str]) -> str:
    """What to do about a name that is not known: the one that is most like it, or all that there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(names)}."


SIZE = whole_number("it is a size", least=1)
FLAG = instance("it is yes or no", "pass True or False", bool, np.bool_)
OPTIONS = Rule(
    meaning="it holds options by name",
    hint="pass a dict",
    of_kind=lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
)
