"""What a user sees of an experiment while it runs: a live table on a terminal, lines in a pipe."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from s7rl.experiments import cells_table
from s7rl.experiments.cells_table import CellsTable
from s7rl.experiments.grid import Cell, Grid
from s7rl.experiments.grid_folder import GridFolder, open_grid_folder
from s7rl.experiments.run_folder import STEPS, write_json

GRID = Grid(tasks={"maze": "Maze-v0"}, agents={"s7": "--agent s7", "gru": "--agent gru"}, seeds=(0, 3))
NOBODY = frozenset[str]()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock of one entry, set by hand."""
    now = [100.0]
    monkeypatch.setattr("s7rl.experiments.cells_table.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def folder(tmp_path: Path) -> GridFolder:
    return open_grid_folder(tmp_path / "x", GRID, [])


def console(*, terminal: bool, height: int = 25) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=80, height=height, color_system=None, legacy_windows=False
    )


def drain(console: Console) -> str:
    """What was printed since the last call, without the codes that move the cursor."""
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", text).replace("\r", "")


def train(folder: GridFolder, cell: Cell, steps: int) -> None:
    run = folder.run(cell)
    run.path.mkdir(parents=True, exist_ok=True)
    write_json(run.config, {})
    run.progress.write_text(f"{STEPS}\n{steps}\n")


def finish(folder: GridFolder, cell: Cell, mean_return: float) -> None:
    train(folder, cell, 1000)
    write_json(folder.run(cell).evaluation, {"mean_return": mean_return})


def fail(folder: GridFolder, cell: Cell, why: str) -> None:
    folder.log(cell).parent.mkdir(parents=True, exist_ok=True)
    folder.log(cell).write_text(f"s7rl train: {why}")
    folder.note_ending(cell, 2)


def test_a_terminal_gets_a_table_with_scores_shares_and_the_time_left(folder: GridFolder, clock: list[float]) -> None:
    s7, gru, s7_again, _ = GRID.cells()
    finish(folder, s7, 0.126)
    train(folder, gru, 500)
    screen = console(terminal=True)
    with CellsTable(folder, dict.fromkeys(GRID.cells(), 1000), screen) as table:
        drain(screen)
        table.show(frozenset({str(gru), str(s7_again)}))
        heading, line, first, second = (text.rstrip() for text in drain(screen).splitlines())
        assert heading.split() == ["task", "agent", "seed", "0", "seed", "3"]
        assert set(line) <= {"─", " "}
        assert first.split() == ["maze", "s7", "0.13", "0%"]
        assert second.split() == ["maze", "gru", "50%"]
        train(folder, gru, 750)
        fail(folder, s7_again, "no")
        clock[0] += 0.9
        table.show(frozenset({str(gru)}))
        assert drain(screen) == ""
        clock[0] += 99.1
        table.show(frozenset({str(gru)}))
        *_, first, second, left = (text.rstrip() for text in drain(screen).splitlines())
        assert first.split() == ["maze", "s7", "0.13", "failed"]
        assert second.split() == ["maze", "gru", "75%"]
        # 250 steps took 100 seconds; 250 and 1,000 are to do, and what failed is not.
        assert left == "about 8 minutes left"
        finish(folder, gru, 500.0)
    *_, second, left = (text.rstrip() for text in drain(screen).splitlines())
    assert second.split() == ["maze", "gru", "500.00"]
    assert left == "about 3 minutes left"  # 500 steps in 100 s, 1,000 to do


def test_the_time_left_counts_what_this_process_has_done_and_no_steps_twice(
    folder: GridFolder, clock: list[float]
) -> None:
    s7, gru, *_ = GRID.cells()
    train(folder, s7, 800)
    screen = console(terminal=True)
    with CellsTable(folder, {s7: 1000, gru: 1000}, screen) as table:
        train(folder, s7, 600)  # its checkpoint was older than its log
        clock[0] += 10
        table.show(frozenset({str(s7), str(gru)}))
        assert "left" not in drain(screen)
        train(folder, gru, 350)
        clock[0] += 10
        table.show(frozenset({str(s7), str(gru)}))
        assert "about 60 seconds left" in drain(screen)  # 350 in 20 s; 400 and 650 to do


def test_a_table_higher_than_the_terminal_shows_what_runs_and_in_the_end_all(
    tmp_path: Path, clock: list[float]
) -> None:
    grid = Grid(tasks={f"t{n}": "Maze-v0" for n in range(30)}, agents={"s7": "--agent s7"}, seeds=(0,))
    folder = open_grid_folder(tmp_path / "x", grid, [])
    steps = dict.fromkeys(grid.cells(), 1000)
    screen = console(terminal=True, height=34)
    with CellsTable(folder, steps, screen) as table:
        drain(screen)
        table.show(frozenset({"t28/s7/seed0"}))
        assert re.findall(r"t\d+", drain(screen)) == [f"t{n}" for n in range(30)], "it fits"
    screen = console(terminal=True, height=20)
    with CellsTable(folder, steps, screen) as table:
        drain(screen)
        table.show(frozenset({"t28/s7/seed0", "t3/s7/seed0"}))
        assert re.findall(r"t\d+", drain(screen)) == ["t3", "t28"]
    assert re.findall(r"t\d+", drain(screen))[-30:] == [f"t{n}" for n in range(30)]


def test_a_pipe_gets_a_line_for_each_cell_that_ends_and_nothing_of_those_before(
    folder: GridFolder, clock: list[float]
) -> None:
    s7, gru, s7_again, gru_again = GRID.cells()
    finish(folder, s7, 0.126)
    screen = console(terminal=False)
    with CellsTable(folder, dict.fromkeys(GRID.cells(), 1000), screen) as table:
        table.show(frozenset({str(gru), str(s7_again)}))
        train(folder, gru, 500)
        clock[0] += 2
        table.show(frozenset({str(gru), str(s7_again)}))
        assert drain(screen) == ""
        finish(folder, gru, -1.0)
        fail(folder, s7_again, "the door [red] is stuck")
        clock[0] += 2
        table.show(frozenset({str(gru)}))
        assert drain(screen) == "2/4  maze/gru/seed0: -1.00\n3/4  maze/s7/seed3: failed: the door [red] is stuck\n"
        clock[0] += 2
        table.show(frozenset({str(gru), str(gru_again)}))
        assert drain(screen) == "", "it has a score, though its process has not ended yet"
        clock[0] += 0.1
        table.show(NOBODY)
        finish(folder, gru_again, 2.0)
    assert drain(screen) == "4/4  maze/gru/seed3: 2.00\n"


def test_what_began_and_ended_between_two_looks_is_seen(folder: GridFolder, clock: list[float]) -> None:
    s7, *_ = GRID.cells()
    screen = console(terminal=False)
    with CellsTable(folder, dict.fromkeys(GRID.cells(), 1000), screen) as table:
        table.show(NOBODY)
        table.show(frozenset({str(s7)}))
        finish(folder, s7, 1.0)
        table.show(NOBODY)
        clock[0] += cells_table.REDRAW_SECONDS
        table.show(NOBODY)
        assert drain(screen) == "1/4  maze/s7/seed0: 1.00\n"
