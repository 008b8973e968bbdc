"""The program ``s7rl``: reads the command line, calls one command, and says in one line what is wrong.

Only this module ends the process. Commands import torch inside their functions or modules, and those are imported
here only once the command is known, so that ``--help`` and ``list`` answer at once.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import fields
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro
from rich.console import Console

from s7rl.checks import one_line
from s7rl.experiments.bench.config import BENCHES, BenchConfig, CommonOptions
from s7rl.experiments.config import (
    EvaluateConfig,
    ExperimentConfig,
    ExportConfig,
    FurtherOptions,
    InspectConfig,
    LearnConfig,
    ListConfig,
    NetworkOptions,
    PPOOptions,
    ReportConfig,
    ResumeConfig,
    RewardOptions,
    TrainConfig,
    TuneConfig,
    WatchConfig,
)
from s7rl.experiments.errors import TrainingError, UsageError
from s7rl.experiments.preset_files import preset_words
from s7rl.experiments.suggestions import did_you_mean, named

DESCRIPTION = """Agents that remember: train, test and compare them on tasks that need memory.

Begin with `s7rl train`, and see `s7rl list envs`.
"""
AnyConfig: TypeAlias = (
    TrainConfig
    | ResumeConfig
    | EvaluateConfig
    | WatchConfig
    | InspectConfig
    | ExportConfig
    | TuneConfig
    | ExperimentConfig
    | ReportConfig
    | BenchConfig
    | ListConfig
)
COMMANDS: dict[str, type[AnyConfig]] = {
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
Request: TypeAlias = (
    Annotated[TrainConfig, tyro.conf.subcommand("train")]
    | Annotated[ResumeConfig, tyro.conf.subcommand("resume")]
    | Annotated[EvaluateConfig, tyro.conf.subcommand("evaluate")]
    | Annotated[WatchConfig, tyro.conf.subcommand("watch")]
    | Annotated[InspectConfig, tyro.conf.subcommand("inspect")]
    | Annotated[ExportConfig, tyro.conf.subcommand("export")]
    | Annotated[TuneConfig, tyro.conf.subcommand("tune")]
    | Annotated[ExperimentConfig, tyro.conf.subcommand("experiment")]
    | Annotated[ReportConfig, tyro.conf.subcommand("report")]
    | Annotated[BenchConfig, tyro.conf.subcommand("bench")]
    | Annotated[ListConfig, tyro.conf.subcommand("list")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after the program's name; None for those of this process.

    Returns:
        The exit code: 0, 1 for training that cannot go on, 2 for a request that cannot be fulfilled, 128 and a signal's
        number after that signal.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    program = " ".join(["s7rl", *_command(words)])
    try:
        request = parse(words)
        return request if isinstance(request, int) else _run(request, words)
    except (UsageError, TrainingError) as error:
        if isinstance(error, TrainingError) and error.details:
            print(error.details.rstrip(), file=sys.stderr)
        print(f"{program}: {one_line(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        # The reader of `s7rl list | head` has seen enough.
        sys.stderr.close()
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{program}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130


class _Console(Console):
    """A console that says when nobody reads it any more, instead of ending the process: a run still has to be saved."""

    def on_broken_pipe(self) -> None:
        """Rich calls this in place of raising; its own version exits."""
        raise BrokenPipeError


def parse(words: Sequence[str]) -> AnyConfig | int:
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


def _with_preset(file: str, words: Sequence[str]) -> AnyConfig | int:
    """Reads the words of a command that trains behind those of its preset, so that they win."""
    preset = [*preset_words(Path(file)), "--preset", file]  # which keeps an environment behind them apart from a list
    try:
        _read([words[0], *preset])
    except UsageError as error:
        raise UsageError(f"--preset {file}: {error}") from error
    return _read([words[0], *preset, *words[1:]])


def _read(words: Sequence[str]) -> AnyConfig | int:
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            request, unknown = tyro.cli(
                Request, prog="s7rl", args=words, description=DESCRIPTION, return_unknown_args=True
            )
    except SystemExit as end:
        if end.code in (0, None):
            return 0
        raise UsageError(f"{_first_paragraph(complaint.getvalue())} ({_help(_command(words))})") from None
    if unknown:
        raise UsageError(_unknown_word(unknown[0], _command(words)))
    return request


def _run(request: AnyConfig, words: Sequence[str]) -> int:
    console = _Console(highlight=False)
    # Environments, wrappers and rewards of the user's own lie in the working directory.  As for a script, Python looks
    # where the program is, which for s7rl is where programs are installed.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if isinstance(request, ListConfig):
        from s7rl.experiments.listing import show_list

        return show_list(request, console)
    if isinstance(request, ResumeConfig):
        from s7rl.experiments.resume import resume

        return resume(request, ["s7rl", *words], console)
    if isinstance(request, EvaluateConfig):
        from s7rl.experiments.evaluate import evaluate

        return evaluate(request, console)
    if isinstance(request, WatchConfig):
        from s7rl.experiments.watch import watch

        return watch(request, console)
    if isinstance(request, InspectConfig):
        from s7rl.experiments.inspection.command import inspect_run

        return inspect_run(request, console)
    if isinstance(request, ExportConfig):
        from s7rl.experiments.export import export

        return export(request, console)
    if isinstance(request, TuneConfig):
        from s7rl.experiments.tuning.tune import tune

        return tune(request, console)
    if isinstance(request, ExperimentConfig):
        from s7rl.experiments.experiment import experiment

        return experiment(request, ["s7rl", *words], console)
    if isinstance(request, ReportConfig):
        from s7rl.experiments.report.page import report

        return report(request, console)
    if isinstance(request, BenchConfig):
        from s7rl.experiments.bench.benchmarks import bench

        return bench(request, ["s7rl", *words], console)
    from s7rl.experiments.plan import plan

    # Before torch is imported, so that a mistyped name is answered at once.
    settings, task = plan(request)
    from s7rl.experiments.train import train

    return train(request, settings, task, ["s7rl", *words], console)


def _command(words: Sequence[str]) -> list[str]:
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
    if command[0] in ("train", "tune"):
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
    return text[:1].lower() + text[1:]
