"""The folder of an experiment: where every cell stands follows from what lies there.

Mutations that were seen to fail: a failure before a score; a failure noted of a cell that has one; an exit code above
128 always taken for a signal's, or 0 for one that explains itself; a folder without config.json stopped; a file that a
killed process left taken for somebody's; what was added not written down; settings compared as they are before JSON has
made lists of their tuples, or with the threads; experiment.json written over that of a process that was quicker; steps
compared of a run that was given others, or not compared of one that was resumed without; cells and scores looked for in
run folders only; settings compared with those in run folders only, or with those in runs.jsonl only; a run that was
resumed never taken in anew, or any run always; lines of no cell dropped, or lines not in the order of the grid; a run
folder called damaged of which all is known; the seed of an evaluation for that of its run.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from s7rl.experiments.errors import UsageError
from s7rl.experiments.grid import Cell, Grid
from s7rl.experiments.grid_folder import GridFolder, State, open_grid_folder
from s7rl.experiments.run_folder import STEPS, write_json
from s7rl.experiments.settings import RunSettings
from tests.experiments.report.by_hand import settings_of

GRID = Grid(
    tasks={"m": "Maze-v0 --steps 9", "n": "Nook-v0"},
    agents={"s7": "--agent s7"},
    seeds=(0, 1),
    options="--n-envs 4",
    summary="who",
)

SCORE: dict[str, Any] = {
    "episodes": 5,
    "mean_return": 0.5,
    "standard_error": 0.0,
    "mean_length": 9.5,
    "success_rate": None,
}


@pytest.fixture
def folder(tmp_path: Path) -> GridFolder:
    return open_grid_folder(tmp_path / "x", GRID, ["s7rl", "experiment", "x.toml"])


@pytest.fixture
def cell() -> Cell:
    return next(GRID.cells())


@pytest.fixture
def planned() -> RunSettings:
    return settings_of(("s7rl/TMazePassive-v0", "--agent", "s7"))


def finish(folder: GridFolder, cell: Cell, settings: RunSettings | None = None, **score: Any) -> None:
    folder.run(cell).path.mkdir(parents=True, exist_ok=True)
    write_json(folder.run(cell).config, {} if settings is None else {"settings": asdict(settings)})
    folder.run(cell).progress.write_text(f"{STEPS},time/time_elapsed,time/fps\n300,6,50\n")
    write_json(folder.run(cell).evaluation, score)


def printed(folder: GridFolder, cell: Cell, text: str) -> None:
    folder.log(cell).parent.mkdir(parents=True, exist_ok=True)
    folder.log(cell).write_bytes(text.encode("latin-1"))


def test_a_cell_is_new_then_stopped_then_finished(folder: GridFolder, cell: Cell) -> None:
    assert folder.run(cell).path == folder.path / "runs" / "m" / "s7" / "seed0"
    assert folder.state(cell) is State.NEW
    folder.run(cell).path.mkdir(parents=True)
    assert folder.state(cell) is State.NEW, "it was killed before it had written what it is to do"
    write_json(folder.run(cell).config, {})
    assert folder.state(cell) is State.STOPPED
    write_json(folder.run(cell).evaluation, {"mean_return": 0.5})
    assert folder.state(cell) is State.FINISHED
    assert folder.score(cell) == {"mean_return": 0.5}


@pytest.mark.parametrize(
    ("code", "output", "error"),
    [
        (2, "a line\ns7rl train: --steps 0 must be: more\n", "--steps 0 must be: more"),
        (1, "Traceback\ns7rl resume: the door\n\n", "the door"),
        (1, "Traceback ...\nValueError: stuck \xff", "ValueError: stuck \N{REPLACEMENT CHARACTER}"),
        (3, "", "ended with exit code 3 and without a score"),
        (0, "a line\n", "ended with exit code 0 and without a score"),
        (137, "a line\n", "ended by SIGKILL, perhaps for want of memory"),
        (139, "a line\n", "ended by SIGSEGV"),
        (255, "s7rl train: gone", "gone"),
    ],
)
def test_a_cell_that_fails_says_why(folder: GridFolder, cell: Cell, code: int, output: str, error: str) -> None:
    printed(folder, cell, output)
    assert folder.error(cell) == ""
    folder.note_ending(cell, code)
    assert folder.state(cell) is State.FAILED
    assert folder.error(cell) == error
    assert json.loads((folder.path / "runs" / "m" / "s7" / "seed0.failed").read_text())["exit_code"] == code
    folder.forget_failure(cell)
    assert folder.state(cell) is State.NEW
    assert folder.error(cell) == ""


def test_a_failed_cell_is_failed_whatever_it_left_until_it_has_a_score(folder: GridFolder, cell: Cell) -> None:
    printed(folder, cell, "s7rl train: no\n")
    folder.run(cell).path.mkdir(parents=True)
    write_json(folder.run(cell).config, {})
    folder.note_ending(cell, 1)
    assert folder.state(cell) is State.FAILED
    finish(folder, cell)
    assert folder.state(cell) is State.FINISHED
    assert folder.error(cell) == ""


def test_a_cell_with_a_score_is_finished_whatever_its_process_came_to(folder: GridFolder, cell: Cell) -> None:
    finish(folder, cell)
    for code in (0, 1, 137):
        folder.note_ending(cell, code)
        assert folder.state(cell) is State.FINISHED
    assert not (folder.path / "runs" / "m" / "s7" / "seed0.failed").exists()


def test_results_has_a_line_for_each_finished_cell_in_the_order_of_the_grid(folder: GridFolder) -> None:
    first, second, third, _ = GRID.cells()
    score = {**SCORE, "seed": 7, "mean_return": 0.1 + 0.2, "returns": [1.0]}
    finish(folder, third, **score)
    finish(folder, first, **{**score, "success_rate": 0.25})
    printed(folder, second, "")
    folder.note_ending(second, 1)
    folder.write_results(GRID)
    assert folder.results == folder.path / "results.csv"
    assert folder.results.read_text().splitlines() == [
        "task,agent,seed,episodes,mean_return,standard_error,success_rate,mean_length,"
        "steps,seconds,steps_to_success,seconds_to_success,best_return",
        "m,s7,0,5,0.30000000000000004,0.0,0.25,9.5,300,6,,,",
        "m,s7,1,5,0.30000000000000004,0.0,,9.5,300,6,,,",
    ]
    with folder.results.open() as file:
        assert [float(line["mean_return"]) for line in csv.DictReader(file)] == [0.1 + 0.2] * 2


def test_an_experiment_goes_on_from_two_files_alone(
    folder: GridFolder, cell: Cell, planned: RunSettings, tmp_path: Path
) -> None:
    finish(folder, cell, planned, **SCORE)
    folder.write_results(GRID)
    away = GridFolder(tmp_path / "away")
    away.path.mkdir()
    for path in (folder.config, folder.lines):
        (away.path / path.name).write_bytes(path.read_bytes())
    assert [away.state(its) for its in GRID.cells()] == [State.FINISHED, State.NEW, State.NEW, State.NEW]
    assert away.score(cell)["mean_return"] == 0.5
    larger = replace(GRID, seeds=(2, 0, 1))
    away.take_up(larger, {cell: replace(planned, threads=1)})
    with pytest.raises(UsageError, match=r"m/s7/seed0 was begun with gamma 0\.99, now it would be 0\.5"):
        away.take_up(larger, {cell: replace(planned, gamma=0.5)})
    other = next(its for its in larger.cells() if its.seed == 2)
    finish(away, other, **SCORE)
    away.write_results(larger)
    lines = away.lines.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["seed"] for line in lines] == [2, 0]
    assert lines[1] == folder.lines.read_bytes()
    assert away.results.read_text().splitlines()[2:] == folder.results.read_text().splitlines()[1:]


def test_a_line_of_no_cell_is_kept(folder: GridFolder, cell: Cell) -> None:
    finish(folder, cell, **SCORE)
    folder.write_results(GRID)
    folder.write_results(replace(GRID, seeds=(1,)))
    assert folder.lines.read_bytes().count(b"\n") == 1
    assert folder.results.read_bytes().count(b"\n") == 1


def test_a_run_that_was_resumed_after_it_had_finished_is_taken_in_anew_once_it_has_a_score(
    folder: GridFolder, cell: Cell, planned: RunSettings
) -> None:
    finish(folder, cell, planned, **SCORE)
    folder.write_results(GRID)
    run = folder.run(cell)
    run.note_resumption(replace(planned, steps=900), ["s7rl", "resume", str(run.path), "--steps", "900"], 300)
    run.evaluation.unlink()
    folder = GridFolder(folder.path)
    folder.take_up(GRID, {cell: planned})
    folder.write_results(GRID)
    assert (folder.state(cell), folder.score(cell)["mean_return"]) == (State.FINISHED, 0.5)
    write_json(run.evaluation, {**SCORE, "mean_return": 0.75})
    folder.write_results(GRID)
    assert folder.score(cell)["mean_return"] == 0.75
    folder = GridFolder(folder.path)
    folder.take_up(GRID, {cell: planned})
    assert folder.finished[str(cell)]["config"]["settings"]["steps"] == 900
    # An older folder, as another machine may still have it, does not take the place of a line.
    finish(folder, cell, planned, **SCORE)
    folder.write_results(GRID)
    assert folder.score(cell)["mean_return"] == 0.75


def test_a_finished_run_that_is_damaged_is_told_and_not_written_down(folder: GridFolder, cell: Cell) -> None:
    finish(folder, cell, **SCORE)
    folder.run(cell).progress.unlink()
    (why,) = folder.take_in(GRID).values()
    assert why.startswith("FileNotFoundError: ")
    folder.write_results(GRID)
    assert folder.lines.read_bytes() == b""
    finish(folder, cell, **SCORE)
    assert folder.take_in(GRID) == {}
    folder.run(cell).config.write_text("{")
    assert folder.take_in(GRID) == {}, "all is known of it"


def test_an_experiment_is_taken_up_again_and_keeps_what_made_it(folder: GridFolder) -> None:
    before = folder.config.read_bytes()
    config = json.loads(before)
    assert config["command"] == ["s7rl", "experiment", "x.toml"]
    assert "torch" in config["versions"]
    grid = Grid(**{**vars(GRID), "summary": "others"})
    again = open_grid_folder(folder.path, grid, ["other"])
    again.take_up(grid, {})
    assert again.grid() == GRID
    assert again.grid().summary == "who"
    assert folder.config.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"tasks": {**GRID.tasks, "m": "Maze-v0"}}, 'other tasks (m = "Maze-v0 --steps 9", now "Maze-v0")'),
        ({"tasks": {"m": GRID.tasks["m"]}}, 'other tasks (n = "Nook-v0", now nothing)'),
        ({"agents": {"gru": "--agent gru"}}, 'other agents (s7 = "--agent s7", now nothing)'),
        ({"seeds": (0, 2)}, "other seeds ([0, 1], now [0, 2])"),
        ({"options": ""}, 'other options ("--n-envs 4", now "")'),
    ],
)
def test_another_grid_is_refused_and_named(folder: GridFolder, change: dict[str, Any], difference: str) -> None:
    before = folder.config.read_bytes()
    with pytest.raises(UsageError) as refusal:
        folder.take_up(Grid(**{**vars(GRID), **change}), {})
    assert str(refusal.value) == (
        f"{folder.path} holds an experiment with {difference}: tasks, agents and seeds can be added, nothing changed; "
        "put it back, or give another folder with --out"
    )
    assert folder.config.read_bytes() == before


def test_tasks_agents_and_seeds_are_added_and_the_rest_of_the_file_is_kept(folder: GridFolder) -> None:
    before = json.loads(folder.config.read_bytes())
    more = Grid(
        tasks={"first": "Hall-v0", **GRID.tasks},
        agents={**GRID.agents, "gru": "--agent gru"},
        seeds=(2, 1, 0),
        options=GRID.options,
    )
    folder.take_up(more, {})
    assert folder.grid() == more
    assert json.loads(folder.config.read_bytes()) == {**before, "grid": more.as_dict()}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"learning_rate": 0.5}, "learning_rate 0.5, now it would be 0.001"),
        (
            {"core_kwargs": {"horizon": (2.0, 9.0)}},
            "core_kwargs {'horizon': [2.0, 9.0]}, now it would be {'horizon': [2",
        ),
        ({"seed": 1}, "seed 1, now it would be 0"),
        ({"workers": "loop", "worker_timeout": 1, "threads": 1, "device": "cpu"}, None),
    ],
)
def test_a_cell_that_the_same_words_would_make_another_agent_now_is_named(
    folder: GridFolder, cell: Cell, planned: RunSettings, change: dict[str, Any], difference: str | None
) -> None:
    assert isinstance(planned.core_kwargs["horizon"], tuple)
    folder.run(cell).path.mkdir(parents=True)
    write_json(folder.run(cell).config, {"settings": asdict(replace(planned, **change))})
    if difference is None:
        folder.take_up(GRID, {cell: planned})
        return
    with pytest.raises(UsageError) as refusal:
        folder.take_up(GRID, {cell: planned})
    assert str(refusal.value).startswith(f"{folder.path}: {cell} was begun with {difference}")


@pytest.mark.parametrize(("option", "taken_up"), [("--steps", True), ("--steps=900", True), ("--eval-episodes", False)])
def test_a_run_that_was_resumed_with_other_steps_keeps_them(
    folder: GridFolder, cell: Cell, planned: RunSettings, option: str, taken_up: bool
) -> None:
    planned = replace(planned, stop_return=0.5)
    folder.run(cell).path.mkdir(parents=True)
    run = folder.run(cell)
    write_json(run.config, {"settings": asdict(planned)})
    resumed = replace(planned, steps=900, stop_return=None)  # it had reached it
    run.note_resumption(resumed, ["s7rl", "resume", str(run.path), option, "900"], 400)
    if taken_up:
        folder.take_up(GRID, {cell: planned})
    else:
        with pytest.raises(UsageError, match="seed0 was begun with steps 900, now it would be"):
            folder.take_up(GRID, {cell: planned})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"versions": {}}'])
def test_of_a_cell_whose_config_cannot_be_read_nothing_is_said(folder: GridFolder, cell: Cell, content: str) -> None:
    folder.run(cell).path.mkdir(parents=True)
    folder.run(cell).config.write_text(content)
    folder.take_up(GRID, {cell: settings_of(("s7rl/TMazePassive-v0",))})


def test_a_score_that_cannot_be_read_is_dropped_and_no_other(folder: GridFolder, cell: Cell) -> None:
    assert not folder.drop_damaged_score(cell)
    finish(folder, cell, **SCORE)
    assert not folder.drop_damaged_score(cell)
    for damaged in ("", '{"episodes": 5}', "[]"):
        printed(folder, cell, "")
        folder.note_ending(cell, 0)
        folder.run(cell).evaluation.write_text(damaged)
        assert folder.drop_damaged_score(cell)
        assert folder.state(cell) is State.STOPPED


def test_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    for name in ("file", "full"):
        with pytest.raises(UsageError, match=f"{name} exists already and is not the folder of an experiment: give"):
            open_grid_folder(tmp_path / name, GRID, [])
    with pytest.raises(UsageError, match="inside cannot be made: Not a directory; choose another with --out"):
        open_grid_folder(tmp_path / "file" / "inside", GRID, [])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".experiment.json.123").touch()  # of a process that was killed
    (tmp_path / "empty" / "grid.toml").touch()  # the user's own, which the experiment is made from
    (tmp_path / "empty" / "README.md").touch()
    assert open_grid_folder(tmp_path / "empty", GRID, []).grid() == GRID


def test_a_folder_that_is_no_experiment_is_named(tmp_path: Path) -> None:
    for content in (None, "{}", '{"format": "s7rl-run"}', '{"format": "s7rl-experiment", "format_version": 2}'):
        if content is not None:
            (tmp_path / "experiment.json").write_text(content)
        with pytest.raises(UsageError, match="is not the folder of an experiment: give one that `s7rl experiment`"):
            GridFolder(tmp_path).grid()
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(UsageError, match=r"experiment\.json cannot be read as JSON"):
        GridFolder(tmp_path).grid()


def test_one_process_at_a_time_runs_an_experiment(folder: GridFolder) -> None:
    with (
        folder.locked(),
        pytest.raises(UsageError, match="x is in use by another process: wait, or stop that one"),
        folder.locked(),
    ):
        pass
    with folder.locked():
        pass


def test_of_two_processes_that_begin_at_once_the_first_makes_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Grid(**{**vars(GRID), "seeds": (5,)})

    def another_is_quicker() -> dict[str, Any]:
        monkeypatch.undo()
        open_grid_folder(tmp_path / "x", first, [])
        return {}

    monkeypatch.setattr("s7rl.experiments.grid_folder.machine", another_is_quicker)
    assert open_grid_folder(tmp_path / "x", GRID, []).grid() == first


def test_a_lock_ends_with_its_process(folder: GridFolder) -> None:
    child = os.fork()
    if child == 0:
        with folder.locked():
            os._exit(0)
    os.waitpid(child, 0)
    with folder.locked():
        pass
