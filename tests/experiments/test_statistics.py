"""Statistics over seeds and tasks, against values by hand and a bootstrap written as loops.

Mutations that were seen to fail these tests: the mean of all scores for that of the middle half; a resample over all
tasks at once; both ends of an interval the lower one; an interval for one seed; ties counted as losses; thresholds that
count when they are reached; tasks weighted by their seeds; scores that do not begin at random actions.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s7rl.experiments.statistics import (
    interquartile_mean,
    interquartile_mean_difference,
    normalized,
    performance_profile,
    probability_of_improvement,
)


def scores(*tasks: list[float]) -> list[NDArray[np.float64]]:
    return [np.array(task) for task in tasks]


def test_scores_are_0_for_random_actions_and_1_for_the_best_agent() -> None:
    np.testing.assert_allclose(normalized(np.array([-2.0, 1.0, 4.0]), random=-2.0, optimal=4.0), [0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match=r"optimal \(1.0\) must be above random \(1.0\)"):
        normalized(np.array([1.0]), random=1.0, optimal=1.0)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    assert interquartile_mean(scores([0.0, 1.0, 2.0, 100.0])).value == 1.5
    # Eight scores of two tasks together: 3, 4, 5 and 6 are in the middle.
    assert interquartile_mean(scores([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 80.0])).value == 4.5


def test_a_difference_is_that_of_the_interquartile_means_and_both_sides_are_resampled() -> None:
    ours, theirs = scores([0.0, 1.0, 2.0, 100.0]), scores([0.25] * 4)
    alone = interquartile_mean(ours)
    assert interquartile_mean_difference(ours, theirs) == pytest.approx([end - 0.25 for end in alone])
    turned = interquartile_mean_difference(theirs, ours)
    assert turned.value == -1.25
    assert turned.low < -1.25 < turned.high
    assert interquartile_mean_difference(scores([3.0] * 3, [5.0] * 3), scores([1.0] * 2, [1.0] * 2)) == (3.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="scores has no task"):
        interquartile_mean_difference(scores([1.0]), [])


def test_a_resample_keeps_the_seeds_of_a_task_together() -> None:
    # Within a task all seeds are the same: no resample differs, however far the tasks lie apart.
    estimate = interquartile_mean(scores([0.0] * 4, [1.0] * 4))
    assert estimate == (0.5, 0.5, 0.5)


def test_the_interval_is_that_of_a_bootstrap_written_as_loops() -> None:
    generator = np.random.default_rng(7)
    tasks = [generator.normal(size=10), generator.normal(2.0, 3.0, size=6)]
    resampled = []
    for _ in range(20_000):
        drawn = np.sort(np.concatenate([generator.choice(task, len(task)) for task in tasks]))
        resampled.append(drawn[4:-4].mean())
    estimate = interquartile_mean(tasks)
    spread = np.std(resampled)
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert abs(estimate.low - low) < 0.15 * spread
    assert abs(estimate.high - high) < 0.15 * spread


def test_the_same_scores_have_the_same_interval() -> None:
    tasks = scores([0.1, 0.5, 0.9], [0.3, 0.2, 0.8])
    assert interquartile_mean(tasks) == interquartile_mean(tasks)


def test_one_seed_has_no_interval() -> None:
    estimate = interquartile_mean(scores([0.25], [0.75]))
    assert estimate.value == 0.5
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_the_probability_of_improvement_counts_pairs_of_seeds_and_half_of_ties() -> None:
    # First task: 1 beats 0 and ties with 1, 2 beats both: 3.5 of 4.  Second: never.
    ours, theirs = scores([1.0, 2.0], [0.0, 0.0]), scores([0.0, 1.0], [5.0, 6.0, 7.0])
    assert probability_of_improvement(ours, theirs).value == pytest.approx((3.5 / 4 + 0) / 2)
    with pytest.raises(ValueError, match="ours has scores on 2 tasks and theirs on 1"):
        probability_of_improvement(ours, theirs[:1])


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=4), min_size=1, max_size=3), st.integers(0, 2**31))
def test_what_one_gains_the_other_loses(tasks: list[list[int]], seed: int) -> None:
    ours = [np.array(task, dtype=float) for task in tasks]
    theirs = [np.random.default_rng(seed).permutation(task) + 0.5 for task in ours]
    there, back = probability_of_improvement(ours, theirs), probability_of_improvement(theirs, ours)
    assert there.value + back.value == pytest.approx(1)
    assert 0 <= there.low <= there.high <= 1


def test_a_profile_is_the_share_of_runs_above_each_threshold_with_equal_weight_for_each_task() -> None:
    profile = performance_profile(scores([0.0, 1.0], [0.5, 0.5, 0.5, 1.0]), np.array([-1.0, 0.0, 0.5, 1.0]))
    np.testing.assert_allclose(profile.share, [1.0, (0.5 + 1.0) / 2, (0.5 + 0.25) / 2, 0.0])
    assert (profile.low <= profile.share).all()
    assert (profile.share <= profile.high).all()
    np.testing.assert_allclose([profile.low[0], profile.high[0], profile.low[-1], profile.high[-1]], [1, 1, 0, 0])


@pytest.mark.parametrize("tasks", [[], [np.array([])]])
def test_no_scores_are_refused(tasks: list[NDArray[np.float64]]) -> None:
    with pytest.raises(ValueError, match="scores has no task, or a task without a score"):
        interquartile_mean(tasks)
