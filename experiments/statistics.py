"""What the scores of several seeds on several tasks say, with intervals; after Agarwal et al. 2021 (arXiv 2108.13264).

Scores come as one array per task, a number per seed; tasks may differ in their number of seeds.  All intervals are
percentile bootstraps, stratified by task: a resample draws, from every task, as many of its seeds as it has.  A few
seeds cannot show more than there is in them: with three, an interval says how far they lie apart, not how far the next
one may lie, and with one there is no interval.

A bootstrap of few seeds is too narrow to decide by: whether two agents differ at all is asked of a permutation test,
which is exact for any number of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats

Scores: TypeAlias = Sequence[Float[np.ndarray, " _"]]
"""One array for each task."""
RESAMPLES = 2_000
CONFIDENCE = 0.95
SEED = 0
LARGEST = 20_000_000
"""Scores resampled at once: a limit on the memory, not on what comes out."""


class Estimate(NamedTuple):
    """A statistic of the scores, and the interval of its bootstrap."""

    value: float
    """Of the scores themselves."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None where there is no interval."""
        return None if np.isnan(self.low) else (self.low, self.high)


def normalized(returns: Float[np.ndarray, " seeds"], *, random: float, optimal: float) -> Float[np.ndarray, " seeds"]:
    """Returns on a scale on which random actions get 0 and the best agent gets 1.

    Raises:
        ValueError: if the best agent gets no more than random actions.
    """
    if not optimal > random:
        raise ValueError(f"optimal ({optimal}) must be above random ({random}), or there is no scale between them.")
    return (np.asarray(returns, dtype=np.float64) - random) / (optimal - random)


def mean(scores: Scores) -> Estimate:
    """Mean over the tasks of their means; each task counts the same.

    Raises:
        ValueError: if there are no tasks, or no scores for one.
    """
    return _estimate(_mean_over_tasks, scores)


def interquartile_mean(scores: Scores) -> Estimate:
    """Mean of the middle half of all scores: what a mean says, hardly moved by a seed that failed.

    Raises:
        ValueError: if there are no tasks, or no scores for one.
    """
    return _estimate(_interquartile_mean, scores)


