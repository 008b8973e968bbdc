"""Experiment trackers beside progress.csv and TensorBoard: Weights & Biases, MLflow and trackio.

Whether and where they send anything follows from their own environment variables. tracking.json in the run folder names
the trackers of a run and the id that it has in each, so that a resumed run goes on in the same place. No tracker takes
a line back: what was logged beyond the checkpoint that a run is resumed from stands there twice, as it was.

Free of torch, so that what is not installed is said at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from shlex import quote
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

from s7rl.checks import error_line, is_number
from s7rl.experiments.errors import UsageError
from s7rl.experiments.run_folder import STEPS, RunFolder, read_json, write_json
from s7rl.experiments.settings import RunSettings

PROJECT = "s7rl"
"""What runs are filed under, unless a tracker's own variable names something else."""
LONGEST_NAME = 128
"""Characters that Weights & Biases takes for the name of a run."""


@runtime_checkable
class Tracker(Protocol):
    """A run in a tracker, from its beginning on."""

    run_id: str
    """What it is found by when it goes on."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Adds numbers at an environment step."""

    def finish(self, exit_code: int) -> None:
        """Ends the run, as a process with this exit code does."""


class _WandB:
    def __init__(self, name: str, run_id: str | None, config: dict[str, Any]) -> None:
        import wandb

        # "allow" and not "must": a run that was recorded offline is not yet known to the server.
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            id=run_id,
            resume=None if run_id is None else "allow",
            config=config,
            allow_val_change=True,
        )
        # Its own count of steps would refuse lines that come a second time.
        self._run.define_metric("*", step_metric=STEPS)
        self.run_id: str = self._run.id

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log({**values, STEPS: step})

    def finish(self, exit_code: int) -> None:
        self._run.finish(exit_code=exit_code)


class _MLflow:
    def __init__(self, name: str, run_id: str | None, config: dict[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        if run_id is None and not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & set(os.environ):
            mlflow.set_experiment(PROJECT)
        self.run_id: str = mlflow.start_run(run_id=run_id, run_name=name).info.run_id
        if run_id is None:  # it lets no parameter be changed
            mlflow.log_params(config)

    def log(self, values: dict[str, float], step: int) -> None:
        self._mlflow.log_metrics(values, step=step)

    def finish(self, exit_code: int) -> None:
        stopped = "KILLED" if exit_code > 128 else "FAILED"
        self._mlflow.end_run("FINISHED" if exit_code == 0 else stopped)


class _Trackio:
    def __init__(self, name: str, run_id: str | None, config: dict[str, Any]) -> None:
        import trackio

        # A run is found by its name, which must therefore be its own.
        self.run_id = run_id or f"{name}-{uuid4().hex[:8]}"
        resume = "never" if run_id is None else "allow"
        self._run = trackio.init(project=PROJECT, name=self.run_id, resume=resume, config=config)

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def finish(self, exit_code: int) -> None:
        self._run.finish()


TRACKERS: Mapping[str, Callable[[str, str | None, dict[str, Any]], Tracker]] = {
    "wandb": _WandB,
    "mlflow": _MLflow,
    "trackio": _Trackio,
}
"""By the name of the package, which is that of the extra, too: begins a run, or goes on with the one of an id."""


class Trackers:
    """The trackers of a run. One that fails is left out from then on: the training does not end for it."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        """Args: announce: called with a line for each tracker that fails."""
        self._announce = announce
        self._trackers: dict[str, Tracker] = {}

    def add(self, name: str, tracker: Tracker) -> None:
        """Adds one that has begun."""
        self._trackers[name] = tracker

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Logs what are numbers among the values, at an environment step."""
        numbers = {key: float(value) for key, value in values.items() if is_number(value)}
        self._for_each(lambda tracker: tracker.log(numbers, step))

    def finish(self, exit_code: int) -> None:
        """Ends the run in all of them."""
        self._for_each(lambda tracker: tracker.finish(exit_code))

    def _for_each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except Exception as error:  # anything: of a network, a disk, a server
                del self._trackers[name]
                self._announce(f"{name} failed, nothing more is logged there: {error_line(error)}")


def check_installed(names: Iterable[str]) -> None:
    """Raises UsageError where a tracker is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UsageError(f"--track {name} needs {name}, which is not installed: pip install 's7rl[{name}]'")


def request_tracking(folder: RunFolder, names: Iterable[str]) -> None:
    """Writes down which trackers a new run is to have, if any."""
    if runs := dict.fromkeys(names):
        write_json(folder.tracking, runs)


def trackers_of(folder: RunFolder) -> dict[str, str | None]:
    """The trackers of a run, and its id in each; None where it has not begun.

    Raises:
        UsageError: the file cannot be read, or names something else.
    """
    runs = read_json(folder.tracking) if folder.tracking.exists() else {}
    for name in runs:
        if name not in TRACKERS:
            raise UsageError(f"{folder.tracking} has '{name}', a tracker is one of {', '.join(TRACKERS)}: take it out")
    return runs


@contextmanager
def tracked(
    folder: RunFolder, settings: RunSettings, announce: Callable[[str], None], exit_code: Callable[[], int]
) -> Iterator[Trackers]:
    """Begins the run, or goes on with it, in each of its trackers, and ends it there after the block.

    Args:
        folder: of the run; its path is the run's name.
        settings: are logged.
        announce: called with a line for each tracker that fails on the way.
        exit_code: asked for at the end of the block; an exception counts as 1.

    Raises:
        UsageError: a tracker cannot begin.
    """
    runs = trackers_of(folder)
    trackers = Trackers(announce)
    code = 1
    try:
        for name, run_id in runs.items():
            try:
                tracker = TRACKERS[name](str(folder.path)[-LONGEST_NAME:], run_id, asdict(settings))
            except Exception as error:  # anything: no login, no network, a run that was deleted
                go_on = f"s7rl resume {quote(str(folder.path))}"
                raise UsageError(
                    f"--track {name} cannot begin: {error_line(error)}; once that is mended, or without trackers after "
                    f"removing {folder.tracking}: {go_on}"
                ) from error
            trackers.add(name, tracker)
            runs[name] = tracker.run_id
            write_json(folder.tracking, runs)
        yield trackers
        code = exit_code()
    finally:
        trackers.finish(code)
