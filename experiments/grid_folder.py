"""The folder of an experiment: the grid, a run folder for every cell, and which of them failed.

    experiment.json                 the grid, the command, the machine and the versions that made it
    runs.jsonl                      a line for each cell that is finished, with all that is told of it
    runs/TASK/AGENT/seedN/          the run folder of a cell, as `s7rl train` makes it
    runs/TASK/AGENT/seedN.log       what it printed
    runs/TASK/AGENT/seedN.failed    why it failed, as JSON; not there unless it did
    results.csv                     the scores in runs.jsonl
    report.html, report/            what came of it, and the figures in it as PNG and CSV

Nothing else is kept: where an experiment stands is read from there, whatever happened to the process that ran it. A
cell is finished once it has a score, the last thing that a run writes, in its run folder or in runs.jsonl. With the
first two files the experiment goes on in another place; to have a run made again, its line is taken out, too.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from s7rl.checks import error_line
from s7rl.experiments.csv_table import csv_table
from s7rl.experiments.errors import UsageError
from s7rl.experiments.finished_runs import RESULTS, SCORE, Line, line_of, read_lines, result, write_lines
from s7rl.experiments.grid import Cell, Grid, grid_from
from s7rl.experiments.machine import machine
from s7rl.experiments.run_folder import RunFolder, locked, read_json, versions, write_json
from s7rl.experiments.settings import FREE, RunSettings, as_json, difference_of
from s7rl.files import write_atomically

FORMAT = "s7rl-experiment"
FORMAT_VERSION = 1


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

    @property
    def lines(self) -> Path:
        """What is told of all finished cells."""
        return self.path / "runs.jsonl"

    @cached_property
    def finished(self) -> dict[str, Line]:
        """What was in that file, and has been taken in since, by the name of the cell.

        Raises:
            UsageError: a line is damaged.
        """
        return read_lines(self.lines)

    def run(self, cell: Cell) -> RunFolder:
        """The run folder of a cell, there or not."""
        return RunFolder(self.path / "runs" / str(cell))

    def log(self, cell: Cell) -> Path:
        """What the process of a cell printed."""
        return self._beside(cell, ".log")

    def state(self, cell: Cell) -> State:
        """Where a cell stands."""
        run = self.run(cell)
        if str(cell) in self.finished or run.evaluation.is_file():
            return State.FINISHED
        if self._failure(cell).is_file():
            return State.FAILED
        return State.STOPPED if run.config.is_file() else State.NEW

    def score(self, cell: Cell) -> dict[str, Any]:
        """The score of a finished cell, as its run wrote it."""
        line = self.finished.get(str(cell))
        return read_json(self.run(cell).evaluation) if line is None else dict(line["evaluation"])

    def drop_damaged_score(self, cell: Cell) -> bool:
        """Removes a score that cannot be read, so that the cell is evaluated again; says whether there was one."""
        run = self.run(cell)
        if str(cell) in self.finished or not run.evaluation.is_file():
            return False
        with suppress(UsageError):
            if self.score(cell).keys() >= set(SCORE):
                return False
        run.evaluation.unlink()
        self.forget_failure(cell)
        return True

    def error(self, cell: Cell) -> str:
        """Why a cell failed, in one line; empty where it did not."""
        return str(read_json(self._failure(cell))["error"]) if self.state(cell) is State.FAILED else ""

    def note_ending(self, cell: Cell, exit_code: int) -> None:
        """Writes down why a cell failed, if it did, once its process has ended by itself."""
        if self.state(cell) is not State.FINISHED:
            write_json(self._failure(cell), {"exit_code": exit_code, "error": self._why(cell, exit_code)})

    def forget_failure(self, cell: Cell) -> None:
        """Has a cell that failed be taken up again where its last checkpoint stands."""
        self._failure(cell).unlink(missing_ok=True)

    def take_in(self, grid: Grid) -> dict[Cell, str]:
        """Looks for cells that have finished, or were finished again with `s7rl resume`, and are not in runs.jsonl yet.

        Returns:
            Those whose run folder is damaged, and in what way.
        """
        damaged = {}
        for cell in grid.cells():
            run, line = self.run(cell), self.finished.get(str(cell))
            if not run.evaluation.is_file():
                continue
            try:
                if line is None or _resumptions(read_json(run.config)) > _resumptions(line["config"]):
                    self.finished[str(cell)] = line_of(cell, run)
            except (OSError, ValueError, KeyError, UsageError) as error:
                if line is None:
                    damaged[cell] = error_line(error)
        return damaged

    def write_results(self, grid: Grid) -> None:
        """Writes what is told of all finished cells, and their scores. Only in ``locked``."""
        self.take_in(grid)
        names = [str(cell) for cell in grid.cells() if str(cell) in self.finished]
        write_lines(self.lines, (self.finished[name] for name in dict.fromkeys([*names, *self.finished])))
        write_atomically(self.results, csv_table(RESULTS, (result(self.finished[name]) for name in names)))

    def grid(self) -> Grid:
        """Reads the grid back.

        Raises:
            UsageError: this is no experiment's folder.
        """
        content = read_json(self.config) if self.config.is_file() else {}
        if content.get("format") != FORMAT or content.get("format_version") != FORMAT_VERSION:
            raise UsageError(f"{self.path} is not the folder of an experiment: give one that `s7rl experiment` made")
        return grid_from(content.get("grid", {}), str(self.config))

    def take_up(self, grid: Grid, settings: Mapping[Cell, RunSettings]) -> None:
        """Takes in what a grid has more than the one that is here: tasks, agents, seeds. Only in ``locked``.

        Args:
            grid: as it is to be.
            settings: of each of its cells.

        Raises:
            UsageError: something that is here would be another, or missing.
        """
        there = self.grid()
        difference = _difference(there, grid)
        if difference:
            raise UsageError(
                f"{self.path} holds an experiment with {difference}: tasks, agents and seeds can be added, nothing "
                "changed; put it back, or give another folder with --out"
            )
        for cell, planned in settings.items():
            self._check_settings(cell, planned)
        if there != grid:
            write_json(self.config, {**read_json(self.config), "grid": grid.as_dict()})

    def _check_settings(self, cell: Cell, planned: RunSettings) -> None:
        """The words of a cell may be the same, and yet mean something else: a preset's file has changed, or a default.

        Where config.json cannot be read nothing can be said; `s7rl resume` and `s7rl report` refuse it.
        """
        configs = [self.finished[str(cell)]["config"]] if str(cell) in self.finished else []
        with suppress(UsageError):
            configs.append(read_json(self.run(cell).config))
        for config in configs:
            self._check_config(cell, config, planned)

    def _check_config(self, cell: Cell, config: Mapping[str, Any], planned: RunSettings) -> None:
        begun = config.get("settings")
        if not isinstance(begun, dict):
            return
        # One that was given other steps by hand goes on to these, and a report tells it from the others.
        free = {*FREE, *(["steps", "stop_return"] if _was_given_steps(config) else [])}
        difference = difference_of(begun, as_json(planned), free)
        if difference:
            raise UsageError(
                f"{self.path}: {cell} was begun with {difference} (a preset's file has changed, or a default): put it "
                "back, add what is new under another name, or give another folder with --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from running this experiment during a block.

        Raises:
            UsageError: another process is at it.
        """
        with locked(self.path, str(self.path)):
            yield

    def _why(self, cell: Cell, exit_code: int) -> str:
        number = exit_code - 128
        if number in set(signal.Signals):
            hint = ", perhaps for want of memory" if number == signal.SIGKILL else ""
            return f"ended by {signal.Signals(number).name}{hint}"
        lines = self.log(cell).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if exit_code and lines:
            return re.sub(r"^s7rl \w+: ", "", lines[-1])
        return f"ended with exit code {exit_code} and without a score"

    def _failure(self, cell: Cell) -> Path:
        return self._beside(cell, ".failed")

    def _beside(self, cell: Cell, suffix: str) -> Path:
        run = self.run(cell).path
        return run.with_name(run.name + suffix)


