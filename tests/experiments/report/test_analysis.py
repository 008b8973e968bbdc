"""The numbers of a report, against values worked out by hand.

Mutations that were seen to fail these tests: the last line that reaches the threshold, or one that exceeds it; curves
beyond the steps that all seeds have; the mean of all seeds; a curve of no length; an agent that lacks a task among
those over all tasks; the ends of an interval swapped; a task that one of two has not run; the gap turned round; a gap
of the agent without memory; tasks shared, or memory's worth told, whatever the conditions; seeds of several conditions
taken for one; steps or episodes that are no condition; agents with other conditions taken over tasks for alike; a rate
of success of those seeds that tell it; controls among the agents that are compared; no test.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from s7rl.experiments.report.analysis import Analysis, curve, median_steps, steps_to
from s7rl.experiments.report.data import Run, read_record
from s7rl.experiments.run_folder import read_json, write_json
from tests.experiments.report.by_hand import TMAZE, UNKNOWN, Line, begin, cell_of, finish

MEMORY = "s7rl/MemoryLength-v0 --env-kwargs length=3"
"""Random actions and the best without memory get 0, 1 at best."""


def runs_with(path: Path, *logs: list[Line]) -> list[Run]:
    """Finished runs that have these logs."""
    folder = begin(
        path / "grid", tasks={"maze": TMAZE}, agents={str(n): "--agent s7" for n in range(len(logs))}, seeds=1
    )
    for number, log in enumerate(logs):
        finish(folder, "maze", str(number), [0.0], log=log)
    return list(read_record(folder.path).runs)


def test_the_first_line_that_reaches_the_threshold_counts(tmp_path: Path) -> None:
    late, never = runs_with(
        tmp_path,
        [(10, None, 1, 10), (20, 0.5, 2, 10), (30, 0.9, 3, 10), (40, 0.1, 4, 10), (50, 1.0, 5, 10)],
        [(10, 0.5, 1, 10)],
    )
    assert steps_to(0.9, late) == 30.0
    assert steps_to(0.9, never) is None


def test_a_curve_is_interpolated_where_all_seeds_have_returns(tmp_path: Path) -> None:
    runs = runs_with(
        tmp_path,
        [(0, None, 1, 10), (10, 0.0, 1, 10), (30, 2.0, 1, 10)],
        [(0, 5.0, 1, 10), (20, 5.0, 1, 10), (40, 9.0, 1, 10)],
        [(0, 0.0, 1, 10), (50, 5.0, 1, 10)],
    )
    drawn = curve(runs)
    assert drawn is not None
    assert (drawn.steps[0], drawn.steps[-1]) == (10.0, 30.0)

    def at(values: NDArray[np.float64], steps: float) -> float:
        return float(np.interp(steps, drawn.steps, values))

    # At 10 steps: 0, 5 and 1; at 30: 2, 7 and 3.
    assert [at(values, 10) for values in (drawn.low, drawn.middle, drawn.high)] == pytest.approx([0.0, 2.0, 5.0])
    assert [at(values, 30) for values in (drawn.low, drawn.middle, drawn.high)] == pytest.approx([2.0, 4.0, 7.0])


def test_a_run_that_stopped_since_it_had_learned_enough_keeps_its_return(tmp_path: Path) -> None:
    first, second = runs_with(tmp_path, [(0, 0.0, 1, 10), (20, 1.0, 1, 10)], [(0, 0.0, 1, 10), (40, 2.0, 1, 10)])
    may_stop = [replace(run, settings=replace(run.settings, stop_return=1.0)) for run in (first, second)]
    drawn = curve(may_stop)
    assert drawn is not None
    assert (drawn.steps[-1], drawn.low[-1], drawn.high[-1]) == (40.0, 1.0, 2.0)
    assert np.interp(30, drawn.steps, drawn.low) == pytest.approx(1.0)


def test_the_line_of_a_curve_leaves_out_a_quarter_of_the_seeds_at_each_end(tmp_path: Path) -> None:
    logs: list[list[Line]] = [[(0, reward, 1, 10), (10, reward, 1, 10)] for reward in (0.0, 1.0, 2.0, 100.0)]
    drawn = curve(runs_with(tmp_path, *logs))
    assert drawn is not None
    np.testing.assert_allclose(drawn.middle, 1.5)


def test_seeds_that_share_no_steps_have_no_curve(tmp_path: Path) -> None:
    first, second, empty = runs_with(
        tmp_path, [(0, 1.0, 1, 10), (10, 1.0, 1, 10)], [(20, 1.0, 1, 10), (30, 1.0, 1, 10)], [(0, None, 1, 10)]
    )
    assert curve([first, second]) is None
    assert curve([first, empty]) is None
    assert curve([first]) is not None


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    """Two tasks with a scale and one without; the frame stack has not run on one of them."""
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE, "length": MEMORY, "car": UNKNOWN}, seeds=4)
    finish(folder, "maze", "s7", [1.0, 1.0, 1.0, 1.0], success=1.0)
    finish(folder, "maze", "none", [0.5, 0.4, 0.6, -9.0], success=0.5)
    finish(folder, "maze", "stack", [0.5])
    finish(folder, "length", "s7", [0.0, 0.2, 0.4, 0.6])
    finish(folder, "length", "none", [0.4, 0.4, 0.4, 0.4])
    finish(folder, "car", "s7", [10.0, 20.0, 30.0, 80.0])
    return Analysis(read_record(folder.path))


def test_scores_are_interquartile_means_with_intervals_unless_there_is_one_seed(analysis: Analysis) -> None:
    assert analysis.estimates["maze", "s7"] == (1.0, 1.0, 1.0)
    assert analysis.estimates["maze", "none"].value == pytest.approx(0.45)
    assert analysis.estimates["car", "s7"].value == 25.0
    one = analysis.estimates["maze", "stack"]
    assert one.value == 0.5
    assert np.isnan([one.low, one.high]).all()
    assert {pair: rate.value for pair, rate in analysis.success.items()} == {
        ("maze", "s7"): 1.0,
        ("maze", "none"): 0.5,
    }


def test_what_is_taken_over_tasks_leaves_out_tasks_without_a_scale_and_agents_without_a_task(
    analysis: Analysis,
) -> None:
    assert analysis.scaled_tasks == ["maze", "length"]
    assert list(analysis.overall) == list(analysis.profiles) == ["s7", "none"]
    # The middle four of 1, 1, 1, 1, 0, 0.2, 0.4 and 0.6.
    assert analysis.overall["s7"].value == pytest.approx((0.4 + 0.6 + 1.0 + 1.0) / 4)
    profile = analysis.profiles["s7"]
    assert np.interp(0.5, profile.thresholds, profile.share) == pytest.approx((1.0 + 0.25) / 2)


def test_a_run_is_better_with_the_mean_probability_of_the_tasks_that_both_have(analysis: Analysis) -> None:
    # On the maze always; on the other, one of four is better, two are worse and one is the same.
    assert analysis.improvement["s7", "none"].value == pytest.approx((1.0 + 1.5 / 4) / 2)
    behind, ahead = analysis.improvement["none", "s7"], analysis.improvement["s7", "none"]
    assert behind == pytest.approx((1 - ahead.value, 1 - ahead.high, 1 - ahead.low))
    assert analysis.improvement["s7", "stack"].value == 1.0


def test_agents_share_the_tasks_that_all_their_runs_had_under_the_same_conditions(tmp_path: Path) -> None:
    agents = {"s7": "--agent s7", "longer": "--agent s7 --steps 12345", "none": "--agent none"}
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE, "length": MEMORY}, agents=agents, seeds=2)
    for task in ("maze", "length"):
        for agent in agents:
            finish(folder, task, agent, [1.0, 0.5], episodes=20 if (task, agent) == ("length", "none") else 10)
    analysis = Analysis(read_record(folder.path))
    assert analysis.shared_tasks("s7", "none") == analysis.shared_tasks("none", "s7") == ["maze"]
    assert analysis.shared_tasks("s7", "longer") == []
    assert set(analysis.improvement) == {("s7", "none"), ("none", "s7")}
    assert list(analysis.gaps) == [("maze", "s7")]
    (memory,) = analysis.comparisons.memory
    assert (memory.ours, memory.theirs, memory.tasks) == ("s7", "none", ("maze",))
    assert analysis.comparisons.agents == []
    assert not analysis.overall_is_alike
    # A seed of both that was resumed with more steps: nothing of the agents is of one kind any more.
    for agent in ("s7", "none"):
        run = folder.run(cell_of(folder, "maze", agent, 1))
        run.note_resumption(replace(run.settings(), steps=999_999), ["s7rl", "resume"], 300)
    assert Analysis(read_record(folder.path)).shared_tasks("s7", "none") == []


def test_a_rate_of_success_is_that_of_all_seeds_or_none(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, seeds=2)
    finish(folder, "maze", "s7", [1.0, 0.5], success=0.5)
    evaluation = folder.run(cell_of(folder, "maze", "s7", 1)).evaluation
    write_json(evaluation, {**read_json(evaluation), "success_rate": None})
    assert Analysis(read_record(folder.path)).success == {}


def test_agents_are_compared_over_tasks_and_p_values_adjusted_over_all_of_the_report(analysis: Analysis) -> None:
    agents, memory = analysis.comparisons
    assert agents == []  # a single one that is no control
    assert [(its.ours, its.theirs, its.tasks) for its in memory] == [
        ("s7", "none", ("maze",)),
        ("stack", "none", ("maze",)),
        ("s7", "none", ("length",)),
    ]
    # 2 of 70 orders, for the first of three; of one and four seeds 0.5 is in the middle; ranks 1, 2, 5.5 and 8 of four.
    assert [its.least_p_value for its in memory] == pytest.approx([2 / 70, 2 / 5, 2 / 70])
    assert memory[0].p_value == pytest.approx(3 * 2 / 70)
    assert [its.has_enough_seeds for its in memory] == [False, False, False]


def test_memory_is_worth_the_difference_from_the_agent_without(analysis: Analysis) -> None:
    assert analysis.without_memory == "none"
    assert {pair: gap.value for pair, gap in analysis.gaps.items()} == {
        ("maze", "s7"): pytest.approx(1.0 - 0.45),
        ("maze", "stack"): pytest.approx(0.5 - 0.45),
        ("length", "s7"): pytest.approx(0.3 - 0.4),
    }


def test_steps_until_learned_are_told_for_each_seed_where_there_is_a_threshold(analysis: Analysis) -> None:
    assert set(analysis.thresholds) == {"maze", "length"}
    assert analysis.steps_to_threshold["maze", "s7"] == [300.0] * 4
    assert set(analysis.steps_to_threshold) == {pair for pair in analysis.pairs if pair[0] != "car"}


def test_a_median_counts_a_run_that_never_learned_as_longer_than_all_others() -> None:
    assert median_steps([10.0, None, 30.0]) == 30.0
    assert median_steps([10.0, None, None]) == math.inf
