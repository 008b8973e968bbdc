"""How command-line words become values: numbers, ``name=value`` pairs, and options that follow the task.

The number types exist for their messages: tyro's own for an optional number lists what it tried, ours says in a few
words what was expected. They also read ``1e6`` and ``1_000_000`` as whole numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from s7rl.experiments.errors import UsageError

MOST_SEED = 2**31 - 1
"""Every environment of a run gets a seed of its own, counted from the run's, and numpy takes none from 2**32 on."""
ASSIGNMENTS = tyro.conf.arg(metavar="NAME=VALUE ...", help_behavior_hint="(default: none)")
WRAPPERS = tyro.conf.arg(metavar="WRAPPER ...", help_behavior_hint="(default: none)")
FOLLOWS_TASK = tyro.conf.arg(help_behavior_hint="(default: follows the task)")
FUNCTION = tyro.conf.arg(metavar="MODULE:FUNCTION", help_behavior_hint="(default: none)")
FOLLOWS_AGENT = tyro.conf.arg(help_behavior_hint="(default: follows the agent)")


def default_is(default: str) -> Any:
    """Marks an option that is handed to RecurrentPPO only if it is given; ``default`` says what holds otherwise."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})")


def whole_number(word: str) -> int:
    """Reads ``20000``, ``20_000`` and ``2e4``."""
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not value.is_integer():
        raise ValueError(f"'{word}' is not a whole number")
    return int(word) if word.lstrip("+-").replace("_", "").isdigit() else int(value)


def real_number(word: str) -> float:
    """Reads what ``float`` reads, except infinity and not-a-number."""
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ValueError(f"'{word}' is not a number")
    return value


def _optional_number(metavar: str, read: Callable[[str], int | float]) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: value is None or isinstance(value, (int, float)),
        str_from_instance=lambda value: [str(value)],
    )


WholeNumber: TypeAlias = Annotated[int, _optional_number("INT", whole_number)]
RealNumber: TypeAlias = Annotated[float, _optional_number("FLOAT", real_number)]
OptionalWholeNumber: TypeAlias = Annotated["int | None", _optional_number("INT", whole_number)]
OptionalRealNumber: TypeAlias = Annotated["float | None", _optional_number("FLOAT", real_number)]
OptionalText: TypeAlias = Annotated[
    "str | None",
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="TEXT",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    ),
]


def _words(words: list[str]) -> tuple[str, ...]:
    if not words:
        raise ValueError("nothing is given with it: give something, or leave it out")
    return tuple(words)


Words: TypeAlias = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="TEXT ...",
        instance_from_str=_words,
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(word, str) for word in value),
        str_from_instance=list,
    ),
]


def read_options(words: Sequence[str]) -> list[list[str]]:
    """Each option of a command line: its name, then its values."""
    options: list[list[str]] = []
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            options.append([flag.replace("_", "-"), *([value] if equals else [])])
        elif options:
            options[-1].append(word)
    return options


def read_assignments(option: str, words: Iterable[str]) -> dict[str, Any]:
    """Reads ``name=value`` words into a dict.

    A value is a Python literal where it is one (``3``, ``0.5``, ``True``, ``"text"``, ``[2, 500]``, which becomes a
    tuple), true or false in lower case, and the bare text otherwise.

    Args:
        option: the option that the words belong to, for messages.
        words: one ``name=value`` each.

    Raises:
        UsageError: a word is not an assignment, or a name comes twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier() or not text:
            raise UsageError(f"{option} '{word}' is not name=value (as in {option} corridor_length=500 size=11)")
        if name in values:
            raise UsageError(f"{option} names '{name}' twice: give it once")
        values[name] = _read_value(text)
    return values


def write_assignments(values: Mapping[str, Any]) -> str:
    """Writes a dict as the words that ``read_assignments`` reads, for messages and titles."""
    return " ".join(
        f"{name}={value!r}" if not isinstance(value, str) else f"{name}={value}" for name, value in values.items()
    )


def _read_value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return tuple(value) if isinstance(value, list) else value
