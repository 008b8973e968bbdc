"""The folder of an experiment: the grid, a run folder for every cell, and how each of them ended.

    experiment.json                 the grid, the command, the machine and the versions that made it
    runs/TASK/AGENT/seedN/          the run folder of a cell, as `s7rl train` makes it
    runs/TASK/AGENT/seedN.json      how it ended; not there while it has not
    runs/TASK/AGENT/seedN.log       what it printed
    results.csv                     a line for each cell that is finished
    report.html, report/            what came of it, and the figures in it as PNG and CSV

Nothing else is kept: where an experiment stands is read from there, whatever happened to the process that ran it.
"""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from s7rl.experiments.errors import UsageError
from s7rl.experiments.grid import Cell, Grid, grid_from
from s7rl.experiments.machine import machine
from s7rl.experiments.run_folder import RunFolder, versions, write_json
from s7rl.files import write_atomically

FORMAT = "s7rl-experiment"
FORMAT_VERSION = 1
RESULTS = ("task", "agent", "seed", "episodes", "mean_return", "standard_error", "success_rate", "mean_length")


class State(Enum):
    """Where a cell stands."""

    NEW = "new"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass(frozen=True)
class GridFolder:
    """An experiment's folder."""

    path: Path
    """Where it is."""

    @property
    def config(self) -> Path:
        """What made the experiment."""
        return self.path / "experiment.json"

    @property
    def results(self) -> Path:
        """The scores of all finished cells."""
        return self.path / "results.csv"

    def run(self, cell: Cell) -> RunFolder:
        """The run folder of a cell, there or not."""
        return RunFolder(self.path / "runs" / str(cell))

    def log(self, cell: Cell) -> Path:
        """What the process of a cell printed."""
        return self._beside(cell, ".log")

    def state(self, cell: Cell) -> State:
        """Where a cell stands."""
        ending = self._ending(cell)
        if ending is not None:
            return State.FINISHED if ending["exit_code"] == 0 else State.FAILED
        return State.STOPPED if self.run(cell).config.is_file() else State.NEW

    def error(self, cell: Cell) -> str:
        """Why a cell failed, in one line."""
        return str((self._ending(cell) or {}).get("error", ""))

    def note_ending(self, cell: Cell, exit_code: int) -> None:
        """Writes down that a cell's process has ended by itself, and why if it failed."""
        error = {"error": self._why(cell, exit_code)} if exit_code else {}
        write_json(self._beside(cell, ".json"), {"exit_code": exit_code, **error})

    def forget_ending(self, cell: Cell) -> None:
        """Has a cell that failed be taken up again where its last checkpoint stands."""
        self._beside(cell, ".json").unlink(missing_ok=True)

    def write_results(self, grid: Grid) -> None:
        """Writes the scores of all finished cells."""
        content = io.StringIO()
        writer = csv.DictWriter(content, RESULTS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for cell in grid.cells():
            if self.state(cell) is State.FINISHED:
                score = read_json(self.run(cell).evaluation)
                writer.writerow({**score, "task": cell.task, "agent": cell.agent, "seed": cell.seed})
        write_atomically(self.results, content.getvalue().encode())

    def grid(self) -> Grid:
        """Reads the grid back.

        Raises:
            UsageError: this is no experiment's folder.
        """
        content = read_json(self.config) if self.config.is_file() else {}
        if content.get("format") != FORMAT or content.get("format_version") != FORMAT_VERSION:
            raise UsageError(f"{self.path} is not the folder of an experiment: give one that `s7rl experiment` made")
        return grid_from(content["grid"], str(self.config))

    def _why(self, cell: Cell, exit_code: int) -> str:
        if exit_code > 128:
            hint = ", perhaps for want of memory" if exit_code - 128 == signal.SIGKILL else ""
            return f"ended by {signal.Signals(exit_code - 128).name}{hint}"
        lines = self.log(cell).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        # "s7rl train: what went wrong"
        return lines[-1].partition(": ")[2] or lines[-1] if lines else "it printed nothing"

    def _ending(self, cell: Cell) -> dict[str, Any] | None:
        path = self._beside(cell, ".json")
        return read_json(path) if path.is_file() else None

    def _beside(self, cell: Cell, suffix: str) -> Path:
        run = self.run(cell).path
        return run.with_name(run.name + suffix)


def open_grid_folder(path: Path, grid: Grid, command: Sequence[str]) -> GridFolder:
    """Makes the folder of an experiment, or takes up the one that is there.

    Raises:
        UsageError: something else is there, or the experiment there has another grid.
    """
    folder = GridFolder(path)
    if folder.config.is_file():
        there = folder.grid()
        if there != grid:
            raise UsageError(
                f"{path} holds an experiment with {_difference(there, grid)}: give another folder with --out"
            )
        return folder
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} exists already and is not the folder of an experiment: give another one with --out")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be made: {error.strerror}; choose another with --out") from error
    facts = {"format": FORMAT, "format_version": FORMAT_VERSION, "command": list(command), "versions": versions()}
    write_json(folder.config, {**facts, "machine": machine(), "grid": grid.as_dict()})
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file that this package wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _difference(there: Grid, here: Grid) -> str:
    for what in ("tasks", "agents", "seeds", "options"):
        if getattr(there, what) != getattr(here, what):
            return f"other {what} ({_shown(getattr(there, what))})"
    return "another summary"


def _shown(value: Iterable[Any]) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value))
