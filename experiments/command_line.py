"""The command line of ``s7rl``, read into a request: which commands there are, and what is wrong with a word.

Without torch, so that ``--help`` and a mistyped word are answered at once.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, replace
from functools import reduce
from operator import or_
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import tyro

from s7rl.experiments.agent_config import EvaluateConfig, ExportConfig, InspectConfig, WatchConfig
from s7rl.experiments.arguments import read_options
from s7rl.experiments.bench.config import BENCHES, BenchConfig, CommonOptions
from s7rl.experiments.config import (
    ExperimentConfig,
    FurtherOptions,
    LearnConfig,
    ListConfig,
    NetworkOptions,
    PPOOptions,
    ReportConfig,
    ResumeConfig,
    RewardOptions,
    TrainConfig,
    TuneConfig,
)
from s7rl.experiments.errors import UsageError
from s7rl.experiments.preset_files import preset_words
from s7rl.experiments.suggestions import did_you_mean, named

DESCRIPTION = """Agents that remember: train, test and compare them on tasks that need memory.

Begin with `s7rl train`, and see `s7rl list envs`.
"""
COMMANDS: Mapping[str, type] = MappingProxyType(
    {
        "train": TrainConfig,
        "resume": ResumeConfig,
        "evaluate": EvaluateConfig,
        "watch": WatchConfig,
        "inspect": InspectConfig,
        "export": ExportConfig,
        "tune": TuneConfig,
        "experiment": ExperimentConfig,
        "report": ReportConfig,
        "bench": BenchConfig,
        "list": ListConfig,
    }
)
"""What each command asks for; ``cli`` says what does it."""
SEVERAL_TIMES = ("--suite", "--track")
"""Options that may be given several times: each adds to the others."""
_REQUEST: Any = reduce(or_, (Annotated[config, tyro.conf.subcommand(name)] for name, config in COMMANDS.items()))


def parse(words: Sequence[str]) -> object:
    """Reads a command line.

    Returns:
        The request, or the exit code where the command line asked for help only and got it.

    Raises:
        UsageError: it cannot be read.
    """
    words = list(words)
    if words in ([], ["bench"]):
        words.append("--help")
    if not words[0].startswith("-"):
        named("command", words[0], COMMANDS, "see `s7rl --help`")
    if words[0] == "bench" and not words[1].startswith("-"):
        named("benchmark", words[1], BENCHES, "see `s7rl bench --help`")
    request = _read(words)
    if isinstance(request, LearnConfig) and request.preset is not None:
        request = _with_preset(request.preset, words)
    return request


def _with_preset(file: str, words: Sequence[str]) -> object:
    """Reads the words of a command that trains behind those of its preset, so that they win.

    Of ``--core-kwargs`` they win pair by pair; another agent's core may not take the preset's.
    """
    preset = [*preset_words(Path(file)), "--preset", file]  # which keeps an environment behind them apart from a list
    try:
        alone = _read([words[0], *preset])
    except UsageError as error:
        raise UsageError(f"--preset {file}: {error}") from error
    request = _read([words[0], *preset, *words[1:]])
    assert isinstance(alone, LearnConfig)
    assert isinstance(request, LearnConfig)
    if request.agent != alone.agent:
        return request
    given = request.network.core_kwargs
    names = {word.partition("=")[0] for word in given}
    kept = (word for word in alone.network.core_kwargs if word.partition("=")[0] not in names)
    return replace(request, network=replace(request.network, core_kwargs=(*kept, *given)))


def _read(words: Sequence[str]) -> object:
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            request, unknown = tyro.cli(
                _REQUEST, prog="s7rl", args=words, description=DESCRIPTION, return_unknown_args=True
            )
    except SystemExit as end:
        if end.code in (0, None):
            return 0
        raise UsageError(f"{_first_paragraph(complaint.getvalue())} ({_help(command_of(words))})") from None
    if unknown:
        raise UsageError(_unknown_word(unknown[0], command_of(words)))
    return request


def check_given_once(words: Sequence[str]) -> None:
    """Refuses what was typed where an option stands in it twice: its last values alone would be taken.

    Raises:
        UsageError: an option does.
    """
    seen: dict[str, list[str]] = {}
    for flag, *values in read_options(words):
        if flag in seen and flag not in SEVERAL_TIMES:
            first, second = (" ".join(given) or "without a value" for given in (seen[flag], values))
            raise UsageError(
                f"{flag} is given twice ({first}, then {second}), and only the last would hold: give it once, with all "
                "its values behind it"
            )
        seen[flag] = values


def without_overridden(words: Sequence[str]) -> list[str]:
    """The words without the options that later ones override: those of a grid, for a task or an agent that differs."""
    options = read_options(words)
    last = {flag: number for number, (flag, *_) in enumerate(options)}
    kept = [its for number, its in enumerate(options) if its[0] in SEVERAL_TIMES or last[its[0]] == number]
    behind = next((number for number, word in enumerate(words) if word.startswith("--")), len(words))
    return [*words[:behind], *(word for option in kept for word in option)]


def command_of(words: Sequence[str]) -> list[str]:
    """The words at the beginning that name a command: none, one, or two for a benchmark."""
    command = [word for word in words[:1] if word in COMMANDS]
    return command + [word for word in words[1:2] if command == ["bench"] and word in BENCHES]


def _unknown_word(word: str, command: Sequence[str]) -> str:
    if not word.startswith("-"):
        return f"'{word}' is one word too many ({_help(command)})"
    flag = word.split("=", 1)[0]
    return f"there is no option {flag}{did_you_mean(flag, _flags(command))} ({_help(command)})"


def _help(command: Sequence[str]) -> str:
    return f"see `{' '.join(['s7rl', *command, '--help'])}`"


def _flags(command: Sequence[str]) -> list[str]:
    groups: tuple[type, ...] = (COMMANDS[command[0]],)
    if issubclass(groups[0], LearnConfig):
        groups += (PPOOptions, FurtherOptions, RewardOptions, NetworkOptions)
    if len(command) > 1:
        groups = (BENCHES[command[1]], CommonOptions)
    names = {field.name for group in groups for field in fields(group)}
    names -= {"env", "run", "grid", "folder", "what", "ppo", "further", "rewards", "network", "common"}
    return sorted(f"--{name.replace('_', '-')}" for name in names)


def _first_paragraph(message: str) -> str:
    """The first paragraph of tyro's message: a title, then sections between ruled lines, perhaps in a frame."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message)
    framed = plain.lstrip().startswith("╭")
    sections: list[list[str]] = [[]]
    for line in plain.splitlines():
        words = line.strip("│ ")
        if words and set(words) <= set("╭╮╰╯─-"):
            sections.append([])
        elif not words.startswith("╭"):
            sections[-1].append(words)
    # The frame has the title in its upper edge; without one it is the first section.
    body = sections[0 if framed else min(1, len(sections) - 1)]
    text = " ".join(body[: body.index("")] if "" in body else body) or "the command line cannot be read"
    return _missing_sentence(text[:1].lower() + text[1:])


def _missing_sentence(text: str) -> str:
    """``missing from s7rl X: NAME What it is. (required)`` as a sentence: there the help stood on its own lines."""
    missing = re.fullmatch(r"missing from [^:]+: (\S+) (\w)(.*)\. \(required\)", text)
    return f"{missing[1]} is missing: {missing[2].lower()}{missing[3]}" if missing else text
