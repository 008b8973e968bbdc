"""`s7rl experiment`: a grid of runs, from nothing to a table and a report, or from wherever it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from s7rl.envs import Task
from s7rl.experiments.cells_table import CellsTable
from s7rl.experiments.command_line import parse, without_overridden
from s7rl.experiments.config import ExperimentConfig, TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.grid import CONTROLS, FEWEST_SEEDS, Cell, Grid, read_grid
from s7rl.experiments.grid_folder import GridFolder, State, open_grid_folder
from s7rl.experiments.interruption import STOPPING, Interruption, stop_on_signals
from s7rl.experiments.local_launcher import POLL_SECONDS, Job, run_locally
from s7rl.experiments.machine import cores
from s7rl.experiments.plan import named_task, plan
from s7rl.experiments.presets import EXPERIMENTS, GRIDS
from s7rl.experiments.report.page import write_report
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.suggestions import named
from s7rl.experiments.wording import plural, say

SAVING_SECONDS = 120
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
    if config.processes is not None and config.processes < 1:
        raise UsageError(f"--processes {config.processes} must be at least 1, or left out")
    launch = _launcher(config)
    grid = chosen_grid(config)
    runs = planned(grid)  # before anything begins: each may be mistyped
    chosen = chosen_cells(runs, config.only)
    folder = open_grid_folder(Path(config.out or Path(config.runs) / Path(config.grid).stem), grid, command)
    with folder.locked():
        folder.take_up(grid, {cell: run.settings for cell, run in runs.items()})
        for cell in chosen:
            if folder.drop_damaged_score(cell):
                say(console, f"{cell}: {folder.run(cell).evaluation} cannot be read, it is evaluated again")
        if config.retry:
            for cell in chosen:
                folder.forget_failure(cell)
        left = [cell for cell in chosen if folder.state(cell) in (State.NEW, State.STOPPED)]
        processes = config.processes or cores()
        say(console, _introduction(folder, grid, len(runs), len(left), processes))
        with stop_on_signals() as interruption:
            stop = asked_to_stop(interruption, console)
            _wait_until_saved(folder, left, stop, lambda line: say(console, line))
            wait = config.launcher == "ray"  # whose lost workers leave processes that still save
            jobs = [_job(folder, grid, cell, runs[cell], wait=wait) for cell in left]
            with CellsTable(folder, {cell: runs[cell].settings.steps for cell in chosen}, console) as table:
                launch(jobs, processes, watch=table.show, stop=stop)
        folder.write_results(grid)
        if interruption.requested:
            say(console, f"stopped; to go on: the same command again. Scores so far: {folder.results}")
            return interruption.exit_code
        return _conclude(folder, grid, console)


def _launcher(config: ExperimentConfig) -> Callable[..., None]:
    if config.launcher == "local":
        if config.address is not None:
            raise UsageError(f"--address {config.address} is that of a Ray cluster: give it with --launcher ray")
        return run_locally
    if find_spec("ray") is None:
        raise UsageError("--launcher ray needs ray, which is not installed: pip install 's7rl[ray]'")
    from s7rl.experiments.ray_launcher import run_on_ray

    return partial(run_on_ray, address=config.address)


def chosen_grid(config: ExperimentConfig) -> Grid:
    """The grid that a request names: a preset, or a TOML file."""
    if config.grid.endswith(".toml"):
        grid = read_grid(Path(config.grid))
    elif config.grid in EXPERIMENTS:
        raise UsageError(
            f"'{config.grid}' is a single run and no grid; to start it: {EXPERIMENTS[config.grid].command}"
        )
    else:
        grid = named("grid", config.grid, GRIDS, "see `s7rl list experiments`, or give a file that ends in .toml")
    return with_controls(grid) if config.controls else grid


def with_controls(grid: Grid) -> Grid:
    """The grid with the agents beside which memory shows, as far as none of its own is of their preset.

    Raises:
        UsageError: a word of the grid cannot be read, or an agent has the name of a control and is none.
    """
    (first, its), *_ = grid.tasks.items()  # to read words takes tens of milliseconds
    presets = {
        cell.agent: _request(cell).agent for cell in replace(grid, tasks={first: its}, seeds=grid.seeds[:1]).cells()
    }
    missing = {name: words for name, words in CONTROLS.items() if name not in presets.values()}
    for name in missing:
        if name in presets:
            raise UsageError(
                f"agents: {name} is of the preset {presets[name]}, and has the name of a control, which is added: "
                "call it otherwise, or give --no-controls"
            )
    return replace(grid, agents={**grid.agents, **missing})


def chosen_cells(cells: Iterable[Cell], patterns: Sequence[str]) -> list[Cell]:
    """Those that one of the patterns fits, as in a shell; all of them where there is no pattern.

    Raises:
        UsageError: a pattern fits none.
    """
    every = list(cells)
    for pattern in patterns:
        if not any(fnmatchcase(str(cell), pattern) for cell in every):
            raise UsageError(f"--only {pattern} fits no run of the grid; one is called {every[0]}")
    return [cell for cell in every if any(fnmatchcase(str(cell), pattern) for pattern in patterns or ["*"])]


@dataclass(frozen=True)
class Planned:
    """What a cell's words mean."""

    request: TrainConfig
    """As `s7rl train` reads them, but for the seed."""
    settings: RunSettings
    """What follows from them."""