def interquartile_mean_difference(ours: Scores, theirs: Scores) -> Estimate:
    """How much more ours have than theirs, by their interquartile means; the seeds of both are drawn anew.

    Raises:
        ValueError: if there are no tasks, or no scores for one.
    """
    _check(ours)
    _check(theirs)

    def difference(*tasks: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        first, second = tasks[: len(ours)], tasks[len(ours) :]
        return np.asarray(_interquartile_mean(*first, axis=axis) - _interquartile_mean(*second, axis=axis))

    return _estimate(difference, [*ours, *theirs])


def probability_of_improvement(ours: Scores, theirs: Scores) -> Estimate:
    """Probability that a run of ours is better than a run of theirs on the same task, ties counting half.

    The mean over the tasks of the Mann-Whitney statistic; 0.5 is no difference.

    Raises:
        ValueError: if the tasks differ in number, or there are no scores for one.
    """
    _check_tasks(ours, theirs)
    return _estimate(_improvement, [*ours, *theirs])


def rank_test(ours: Scores, theirs: Scores) -> float:
    """How probable ranks as unequal as these are if it makes no difference which of two agents a run is of.

    The exact permutation test of Wilcoxon's rank sum, with the labels permuted within each task (Lehmann 1975,
    *Nonparametrics*, 3.3), ties at their mean rank, and both sides counted as twice the smaller one.  The distribution
    is counted by the shift algorithm of Streitberg and Roehmel (1986), which takes ties, other than
    ``scipy.stats.mannwhitneyu(method="exact")``.

    Returns:
        The p value, in (0, 1]. Of one distribution, no more than a share ``a`` of pairs have one of ``a`` or below.

    Raises:
        ValueError: if the tasks differ in number, or there are no scores for one.
    """
    _check_tasks(ours, theirs)
    _check(ours)
    _check(theirs)
    sum_of_ours, chances = 0, np.ones(1)
    for x, y in zip(ours, theirs, strict=True):
        ranks = np.rint(2 * stats.rankdata(np.concatenate([x, y]))).astype(int)  # twice: a mean rank may be a half
        # How many ways there are to choose k of the ranks so that they sum to s.
        ways = np.zeros((len(x) + 1, ranks.sum() + 1))
        ways[0, 0] = 1
        for rank in ranks:
            ways[1:, rank:] += ways[:-1, :-rank]
        chances = np.convolve(chances, ways[-1] / ways[-1].sum())
        sum_of_ours += ranks[: len(x)].sum()
    smaller = min(chances[: sum_of_ours + 1].sum(), chances[sum_of_ours:].sum())
    return min(1.0, 2 * float(smaller))


def least_p_value(ours: Scores, theirs: Scores) -> float:
    """The least that ``rank_test`` can say of so many seeds: where every one of ours is better than all of theirs."""
    return min(1.0, 2 / math.prod(math.comb(len(x) + len(y), len(x)) for x, y in zip(ours, theirs, strict=True)))


def adjusted_p_values(p_values: Sequence[float]) -> list[float]:
    """P values of several tests as Holm (1979) adjusts them.

    Taking those of ``a`` or below for real, the chance of a single false one among all is at most ``a``.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)))
    return [*map(float, adjusted)]


class Profile(NamedTuple):
    """Which share of the runs scores more than each threshold, and the band around it."""

    thresholds: Float[np.ndarray, " points"]
    """Scores."""
    share: Float[np.ndarray, " points"]
    """Of all runs; each task counts the same."""
    low: Float[np.ndarray, " points"]
    """Lower edge of the band, for each threshold alone."""
    high: Float[np.ndarray, " points"]
    """Upper edge."""


def performance_profile(scores: Scores, thresholds: Float[np.ndarray, " points"]) -> Profile:
    """The share of runs that score more than each threshold.

    Raises:
        ValueError: if there are no tasks, or no scores for one.
    """
    _check(scores)
    # One row for each threshold; the bootstrap draws the same seeds for all rows.
    above = [(np.asarray(task) > thresholds[:, None]).astype(np.float64) for task in scores]
    return Profile(thresholds, *_bootstrapped(_mean_over_tasks, above))


def _estimate(statistic: Callable[..., NDArray[np.float64]], scores: Scores) -> Estimate:
    _check(scores)
    return Estimate(*map(float, _bootstrapped(statistic, [np.asarray(task, dtype=np.float64) for task in scores])))


def _bootstrapped(
    statistic: Callable[..., NDArray[np.float64]], strata: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A statistic of the strata along an axis, and both ends of its interval; nan where a stratum has one seed."""
    value = np.asarray(statistic(*strata, axis=-1))
    if any(stratum.shape[-1] == 1 for stratum in strata):
        return value, np.full_like(value, np.nan), np.full_like(value, np.nan)
    interval = stats.bootstrap(
        strata,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        batch=max(1, LARGEST // sum(stratum.size for stratum in strata)),
        axis=-1,
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return value, np.asarray(interval.low), np.asarray(interval.high)


def _interquartile_mean(*tasks: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(stats.trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis))


def _improvement(*tasks: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Of the first half of the tasks over the second half."""
    assert axis == -1
    ours, theirs = tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]
    # The sign of each difference, from -1 to 1, becomes 0, a half or 1.
    shares = [
        (np.sign(x[..., :, None] - y[..., None, :]).mean(axis=(-2, -1)) + 1) / 2
        for x, y in zip(ours, theirs, strict=True)
    ]
    return np.asarray(np.mean(shares, axis=0))


def _mean_over_tasks(*tasks: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(np.mean([task.mean(axis=axis) for task in tasks], axis=0))


def _check_tasks(ours: Scores, theirs: Scores) -> None:
    if len(ours) != len(theirs):
        raise ValueError(
            f"ours has scores on {len(ours)} tasks and theirs on {len(theirs)}: pass those of the same tasks."
        )


def _check(scores: Scores) -> None:
    if not scores or any(len(task) == 0 for task in scores):
        raise ValueError("scores has no task, or a task without a score: pass at least one run for each.")
