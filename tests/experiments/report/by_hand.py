"""The folder of an experiment, written without training anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from s7rl.experiments.command_line import parse
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.grid import Cell, Grid
from s7rl.experiments.grid_folder import GridFolder, open_grid_folder
from s7rl.experiments.plan import plan
from s7rl.experiments.run_folder import RunFolder, create_run_folder, write_json
from s7rl.experiments.settings import RunSettings

TMAZE = "s7rl/TMazePassive-v0 --env-kwargs corridor_length=5"
"""Random actions get -1.77, 0.5 can be had without memory, 1 at best."""
UNKNOWN = "s7rl/CartPolePositionOnly-v0 --wrappers 'Flicker(probability=0.5)'"
"""Of which nobody knows the optimum; random actions get what they did."""
AGENTS = {"s7": "--agent s7", "none": "--agent none", "stack": "--agent stack"}
LOG = ((100, -1.0, 2, 50), (200, 0.0, 4, 50), (300, 1.0, 6, 50))
"""Steps, mean return, seconds and steps a second: 6 seconds in all."""
Line = tuple[int, float | None, int, int] | tuple[int, float | None, int, int, float]
"""The last: the share of training episodes that succeed."""


def begin(path: Path, *, tasks: Mapping[str, str], agents: Mapping[str, str] = AGENTS, seeds: int = 3) -> GridFolder:
    """An experiment in which nothing has run."""
    grid = Grid(tasks=tasks, agents=agents, seeds=tuple(range(seeds)), summary="made by <hand>")
    return open_grid_folder(path, grid, ["s7rl", "experiment", "by_hand.toml"])


def cell_of(folder: GridFolder, task: str, agent: str, seed: int) -> Cell:
    """A cell by its name."""
    return next(cell for cell in folder.grid().cells() if str(cell) == f"{task}/{agent}/seed{seed}")


def finish(
    folder: GridFolder,
    task: str,
    agent: str,
    scores: Sequence[float],
    *,
    success: float | None = None,
    log: Sequence[Line] = LOG,
    episodes: int = 10,
) -> None:
    """Writes finished runs of an agent on a task, a seed for each score."""
    for seed, score in enumerate(scores):
        cell = cell_of(folder, task, agent, seed)
        run = start(folder, cell)
        write_log(run, log)
        write_json(
            run.evaluation,
            {"seed": run.settings().evaluation_seed, "episodes": episodes, "mean_return": score, "standard_error": 0.0}
            | {"mean_length": 7.0, "success_rate": success},
        )
        folder.note_ending(cell, 0)


@cache
def settings_of(words: tuple[str, ...]) -> RunSettings:
    """What `s7rl train` makes of words."""
    request = parse(["train", *words])
    assert isinstance(request, TrainConfig)
    return plan(request)[0]


def start(folder: GridFolder, cell: Cell) -> RunFolder:
    """A run folder as it is before the first rollout."""
    *words, _, seed = cell.words  # "--seed 3" stands last
    settings = replace(settings_of(tuple(words)), seed=int(seed))
    return create_run_folder(settings, ["s7rl", "train", *cell.words], out=str(folder.run(cell).path), runs="runs")


def fail(folder: GridFolder, task: str, agent: str, seed: int, line: str) -> None:
    """Has a cell end with an error."""
    cell = cell_of(folder, task, agent, seed)
    start(folder, cell)
    folder.log(cell).write_text(f"s7rl train: {line}\n")
    folder.note_ending(cell, 1)


def write_log(run: RunFolder, log: Sequence[Line]) -> None:
    """Writes progress.csv."""
    lines = ["time/total_timesteps,rollout/ep_rew_mean,time/time_elapsed,time/fps,rollout/success_rate"]
    for steps, reward, seconds, speed, *success in log:
        cells = (steps, reward, seconds, speed, success[0] if success else None)
        lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    run.progress.write_text("\n".join(lines) + "\n")
