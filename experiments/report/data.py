"""What lies in an experiment's folder, as plain values: its runs, what is known of its tasks, and what made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from s7rl.checks import error_line
from s7rl.experiments.arguments import write_assignments
from s7rl.experiments.errors import TrainingError, UsageError
from s7rl.experiments.grid import Cell, Grid
from s7rl.experiments.grid_folder import GridFolder, State
from s7rl.experiments.learning_curve import RETURN, read_columns
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.run_folder import STEPS, RunFolder, read_json
from s7rl.experiments.settings import RunSettings

SECONDS, SPEED = "time/time_elapsed", "time/fps"


class Conditions(NamedTuple):
    """What must be the same for the scores of two runs to be compared."""

    environment: str
    """With its keyword arguments and wrappers."""
    steps: int
    """Environment steps that it was to train for."""
    episodes: int
    """Of the evaluation."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that is finished."""

    cell: Cell
    """Which one."""
    settings: RunSettings
    """What made it."""
    command: tuple[str, ...]
    """The words that started it."""
    created: str
    """When it began, in ISO 8601."""
    versions: tuple[Mapping[str, str], ...]
    """Those that it began with, and those of each resumption."""
    score: float
    """Mean return of the evaluation at its end."""
    episodes: int
    """Of that evaluation."""
    evaluation_seed: int
    """Of its first environment; every other one had the next."""
    success_rate: float | None
    """Of the same episodes; None where the task does not say."""
    steps: Float[NDArray[np.float64], " lines"]
    """Environment steps at each line of its log."""
    returns: Float[NDArray[np.float64], " lines"]
    """Mean return of the last training episodes there; nan where none had ended."""
    seconds: float
    """Of training, as logged: without what was lost when it was stopped, nor the last update; nan if nothing was."""

    @property
    def conditions(self) -> Conditions:
        """Under which it got its score."""
        words = [self.settings.env_id, write_assignments(dict(sorted(self.settings.env_kwargs.items())))]
        words += [f"in {', '.join(self.settings.wrappers)}"] if self.settings.wrappers else []
        return Conditions(" ".join(filter(None, words)), self.settings.steps, self.episodes)

    @property
    def steps_per_second(self) -> float:
        """Of training; nan where that is not known."""
        return float(self.steps[-1]) / self.seconds if len(self.steps) and self.seconds > 0 else float("nan")

    @property
    def resumptions(self) -> int:
        """How often it was taken up again."""
        return len(self.versions) - 1


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A run that has no score."""

    cell: Cell
    """Which one."""
    state: str
    """Where it stands: "failed", "stopped", "new", or "damaged"."""
    error: str
    """Why it failed; empty where it has not."""

    @property
    def has_failed(self) -> bool:
        """Whether it came to a bad end, rather than to none yet."""
        return self.state in ("failed", "damaged")


@dataclass(frozen=True, kw_only=True)
class Yardsticks:
    """Mean returns to compare with; None is what is not known."""

    random: float | None = None
    """Of uniformly random actions."""
    memoryless: float | None = None
    """Of the best agent without memory."""
    optimal: float | None = None
    """Of the best agent."""

    @property
    def scale(self) -> tuple[float, float] | None:
        """The returns that are 0 and 1 after normalisation; None where one is not known."""
        if self.random is None or self.optimal is None or not self.optimal > self.random:
            return None
        return self.random, self.optimal


@dataclass(frozen=True, kw_only=True)
class Record:
    """An experiment, as far as it has got."""

    path: Path
    """Its folder."""
    grid: Grid
    """What was to be run."""
    command: tuple[str, ...]
    """The words that began it."""
    versions: Mapping[str, str]
    """It began with."""
    machine: Mapping[str, Any]
    """Where it began; empty where that was not written down."""
    runs: tuple[Run, ...]
    """Those that are finished, in the order of the grid."""
    unfinished: tuple[Unfinished, ...]
    """All others."""
    yardsticks: Mapping[str, Yardsticks]
    """By task."""

    def of(self, task: str, agent: str) -> list[Run]:
        """The finished runs of an agent on a task, by seed."""
        return [run for run in self.runs if (run.cell.task, run.cell.agent) == (task, agent)]


def read_record(path: Path) -> Record:
    """Reads an experiment's folder.

    Raises:
        UsageError: there is none, or no run in it is finished.
    """
    if not path.exists():
        raise UsageError(f"DIR {path} does not exist: give the folder of an experiment (by default they lie in runs/)")
    folder = GridFolder(path)
    grid = folder.grid()
    runs, unfinished = [], []
    for cell in grid.cells():
        state = folder.state(cell)
        try:
            if state is State.FINISHED:
                runs.append(_read_run(cell, folder.run(cell)))
            else:
                unfinished.append(Unfinished(cell=cell, state=state.value, error=folder.error(cell)))
        except (OSError, ValueError, KeyError, UsageError) as error:
            unfinished.append(Unfinished(cell=cell, state="damaged", error=error_line(error)))
    if not runs:
        raise UsageError(f"DIR {path} has no finished run yet: begin or go on with `s7rl experiment`")
    content = read_json(folder.config)
    return Record(
        path=path,
        grid=grid,
        command=tuple(map(str, content.get("command", ()))),
        versions=content.get("versions", {}),
        machine=content.get("machine", {}),
        runs=tuple(runs),
        unfinished=tuple(unfinished),
        yardsticks={task: _yardsticks([run for run in runs if run.cell.task == task]) for task in grid.tasks},
    )


def _read_run(cell: Cell, folder: RunFolder) -> Run:
    score = read_json(folder.evaluation)
    config = read_json(folder.config)
    resumptions = config.get("resumptions", [])
    log = read_columns(folder.progress, (STEPS, RETURN, SECONDS, SPEED))
    return Run(
        cell=cell,
        settings=folder.settings(),
        command=tuple(map(str, config["command"])),
        created=str(config["created"]),
        versions=(config["versions"], *(its["versions"] for its in resumptions)),
        score=float(score["mean_return"]),
        episodes=int(score["episodes"]),
        evaluation_seed=int(score["seed"]),
        success_rate=score["success_rate"],
        steps=log[STEPS],
        returns=log[RETURN],
        seconds=training_seconds(
            log[STEPS], log[SECONDS], log[SPEED], resumed_at=[int(its["steps"]) for its in resumptions]
        ),
    )


def training_seconds(
    steps: Float[NDArray[np.float64], " lines"],
    seconds: Float[NDArray[np.float64], " lines"],
    speed: Float[NDArray[np.float64], " lines"],
    *,
    resumed_at: Sequence[int] = (),
) -> float:
    """How long a run trained, from a log whose clock starts anew with every resumption.

    The log has whole seconds and whole steps a second, both rounded down: the larger of the two is more exact.

    Args:
        steps: environment steps of the whole run.
        seconds: since it began, or was last resumed.
        speed: steps a second since then.
        resumed_at: the steps that were done when it was resumed, in order.

    Returns:
        Seconds; nan for an empty log.
    """
    if not len(steps):
        return float("nan")
    total, begin = 0.0, 0.0
    for end in (*resumed_at, np.inf):
        part = np.flatnonzero((steps > begin) & (steps <= end))
        if len(part):
            last = part[-1]
            by_speed = (steps[last] - begin) / speed[last]
            total += float(by_speed if speed[last] > seconds[last] else seconds[last])
        begin = float(end)
    return total


def _yardsticks(runs: Sequence[Run]) -> Yardsticks:
    """What is known of the environment, if all runs had the same: options of an agent may change it."""
    environments = {run.conditions.environment: run.settings for run in runs}
    found = {_look_up(settings) for settings in environments.values()}
    return found.pop() if len(found) == 1 else Yardsticks()


def _look_up(settings: RunSettings) -> Yardsticks:
    try:
        task = task_of_run(settings.env_id, settings.env_kwargs, settings.wrappers, settings.worker_timeout)
    except (ValueError, TypeError, ImportError, TrainingError):
        return Yardsticks()  # of a package that is not installed here, for example
    return Yardsticks(random=task.random_return, memoryless=task.memoryless_return, optimal=task.optimal_return)
