"""Statistics over seeds and tasks, against values by hand and a bootstrap written as loops.

Mutations that were seen to fail these tests: the mean of all scores for that of the middle half; a resample over all
tasks at once; both ends of an interval the lower one; an interval for one seed; ties counted as losses; thresholds that
count when they are reached; tasks weighted by their seeds; scores that do not begin at random actions; ranks that
halves are cut off from; the labels of the last task alone; one side of the test alone, or without what was observed;
the least p value of one side; Bonferroni's adjustment for Holm's, or Holm's with a smaller p value after a larger one.
"""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from s7rl.experiments.statistics import (
    adjusted_p_values,
    interquartile_mean,
    interquartile_mean_difference,
    least_p_value,
    normalized,
    performance_profile,
    probability_of_improvement,
    rank_test,
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


def by_enumeration(ours: list[NDArray[np.float64]], theirs: list[NDArray[np.float64]]) -> float:
    """What `rank_test` computes, by trying every labelling of the runs of every task and counting who beats whom."""

    def lead(labelling: tuple[tuple[int, ...], ...]) -> int:
        """Pairs of runs on a task in which ours is better, less those in which theirs is."""
        return sum(
            int(runs[one] > runs[other]) - int(runs[one] < runs[other])
            for runs, chosen in zip(pooled, labelling, strict=True)
            for one in chosen
            for other in set(range(len(runs))) - set(chosen)
        )

    pooled = [[*x, *y] for x, y in zip(ours, theirs, strict=True)]
    observed = lead(tuple(tuple(range(len(task))) for task in ours))
    ways = [combinations(range(len(runs)), len(task)) for runs, task in zip(pooled, ours, strict=True)]
    leads = np.array([lead(labelling) for labelling in product(*ways)])
    return float(min(1.0, 2 * np.mean(leads <= observed), 2 * np.mean(leads >= observed)))


FEW_VALUES = st.lists(st.integers(0, 4), min_size=1, max_size=3)
TASKS = st.lists(st.tuples(FEW_VALUES, FEW_VALUES), min_size=1, max_size=2)


@settings(max_examples=40)
@given(TASKS)
def test_the_rank_test_counts_labellings_within_each_task(tasks: list[tuple[list[int], list[int]]]) -> None:
    ours, theirs = ([np.array(task, dtype=float) for task in side] for side in zip(*tasks, strict=True))
    p = rank_test(ours, theirs)
    assert p == pytest.approx(by_enumeration(ours, theirs))
    assert p == pytest.approx(rank_test(theirs, ours))
    assert least_p_value(ours, theirs) <= p + 1e-12


def test_the_rank_test_agrees_with_scipy_where_there_is_one_task() -> None:
    generator = np.random.default_rng(3)
    ours, theirs = generator.normal(size=9), generator.normal(0.8, 1.0, size=12)
    assert rank_test([ours], [theirs]) == pytest.approx(stats.mannwhitneyu(ours, theirs, method="exact").pvalue)
    tied, other = scores([0.0, 1.0, 1.0, 3.0, 3.0], [1.0, 3.0, 3.0, 4.0])
    by_scipy = stats.mannwhitneyu(tied, other, method=stats.PermutationMethod(n_resamples=np.inf)).pvalue
    assert rank_test([tied], [other]) == pytest.approx(by_scipy)


def test_the_least_p_value_is_that_of_all_ours_above_all_theirs() -> None:
    ours, theirs = scores([5.0, 6.0, 7.0], [9.0, 8.0]), scores([1.0, 2.0, 3.0, 4.0], [0.0])
    # 35 ways to choose three of seven, and three to choose two of three; the other side counts as much.
    assert least_p_value(ours, theirs) == pytest.approx(2 / (35 * 3))
    assert rank_test(ours, theirs) == pytest.approx(2 / (35 * 3))
    assert least_p_value(scores([1.0]), scores([0.0])) == rank_test(scores([1.0]), scores([0.0])) == 1
    with pytest.raises(ValueError, match="ours has scores on 2 tasks and theirs on 1"):
        rank_test(ours, theirs[:1])
    with pytest.raises(ValueError, match="scores has no task"):
        rank_test([], [])


def test_of_one_distribution_no_level_is_exceeded_more_often_than_it_says() -> None:
    runs = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 5.0])
    p_values = []
    for chosen in combinations(range(8), 3):
        mask = np.isin(np.arange(8), chosen)
        p_values.append(rank_test([runs[mask]], [runs[~mask]]))
    for level in (0.05, *p_values):
        assert np.mean(np.array(p_values) <= level) <= level + 1e-12


def test_holm_multiplies_the_smallest_p_value_by_how_many_there_are_and_the_next_by_one_less() -> None:
    assert adjusted_p_values([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjusted_p_values([0.6, 0.9]) == [1.0, 1.0]
    assert adjusted_p_values([]) == []


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
