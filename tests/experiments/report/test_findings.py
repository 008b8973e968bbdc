"""The sentences of a report: what they claim, and what they leave open.

Mutations that were seen to fail these tests: claims of two seeds, on either side; claims by the value alone; a
loss shown as a gain; agents ranked from the worst; tasks, agents and few seeds that are not named.
"""

from pathlib import Path

import pytest

from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.data import read_record
from s7rl.experiments.report.findings import digits, findings, listed, shown
from s7rl.experiments.statistics import Estimate
from tests.experiments.report.by_hand import AGENTS, TMAZE, UNKNOWN, begin, finish

FOUR = {"s7": "--agent s7", "gru": "--agent gru", **AGENTS}


def sentences(path: Path, scores: dict[str, list[float]], task: str = TMAZE, name: str = "maze") -> list[str]:
    """What is said of scores by agent on one task."""
    folder = begin(path / "grid", tasks={name: task}, agents=FOUR, seeds=max(map(len, scores.values())))
    for agent, its in scores.items():
        finish(folder, name, agent, its)
    return list(findings(Analysis(read_record(folder.path))))


def test_a_difference_beyond_the_intervals_is_claimed_with_its_numbers(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [1.0] * 5, "gru": [0.75] * 5, "none": [0.5] * 5, "stack": [0.25] * 5})
    assert said[0].startswith(
        "On maze, with 0 for random actions and 1 for the optimum: s7 1.00 (1.00 to 1.00), gru 0.91"
    )
    assert said[1:4] == [
        "On the same task, a run of s7 beats one of gru with probability 1.00 (1.00 to 1.00).",
        "maze: compared with none, which has no memory, s7 gets 0.50 (0.50 to 0.50) more, gru gets 0.25 (0.25 to 0.25) "
        "more and stack (the last observations only) gets 0.25 (0.25 to 0.25) less.",
        "With 5 seeds an interval says how far these runs lie apart, not how far the next one may lie.",
    ]


def test_who_is_ahead_is_named_first(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [0.5] * 5, "gru": [1.0] * 5})
    assert said[1] == "On the same task, a run of gru beats one of s7 with probability 1.00 (1.00 to 1.00)."
    assert not [line for line in said if line.startswith("Undecided")]


def test_nothing_is_claimed_where_intervals_leave_it_open(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [0.0, 0.5, 1.0], "gru": [0.2, 0.6, 0.7], "none": [0.1, 0.4, 0.9]})
    assert not [line for line in said if "beats" in line or "compared with none" in line]
    assert said[1].startswith("Undecided, by these runs: s7 and gru (s7 is ahead with probability 0.44 (0.00 to ")
    assert said[2].startswith("maze: no difference is shown between none and s7 (0.03 (-0.")


@pytest.mark.parametrize("few", ["s7", "none"])
def test_nothing_is_claimed_of_four_seeds(few: str, tmp_path: Path) -> None:
    said = sentences(
        tmp_path,
        {agent: [score] * (4 if agent == few else 5) for agent, score in {"s7": 1.0, "gru": 0.75, "none": 0.5}.items()},
    )
    assert not [line for line in said if "beats" in line and few == "s7"]
    assert not [line for line in said if "compared with none" in line and (few == "none" or "s7 gets" in line)]
    assert said[-1] == f"Nothing is claimed of fewer than 5 seeds, as there are of {few} on maze."


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [1.0], "none": [0.5]})
    assert said[0] == "On maze, with 0 for random actions and 1 for the optimum: s7 1.00 and none 0.82."
    assert "maze: no difference is shown between none and s7 (0.50)." in said
    assert said[-1] == "Nothing is claimed of fewer than 5 seeds, as there are of s7 on maze and none on maze."


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [1.0] * 5}, UNKNOWN, "car")
    assert said == [
        "No agent without memory has finished a run, so what memory is worth is not known here.",
        "The random or the optimal score of car is not known: returns are shown as they are there, and left out of "
        "what is taken over tasks.",
        "No agent that sees the last observations has finished a run, so what short memory is worth is not known.",
        "With 5 seeds an interval says how far these runs lie apart, not how far the next one may lie.",
    ]


def test_an_agent_that_lacks_a_task_is_named(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"a": TMAZE, "b": TMAZE}, agents=AGENTS, seeds=10)
    for task in ("a", "b"):
        finish(folder, task, "s7", [1.0] * 10)
    finish(folder, "a", "none", [0.5] * 10)
    finish(folder, "b", "stack", [0.5] * 10)
    said = list(findings(Analysis(read_record(folder.path))))
    assert said[0] == "Over 2 tasks, with 0 for random actions and 1 for the optimum: s7 1.00 (1.00 to 1.00)."
    assert said[-1] == "Without a finished run on every task, and left out of what is taken over tasks: none and stack."


def test_numbers_have_two_decimals_or_three_digits() -> None:
    assert [digits(value) for value in (0.123, -1.7747, 99.994, 123.4, 12345.6, -1e-17, float("nan"))] == [
        "0.12",
        "-1.77",
        "99.99",
        "123",
        "12,300",
        "0.00",
        "",
    ]
    assert shown(Estimate(0.5, 0.25, 0.75)) == "0.50 (0.25 to 0.75)"
    assert [listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
