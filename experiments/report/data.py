"""What lies in an experiment's folder, as plain values: its runs, what is known of its tasks, and what made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from s7rl.checks import error_line
from s7rl.experiments.arguments import write_assignments
from s7rl.experiments.errors import UsageError
from s7rl.experiments.finished_runs import TRAINED, Line, ToSuccess, column, judged, to_success
from s7rl.experiments.grid import Cell, Grid
from s7rl.experiments.grid_folder import GridFolder
from s7rl.experiments.learning_curve import RETURN
from s7rl.experiments.run_folder import STEPS, read_json, settings_from
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.yardsticks import Yardsticks, yardsticks_of


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
    machines: tuple[Mapping[str, Any], ...]
    """Likewise, as far as they were written down."""
    score: float
    """Mean return of the evaluation at its end."""
    episodes: int
    """Of that evaluation."""
    evaluation_seed: int
    """Of its first environment; every other one had the next."""
    success_rate: float | None
    """Of the same episodes; None where the task does not say."""
    steps: Float[np.ndarray, " lines"]
    """Environment steps at each line of its thinned log."""
    returns: Float[np.ndarray, " lines"]
    """Mean return of the last training episodes there; nan where none had ended, or too few to say anything."""
    seconds: float
    """Of training, as logged: without what was lost when it was stopped, nor the last update; nan if nothing was."""
    to_success: ToSuccess | None
    """What it took until its training episodes succeeded; None where they did not, or the task does not say."""

    @property
    def conditions(self) -> Conditions:
        """Under which it got its score."""
        words = [self.settings.env_id, write_assignments(dict(sorted(self.settings.env_kwargs.items())))]
        words += [f"in {', '.join(self.settings.wrappers)}"] if self.settings.wrappers else []
        return Conditions(" ".join(filter(None, words)), self.settings.steps, self.episodes)

    @property
    def steps_done(self) -> int:
        """Environment steps, as logged."""
        return int(self.steps[-1]) if len(self.steps) else 0

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

    @property
    def machines(self) -> Mapping[str, int]:
        """Those that runs ran on, as text, with how many; one that went on elsewhere counts for each."""
        ran = [dict.fromkeys(map(_machine, run.machines or (self.machine,))) for run in self.runs]
        return Counter(name for names in ran for name in names)

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
    # A process that is at this experiment writes them itself. What is written is read in the lock, too.
    with suppress(UsageError), folder.locked():
        folder.write_results(grid)
    damaged = folder.take_in(grid)
    runs, unfinished = [], []
    for cell in grid.cells():
        try:
            if str(cell) in folder.finished:
                runs.append(_run_of(cell, folder.finished[str(cell)], f"{cell} in {folder.lines}"))
            elif cell in damaged:
                unfinished.append(Unfinished(cell=cell, state="damaged", error=damaged[cell]))
            else:
                unfinished.append(Unfinished(cell=cell, state=folder.state(cell).value, error=folder.error(cell)))
        except (ValueError, KeyError, UsageError) as error:
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


def _run_of(cell: Cell, line: Line, where: str) -> Run:
    config, score, seconds = line["config"], line["evaluation"], column(line, TRAINED)
    begun = [config, *config.get("resumptions", ())]
    return Run(
        cell=cell,
        settings=settings_from(config, where),
        command=tuple(map(str, config["command"])),
        created=str(config["created"]),
        versions=tuple(its["versions"] for its in begun),
        machines=tuple(its["machine"] for its in begun if "machine" in its),
        score=float(score["mean_return"]),
        episodes=int(score["episodes"]),
        evaluation_seed=int(score["seed"]),
        success_rate=score["success_rate"],
        steps=column(line, STEPS),
        returns=judged(line, RETURN),
        seconds=float(seconds[-1]) if len(seconds) else float("nan"),
        to_success=to_success(line),
    )


def _machine(its: Mapping[str, Any]) -> str:
    if not its:
        return "not known: begun by an s7rl that did not write it down"
    return f"{its['processor']}, cores: {its['cores']}, memory: {its['memory_gb']} GB"


def _yardsticks(runs: Sequence[Run]) -> Yardsticks:
    """What is known of the environment, if all runs had the same: options of an agent may change it."""
    found = {yardsticks_of(run.settings) for run in runs}
    return found.pop() if len(found) == 1 else Yardsticks()