def _may_be_there_before(inside: Path) -> bool:
    """Whether something can lie in an experiment's folder before it begins: its grid, a README, or what a kill left.

    A process that was killed while it wrote experiment.json leaves a file that begins with a dot.
    """
    return inside.name.startswith(".") or inside.suffix in (".md", ".toml")


def open_grid_folder(path: Path, grid: Grid, command: Sequence[str]) -> GridFolder:
    """Makes the folder of an experiment, or finds the one that is there, which may have another grid.

    Raises:
        UsageError: something else is there, or another process is at it.
    """
    folder = GridFolder(path)
    if folder.config.is_file():
        folder.grid()
        return folder
    if path.exists() and not (path.is_dir() and all(_may_be_there_before(inside) for inside in path.iterdir())):
        raise UsageError(f"{path} exists already and is not the folder of an experiment: give another one with --out")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be made: {error.strerror}; choose another with --out") from error
    facts = {"format": FORMAT, "format_version": FORMAT_VERSION, "command": list(command), "versions": versions()}
    content = {**facts, "machine": machine(), "grid": grid.as_dict()}
    with folder.locked():
        if not folder.config.is_file():  # another process may have begun here since
            write_json(folder.config, content)
    return folder


def _resumptions(config: Mapping[str, Any]) -> int:
    return len(config.get("resumptions", ()))


def _was_given_steps(config: Mapping[str, Any]) -> bool:
    """Whether a run was resumed with ``--steps``, which an experiment never does."""
    words = [word for resumption in config.get("resumptions", ()) for word in resumption.get("command", ())]
    return any(word.partition("=")[0] == "--steps" for word in words)


def _difference(there: Grid, here: Grid) -> str:
    """What of a grid another has not, or otherwise; empty where it has all of it."""
    for what in ("tasks", "agents"):
        new = getattr(here, what)
        for name, words in getattr(there, what).items():
            if new.get(name) != words:
                return f'other {what} ({name} = "{words}", now ' + (f'"{new[name]}")' if name in new else "nothing)")
    if not set(there.seeds) <= set(here.seeds):
        return f"other seeds ({list(there.seeds)}, now {list(here.seeds)})"
    return f'other options ("{there.options}", now "{here.options}")' if there.options != here.options else ""
