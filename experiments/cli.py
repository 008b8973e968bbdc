"""The program ``s7rl``: reads the command line, calls one command, and says in one line what is wrong.

Only this module ends the process. Commands import torch inside their functions or modules, and those are imported
here only once the command is known, so that ``--help`` and ``list`` answer at once.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from s7rl import __version__
from s7rl.checks import one_line
from s7rl.experiments.agent_config import AgentConfig, EvaluateConfig, ExportConfig, InspectConfig, WatchConfig
from s7rl.experiments.bench.config import BenchConfig
from s7rl.experiments.command_line import check_given_once, command_of, parse
from s7rl.experiments.config import (
    ExperimentConfig,
    ListConfig,
    ReportConfig,
    ResumeConfig,
    TrainConfig,
    TuneConfig,
)
from s7rl.experiments.errors import TrainingError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after the program's name; None for those of this process.

    Returns:
        The exit code: 0, 1 for training that cannot go on, 2 for a request that cannot be fulfilled, 128 and a signal's
        number after that signal.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # of a terminal that has no ±
    if words == ["--version"]:
        print(f"s7rl {__version__}")
        return 0
    program = " ".join(["s7rl", *command_of(words)])
    request: object = None
    try:
        request = parse(words)
        if isinstance(request, int):
            return request
        if argv is None:  # typed; words that a program joins may override others
            check_given_once(words)
        return _run(request, words)
    except (UsageError, TrainingError) as error:
        if isinstance(error, TrainingError) and error.details:
            print(error.details.rstrip(), file=sys.stderr)
        print(f"{program}: {one_line(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        # The reader of `s7rl list | head` has seen enough; work that it ended is not done.
        sys.stderr.close()
        working = (TrainConfig, ResumeConfig, EvaluateConfig, TuneConfig, ExperimentConfig)
        return 128 + signal.SIGPIPE if isinstance(request, working) else 0
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


def _run(request: object, words: Sequence[str]) -> int:
    console = _Console(highlight=False)
    # Environments, wrappers and rewards of the user's own lie in the working directory.  As for a script, Python looks
    # where the program is, which for s7rl is where programs are installed.
    # Not an agent's own folder: whoever shared it may have put a module there, by the name of one that is missing here.
    here = os.getcwd()
    in_its_folder = isinstance(request, AgentConfig) and Path(here).is_relative_to(Path(request.run).resolve())
    if in_its_folder:
        sys.path[:] = [path for path in sys.path if path not in ("", here)]
    elif here not in sys.path:
        sys.path.append(here)
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
    assert isinstance(request, TrainConfig), f"nothing does what {type(request).__name__} asks for"
    from s7rl.experiments.plan import plan

    # Before torch is imported, so that a mistyped name is answered at once.
    settings, task = plan(request)
    from s7rl.experiments.train import train

    return train(request, settings, task, ["s7rl", *words], console)
