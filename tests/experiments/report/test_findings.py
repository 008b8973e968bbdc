"""The sentences of a report: what they claim, and what they leave open.

Mutations that were seen to fail these tests: claims by the value alone; a loss shown as a gain; agents ranked from the
worst; tasks and agents that are not named; what is open and what too few seeds could not have shown in one sentence;
nothing of the survivors, or of survivors where nothing failed; damaged runs not counted as failed; conditions named
that do not differ; four names and one more; p values of two digits; a note that is silent on how many comparisons there
are.
"""

import math
from pathlib import Path

import pytest

from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.comparisons import Comparison
from s7rl.experiments.report.data import read_record
from s7rl.experiments.report.findings import digits, findings, listed, note, p_value, shown, with_p_value
from s7rl.experiments.run_folder import read_json, write_json
from s7rl.experiments.statistics import Estimate
from tests.experiments.report.by_hand import AGENTS, TMAZE, UNKNOWN, begin, cell_of, fail, finish

ALL = {"s7": "--agent s7", "gru": "--agent gru", **AGENTS}


def sentences(path: Path, scores: dict[str, list[float]], task: str = TMAZE, name: str = "maze") -> list[str]:
    """What is said of scores by agent on one task, all runs of which are finished."""
    agents = {agent: words for agent, words in ALL.items() if agent in scores}
    folder = begin(path / "grid", tasks={name: task}, agents=agents, seeds=max(map(len, scores.values())))
    for agent, its in scores.items():
        finish(folder, name, agent, its)
    return list(findings(Analysis(read_record(folder.path))))


def test_a_difference_beyond_interval_and_test_is_claimed_with_its_numbers(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [1.0] * 5, "gru": [0.75] * 5, "none": [0.5] * 5, "stack": [0.25] * 5})
    assert said[0].startswith(
        "On maze, with 0 for random actions and 1 for the optimum: s7 1.00 (1.00 to 1.00), gru 0.91"
    )
    # Four comparisons, in each of which 2 of 252 orders are as unequal.
    assert said[1:] == [
        "On the same task, a run of s7 beats one of gru with probability 1.00 (1.00 to 1.00; p = 0.032).",
        "maze: compared with none, which has no memory, s7 gets 0.50 (0.50 to 0.50; p = 0.032) more, gru gets 0.25 "
        "(0.25 to 0.25; p = 0.032) more and stack (the last observations only) gets 0.25 (0.25 to 0.25; p = 0.032) "
        "less.",
        "With 5 seeds an interval says how far these runs lie apart, not how far the next one may lie.",
    ]


def test_who_is_ahead_is_named_first(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [0.5] * 5, "gru": [1.0] * 5})
    assert said[1] == "On the same task, a run of gru beats one of s7 with probability 1.00 (1.00 to 1.00; p = 0.008)."
    assert not [line for line in said if line.startswith(("Undecided", "Too few"))]


def test_nothing_is_claimed_where_scores_leave_it_open(tmp_path: Path) -> None:
    scores = {"s7": [0.0, 0.5, 1.0, 0.3, 0.4], "gru": [0.2, 0.6, 0.7, 0.3, 0.3], "none": [0.1, 0.4, 0.9, 0.3, 0.4]}
    said = sentences(tmp_path, scores)
    assert said[1].startswith("Undecided, by these runs: s7 and gru (s7 is ahead with probability 0.52 (0.12 to ")
    assert said[1].endswith("; p = 1.00)).")
    assert said[2].startswith("maze: no difference is shown between none and s7 (0.03 (-0.")
    assert not [line for line in said if "beats" in line or "compared with none" in line or "Too few" in line]


def test_what_so_few_seeds_could_never_have_shown_is_told_from_what_is_open(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [1.0] * 3, "gru": [0.75] * 3, "none": [0.5] * 3})
    assert said[1] == (
        "Too few seeds, whatever they had scored, to tell s7 from gru, s7 from none on maze and gru from none on maze: "
        "with 3 comparisons in this report, 5 seeds of each on a task would do."
    )
    assert not [line for line in said if "beats" in line or "Undecided" in line or line.startswith("maze:")]


def test_seeds_are_counted_on_the_tasks_of_a_comparison_alone(tmp_path: Path) -> None:
    folder = begin(
        tmp_path / "grid", tasks={"a": TMAZE, "b": TMAZE}, agents={k: ALL[k] for k in ("s7", "gru")}, seeds=5
    )
    finish(folder, "a", "s7", [1.0] * 5)
    finish(folder, "a", "gru", [0.5] * 5)
    finish(folder, "b", "s7", [1.0])  # where gru has not run
    assert "On the same task, a run of s7 beats one of gru with probability 1.00 (1.00 to 1.00; p = 0.008)." in list(
        findings(Analysis(read_record(folder.path)))
    )


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    said = sentences(tmp_path, {"s7": [1.0], "none": [0.5]})
    assert said == [
        "On maze, with 0 for random actions and 1 for the optimum: s7 1.00 and none 0.82.",
        "Too few seeds, whatever they had scored, to tell s7 from none on maze: with 1 comparison in "
        "this report, 4 seeds of each on a task would do.",
        "No agent that sees the last observations has finished a run, so what short memory is worth is not known.",
        "A score of one seed has no interval: how far the next one may lie is not known.",
    ]


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
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
    assert said[0] == "The scores lack seeds (20 not finished): none has 0 of 10 on b and stack has 0 of 10 on a."
    assert said[1] == "Over 2 tasks, with 0 for random actions and 1 for the optimum: s7 1.00 (1.00 to 1.00)."
    assert said[-1] == "Without a finished run on every task, and left out of what is taken over tasks: none and stack."