def planned(grid: Grid) -> dict[Cell, Planned]:
    """What every cell's run is to do.

    Raises:
        UsageError: a word is mistyped, a name unknown, a value out of range, or there would be no score.
        TrainingError: an environment dies or hangs where one is made.
    """
    find = cache(named_task)  # to make an environment may take seconds, and every agent and seed has the same ones
    plans: dict[tuple[str, str], Planned] = {}
    runs = {}
    for cell in grid.cells():
        if (cell.task, cell.agent) not in plans:
            plans[cell.task, cell.agent] = _planned(cell, find)
        run = plans[cell.task, cell.agent]
        runs[cell] = replace(run, settings=replace(run.settings, seed=cell.seed))
    return runs


def _planned(cell: Cell, find: Callable[..., Task]) -> Planned:
    request = _request(cell)
    try:
        if request.eval_episodes < 1:
            raise UsageError(f"--eval-episodes {request.eval_episodes}: a grid needs scores, give at least 1")
        return Planned(request, plan(request, find)[0])
    except UsageError as error:
        raise UsageError(f"{cell.task}/{cell.agent}: {error}") from error


def _request(cell: Cell) -> TrainConfig:
    try:
        request = parse(["train", *cell.words])
        if not isinstance(request, TrainConfig):
            raise UsageError(f"{' '.join(cell.words)} asks for help")
        return request
    except UsageError as error:
        raise UsageError(f"{cell.task}/{cell.agent}: {error}") from error


def _introduction(folder: GridFolder, grid: Grid, runs: int, left: int, processes: int) -> str:
    if not left:
        return f"{folder.path}: {plural(runs, 'run')}, none to do"
    line = f"{folder.path}: {plural(runs, 'run')}, {left} to do, {min(processes, left)} at a time"
    if len(grid.seeds) >= FEWEST_SEEDS:
        return line
    return f"{line}; scores of {plural(len(grid.seeds), 'seed')} say little of the next: take {FEWEST_SEEDS} or more"


def asked_to_stop(interruption: Interruption, console: Console) -> Callable[[], bool]:
    """Returns what says whether a signal came, to be asked often.

    It also tells the user, once: the table would wipe away what a handler writes.
    """
    said = False

    def asked() -> bool:
        nonlocal said
        if interruption.requested and not said:
            said = True
            say(console, STOPPING)
        return interruption.requested

    return asked


def _wait_until_saved(
    folder: GridFolder,
    cells: Sequence[Cell],
    stop: Callable[[], bool] = lambda: False,
    announce: Callable[[str], None] = lambda line: None,
) -> None:
    """Waits for processes whose experiment was killed: they stop after the update that they are at, and save.

    One that does not is somebody's who is at this run alone, and `s7rl resume` refuses it.
    """
    given_up = time.monotonic() + SAVING_SECONDS
    said = False
    for cell in cells:
        while folder.state(cell) is State.STOPPED and not stop():
            try:
                with folder.run(cell).locked():
                    break
            except UsageError:
                if time.monotonic() > given_up:
                    return
                if not said:
                    announce(f"waiting for {cell}, which still runs, to stop and save")
                    said = True
                time.sleep(POLL_SECONDS)


def _job(folder: GridFolder, grid: Grid, cell: Cell, run: Planned, *, wait: bool) -> Job:
    return Job(
        name=str(cell),
        words=partial(_words, folder, cell, run, wait=wait),
        log=folder.log(cell),
        note_ending=partial(_note_ending, folder, grid, cell),
    )


def _note_ending(folder: GridFolder, grid: Grid, cell: Cell, exit_code: int) -> None:
    folder.note_ending(cell, exit_code)
    folder.write_results(grid)


def _words(folder: GridFolder, cell: Cell, run: Planned, *, wait: bool) -> list[str]:
    """What is left of a cell, as a command."""
    its = folder.run(cell)
    if folder.state(cell) is not State.NEW:
        if wait:
            _wait_until_saved(folder, [cell])
        return ["resume", str(its.path), "--eval-episodes", str(run.request.eval_episodes)]
    if its.path.is_dir():  # made by a process that was killed before it had written config.json
        its.remove_unfinished()
        its.path.rmdir()
    threads = () if run.request.threads is not None else ("--threads", "1")
    return ["train", *without_overridden(cell.words), *threads, "--out", str(its.path)]


def _conclude(folder: GridFolder, grid: Grid, console: Console) -> int:
    failed = [cell for cell in grid.cells() if folder.state(cell) is State.FAILED]
    for cell in failed:
        say(console, f"failed: {cell}: {folder.error(cell)} ({folder.log(cell)})")
    if failed:
        say(console, f"{plural(len(failed), 'run')} failed; the same command with --retry takes them up again")
    say(console, f"results: {folder.results}")
    try:
        say(console, f"report: {write_report(folder.path)}")
    except UsageError as error:
        say(console, f"no report: {error}")
    return 1 if failed else 0
