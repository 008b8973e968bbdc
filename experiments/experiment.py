"""`s7rl experiment`: a grid of runs, from nothing to a table and a report, or from wherever it was stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from s7rl.experiments.cells_table import CellsTable
from s7rl.experiments.config import ExperimentConfig, TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.grid import FEWEST_SEEDS, Cell, Grid, read_grid
from s7rl.experiments.grid_folder import GridFolder, State, open_grid_folder
from s7rl.experiments.interruption import stop_on_signals
from s7rl.experiments.local_launcher import Job, run_locally
from s7rl.experiments.plan import plan
from s7rl.experiments.presets import GRIDS
from s7rl.experiments.report.page import write_report
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.suggestions import named
from s7rl.experiments.summary import plural, say

LOCK_SECONDS = 120
"""How long a process of an experiment that was killed may take to save what it is at."""


def experiment(config: ExperimentConfig, command: Sequence[str], console: Console) -> int:
    """Runs what is left of a grid, and shows what came of it.

    Args:
        config: the request.
        command: the words it was made of, for the experiment's folder.
        console: where everything is shown.

    Returns:
        The exit code: 0, 1 where cells failed, or 128 and the number of the signal that stopped it.

    Raises:
        UsageError: the request cannot be fulfilled.
    """
    grid = chosen_grid(config)
    runs = {cell: planned(cell) for cell in grid.cells()}  # before anything begins: each may be mistyped
    folder = open_grid_folder(Path(config.out or Path(config.runs) / Path(config.grid).stem), grid, command)
    cells = list(runs)
    failed = [cell for cell in cells if folder.state(cell) is State.FAILED]
    if config.retry:
        for cell in failed:
            folder.forget_ending(cell)
    left = [cell for cell in cells if folder.state(cell) in (State.NEW, State.STOPPED)]
    processes = min(config.processes or len(os.sched_getaffinity(0)), max(len(left), 1))
    say(console, f"{folder.path}: {plural(len(cells), 'run')}, {len(left)} to do, {processes} at a time")
    if len(grid.seeds) < FEWEST_SEEDS:
        say(console, f"with {plural(len(grid.seeds), 'seed')} little is known of the next: take {FEWEST_SEEDS} or more")
    with stop_on_signals(lambda line: say(console, line)) as interruption:
        with CellsTable(folder, {cell: run.settings.steps for cell, run in runs.items()}, processes, console) as table:
            jobs = [_job(folder, cell, runs[cell]) for cell in left]
            run_locally(jobs, processes, watch=table.show, stop=lambda: interruption.requested)
        if interruption.requested:
            say(console, f"stopped; to go on: the same command again. Finished runs are in {folder.path}")
            return interruption.exit_code
    folder.write_results(grid)
    return _conclude(folder, grid, console)


def chosen_grid(config: ExperimentConfig) -> Grid:
    """The grid that a request names: a preset, or a TOML file."""
    grid = read_grid(Path(config.grid)) if config.grid.endswith(".toml") else None
    if grid is None:
        grid = named("experiment", config.grid, GRIDS, "see `s7rl list experiments`, or give a file that ends in .toml")
    return grid.with_controls() if config.controls else grid


@dataclass(frozen=True)
class Planned:
    """What a cell's words mean."""

    request: TrainConfig
    """As `s7rl train` reads them."""
    settings: RunSettings
    """What follows from them."""


def planned(cell: Cell) -> Planned:
    """What a cell's run is to do.

    Raises:
        UsageError: a word is mistyped, a name unknown, a value out of range, or there would be no score.
    """
    from s7rl.experiments.cli import parse  # which imports this module, too, when its turn comes

    try:
        request = parse(["train", *cell.words])
        if not isinstance(request, TrainConfig):
            raise UsageError(f"{' '.join(cell.words)} asks for help")
        if request.out is not None:
            raise UsageError(f"--out {request.out}: a grid chooses its folders itself, leave it out")
        if request.eval_episodes < 1:
            raise UsageError(f"--eval-episodes {request.eval_episodes}: a grid needs scores, give at least 1")
        return Planned(request, plan(request)[0])
    except UsageError as error:
        raise UsageError(f"{cell}: {error}") from error


def _job(folder: GridFolder, cell: Cell, run: Planned) -> Job:
    path = folder.run(cell).path
    if folder.state(cell) is State.STOPPED:
        _wait_until_saved(folder, cell)
        words = ["resume", str(path), "--eval-episodes", str(run.request.eval_episodes)]
    else:
        if path.is_dir():
            path.rmdir()  # made by a process that was killed before it wrote anything
        threads = () if run.request.threads is not None else ("--threads", "1")
        words = ["train", *cell.words, *threads, "--out", str(path)]
    return Job(name=str(cell), words=words, log=folder.log(cell), note_ending=partial(folder.note_ending, cell))


def _wait_until_saved(folder: GridFolder, cell: Cell) -> None:
    """Waits for a process whose experiment was killed: it stops after the update that it is at, and saves."""
    given_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with folder.run(cell).locked():
                return
        except UsageError:
            if time.monotonic() > given_up:
                raise
            time.sleep(1)


def _conclude(folder: GridFolder, grid: Grid, console: Console) -> int:
    failed = [cell for cell in grid.cells() if folder.state(cell) is State.FAILED]
    for cell in failed:
        say(console, f"failed   {cell}: {folder.error(cell)}")
    if failed:
        say(console, f"{plural(len(failed), 'run')} failed; --retry takes them up again; logs lie beside their folders")
    say(console, f"results: {folder.results}")
    if len(failed) < len(list(grid.cells())):
        say(console, f"report: {write_report(folder.path)}")
    return 1 if failed else 0