def test_seeds_that_failed_are_told_first_and_that_the_survivors_may_flatter(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents=ALL, seeds=3)
    for agent in ALL:
        finish(folder, "maze", agent, [1.0] * (3 if agent == "stack" else 2))
    fail(folder, "maze", "s7", 2, "the loss is nan: lower --learning-rate")
    folder.run(cell_of(folder, "maze", "none", 1)).progress.unlink()  # damaged
    said = list(findings(Analysis(read_record(folder.path))))
    assert said[0] == (
        "The scores lack seeds (2 failed, 2 not finished): s7 has 2 of 3 on maze, gru has 2 of 3 on maze and none has "
        "1 of 3 on maze. Runs that failed are left out, not counted as bad: scores of survivors may flatter "
        "(survivorship bias)."
    )


def test_of_many_gaps_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={str(n): TMAZE for n in range(6)}, agents={"s7": ALL["s7"]}, seeds=1)
    finish(folder, "0", "s7", [1.0])
    said = list(findings(Analysis(read_record(folder.path))))
    assert said[0] == (
        "The scores lack seeds (5 not finished): s7 has 0 of 1 on 1, s7 has 0 of 1 on 2, s7 has 0 of 1 on 3 and 2 more."
    )


def test_agents_under_other_conditions_are_named_and_not_compared(tmp_path: Path) -> None:
    agents = {
        "s7": "--agent s7 --steps 20000",
        "longer": "--agent gru --steps 30000",
        "none": "--agent none --steps 2e4",
    }
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents=agents, seeds=5)
    for agent, score in {"s7": 0.75, "longer": 1.0, "none": 0.5}.items():
        finish(folder, "maze", agent, [score] * 5)
    said = list(findings(Analysis(read_record(folder.path))))
    assert said[0] == (
        "maze: not all runs had the same conditions, and only agents whose runs had are compared: s7 and none with "
        "20,000 training steps; longer with 30,000 training steps."
    )
    assert said[1].startswith(
        "On maze, each under its own conditions, with 0 for random actions and 1 for the optimum: "
    )
    assert said[2].startswith(
        "maze: compared with none, which has no memory, s7 gets 0.25 (0.25 to 0.25; p = 0.008) more."
    )
    assert not [line for line in said[2:] if "longer" in line]


def test_seeds_of_one_agent_under_other_conditions_are_told_with_all_that_differs(tmp_path: Path) -> None:
    agents = {"s7": "--agent s7", "far": "--agent s7 --env-kwargs corridor_length=9"}
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents=agents, seeds=2)
    finish(folder, "maze", "far", [1.0] * 2)
    finish(folder, "maze", "s7", [1.0] * 2)
    evaluation = folder.run(cell_of(folder, "maze", "s7", 1)).evaluation
    write_json(evaluation, {**read_json(evaluation), "episodes": 1})
    said = list(findings(Analysis(read_record(folder.path))))
    assert said[0] == (
        "maze: not all runs had the same conditions, and only agents whose runs had are compared: s7 with "
        "s7rl/TMazePassive-v0 corridor_length=5, 1 evaluation episode and s7rl/TMazePassive-v0 corridor_length=5, "
        "10 evaluation episodes; far with s7rl/TMazePassive-v0 corridor_length=9, 10 evaluation episodes."
    )


def test_the_note_says_what_a_claim_takes_and_for_how_many_comparisons(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents=ALL, seeds=1)
    finish(folder, "maze", "s7", [1.0])
    assert note(Analysis(read_record(folder.path))) == (
        "Numbers in brackets are 95% bootstrap intervals over seeds, drawn within each task."
    )
    finish(folder, "maze", "none", [1.0])
    assert "exact permutation test of the ranks within each task. A diff" in note(Analysis(read_record(folder.path)))
    finish(folder, "maze", "gru", [1.0])
    said = note(Analysis(read_record(folder.path)))
    assert "adjusted for the 3 comparisons of this report (Holm)" in said
    assert "at most 5% of such reports would claim anything" in said


@pytest.mark.parametrize(("p", "written"), [(0.0004, "< 0.001"), (0.0476, "0.048"), (0.0524, "0.052"), (0.314, "0.31")])
def test_a_p_value_is_written_so_that_it_shows_on_which_side_of_the_level_it_is(p: float, written: str) -> None:
    its = Comparison(
        ours="s7",
        theirs="gru",
        tasks=("maze",),
        estimate=Estimate(1.0, 1.0, 1.0),
        none=0.5,
        p_value=p,
        least_p_value=0.001,
    )
    assert p_value(its) == written
    assert (
        with_p_value(Estimate(1.0, 0.5, 1.0), its)
        == f"1.00 (0.50 to 1.00; p {'' if '<' in written else '= '}{written})"
    )
    assert with_p_value(Estimate(1.0, math.nan, math.nan), its) == f"1.00 (p {'' if '<' in written else '= '}{written})"


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
