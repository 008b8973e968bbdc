"""Which tasks are one environment with a number changed, and what is drawn of them.

Mutations that were seen to fail: two tasks drawn; other arguments that differ left unseen; wrappers left unseen; texts
taken for numbers; values in the order of the grid; returns where all tasks tell success; two figures of one name; one
of two tasks with the same value drawn.  Of efforts: all runs taken for learned; drawn where a threshold is not known.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s7rl.experiments.report import figures
from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.data import Run, read_record
from s7rl.experiments.report.difficulty_section import Series, difficulty_section, series_of
from s7rl.experiments.report.figures import styles
from tests.experiments.report.by_hand import AGENTS, begin, finish


def analysis_of(path: Path, words: dict[str, str], success: float | None = 0.5) -> Analysis:
    folder = begin(path / "grid", tasks=words, agents={"s7": AGENTS["s7"], "none": AGENTS["none"]}, seeds=2)
    for number, task in enumerate(words):
        finish(folder, task, "s7", [1.0, 0.5], success=success)
        if number < 2:
            finish(folder, task, "none", [0.25], success=success, log=[(300, 0.5, 6, 50)])
    return Analysis(read_record(folder.path))


def maze(length: int, *others: str) -> str:
    return f"s7rl/TMazePassive-v0 --env-kwargs corridor_length={length} {' '.join(others)}"


MAZES = {"long": maze(90), "short": maze(5), "middle": maze(7)}


def test_tasks_that_differ_in_one_number_are_a_series_in_its_order(tmp_path: Path) -> None:
    found = series_of(analysis_of(tmp_path, MAZES))
    assert found == [
        Series("s7rl/TMazePassive-v0", "s7rl/TMazePassive-v0", "corridor_length", {5: "short", 7: "middle", 90: "long"})
    ]
    assert list(found[0].tasks) == [5, 7, 90]


@pytest.mark.parametrize(
    "words",
    [
        {"short": maze(5), "middle": maze(7)},
        {"short": maze(5), "middle": maze(7), "long": maze(9, "--wrappers", "PreviousActionReward")},
        {"short": maze(5), "middle": maze(7), "long": maze(9, "max_episode_steps=30")},
        {"short": maze(5), "middle": maze(7), "other": "s7rl/MemoryLength-v0 --env-kwargs length=3"},
        {"short": maze(5), "middle": maze(7), "long": maze(9), "longer-rollouts": maze(9, "--n-steps", "64")},
    ],
)
def test_fewer_than_three_or_others_are_none(words: dict[str, str], tmp_path: Path) -> None:
    analysis = analysis_of(tmp_path, words)
    assert series_of(analysis) == []
    assert list(difficulty_section(analysis, styles(analysis.agents))) == []


def test_texts_and_truth_values_make_nothing_harder(tmp_path: Path) -> None:
    def named(name: object) -> Run:
        its = replace(run.settings, env_kwargs={"corridor_length": 5, "name": name})
        return replace(run, cell=replace(run.cell, task=str(name)), settings=its)

    record = analysis_of(tmp_path, {"short": maze(5)}).record
    run = record.runs[0]
    names = ("a", "b", "c", True)
    tasks = {str(name): maze(5) for name in names}
    record = replace(record, runs=tuple(map(named, names)), grid=replace(record.grid, tasks=tasks))
    assert series_of(Analysis(record)) == []


def test_series_that_differ_in_another_argument_are_figures_of_their_own(tmp_path: Path) -> None:
    limit = "max_episode_steps=30"
    words = MAZES | {f"{name}-limited": f"{task} {limit}" for name, task in MAZES.items()}
    analysis = analysis_of(tmp_path, words)
    (section,) = difficulty_section(analysis, styles(analysis.agents))
    name = "difficulty-TMazePassive-v0-corridor_length"
    # A shorter limit changes the scores: how much is a lot is then not known.
    assert [figure.name for figure in section.figures] == [
        name,
        name.replace("difficulty", "steps_to_threshold"),
        f"{name}-2",
    ]
    assert [figure.says.partition(":")[0] for figure in section.figures] == [
        *["s7rl/TMazePassive-v0"] * 2,
        f"s7rl/TMazePassive-v0 {limit}",
    ]


@pytest.mark.parametrize(("success", "expected"), [(0.5, 0.5), (None, 0.75)])
def test_success_is_drawn_where_all_tasks_tell_it_else_the_return(
    success: float | None, expected: float, tmp_path: Path
) -> None:
    analysis = analysis_of(tmp_path, MAZES, success)
    (section,) = difficulty_section(analysis, styles(analysis.agents))
    figure, _ = section.figures
    assert figure.png.startswith(b"\x89PNG")
    assert figure.name == "difficulty-TMazePassive-v0-corridor_length"
    assert figure.columns == ["agent", "corridor_length", "iqm", "low", "high"]
    of_s7 = [line[:3] for line in figure.lines if line[0] == "s7"]
    assert of_s7 == [["s7", 5, expected], ["s7", 7, expected], ["s7", 90, expected]]
    # The agent without memory has run on the first two of the grid.
    assert [line[1] for line in figure.lines if line[0] == "none"] == [5, 90]


def test_the_steps_of_each_run_until_it_had_learned_are_told(tmp_path: Path) -> None:
    analysis = analysis_of(tmp_path, MAZES)
    (section,) = difficulty_section(analysis, styles(analysis.agents))
    _, figure = section.figures
    assert figure.png.startswith(b"\x89PNG")
    assert figure.name == "steps_to_threshold-TMazePassive-v0-corridor_length"
    assert figure.columns == ["agent", "corridor_length", "seed", "steps", "learned"]
    of_s7 = [line for line in figure.lines if line[0] == "s7"]
    assert of_s7 == [["s7", length, seed, 300.0, 1] for length in (5, 7, 90) for seed in (0, 1)]
    # Until the end of a training in which it never had.
    of_none = [line for line in figure.lines if line[0] == "none"]
    assert of_none == [["none", 5, 0, 300.0, 0], ["none", 90, 0, 300.0, 0]]


def test_a_hollow_dot_alone_at_the_top_lies_within_the_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if dots that are moved aside do not widen the axes."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(figures, "_finished", lambda figure, axes, **texts: seen.setdefault("axes", axes))
    runs = figures.StepsToThreshold(x=[1, 9], steps=[1e3, 1e6], learned=[True, False], medians={1: 1e3, 9: math.inf})
    looks = {"s7": figures.Style(colour="blue", marker="o", dashes="-")}
    figures.draw_steps_to_threshold({"s7": runs}, looks, title="", xlabel="", ylabel="")
    assert seen["axes"].get_ylim()[1] > 1.1e6
    assert seen["axes"].get_xlim()[1] > 9


def test_an_axis_that_spans_no_decade_is_marked_with_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails without marks at 2 and 5 times powers of ten, and where matplotlib writes the minor ones, as formulas."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(figures, "_finished", lambda figure, axes, **texts: seen.update(figure=figure, axes=axes))
    runs = figures.StepsToThreshold(x=[1, 9], steps=[1.5e5, 6e5], learned=[True, True], medians={1: 1.5e5, 9: 6e5})
    looks = {"s7": figures.Style(colour="blue", marker="o", dashes="-")}
    figures.draw_steps_to_threshold({"s7": runs}, looks, title="", xlabel="", ylabel="")
    seen["figure"].draw_without_rendering()
    axis = seen["axes"].yaxis
    assert {"200k", "500k"} <= {label.get_text() for label in axis.get_majorticklabels()}
    assert not any(label.get_text() for label in axis.get_minorticklabels())
