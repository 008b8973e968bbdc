"""Which differences are claimed, and how often that is wrong where there are none.

Mutations that were seen to fail these tests: claims by the interval alone, or by the test alone; claims by p values
that are not adjusted; enough seeds where these scores are claimed, or where they would be if nothing else was compared;
seeds for one comparison, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from s7rl.experiments import statistics
from s7rl.experiments.report.comparisons import Comparison, adjusted, seeds_for
from s7rl.experiments.statistics import Estimate, least_p_value, probability_of_improvement, rank_test

Draw = Callable[[int], NDArray[np.float64]]


def ladder(seeds: int, lowest: int = 0) -> NDArray[np.float64]:
    return np.arange(lowest, lowest + seeds, dtype=np.float64)


def comparison(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Comparison:
    return Comparison(
        ours="ours",
        theirs="theirs",
        tasks=("maze",),
        estimate=probability_of_improvement([ours], [theirs]),
        none=0.5,
        p_value=rank_test([ours], [theirs]),
        least_p_value=least_p_value([ours], [theirs]),
    )


def draws(generator: np.random.Generator) -> dict[str, Draw]:
    """Scores of seeds: spread around a mean, or of agents that learn the task or do not."""
    return {"normal": lambda n: generator.normal(size=n), "learned or not": lambda n: generator.integers(0, 2, n) * 1.0}


def false_claims(draw: Draw, seeds: int, repetitions: int) -> tuple[float, float, float]:
    """Shares of claims where there is no difference: by the interval alone, by both, and of reports with any claim.

    A report compares two agents with each other, and three with the one without memory.
    """
    by_interval = by_both = reports = 0
    for _ in range(repetitions):
        first, second, third, base = (draw(seeds) for _ in range(4))
        pairs = [(first, second), (first, base), (second, base), (third, base)]
        single, *others = (comparison(*pair) for pair in pairs)
        report = adjusted([single, *others])
        by_interval += single.estimate.low > 0.5 or single.estimate.high < 0.5
        by_both += single.is_more or single.is_less
        reports += any(its.is_more or its.is_less for its in report)
    return by_interval / repetitions, by_both / repetitions, reports / repetitions


def test_a_claim_needs_the_interval_and_the_test() -> None:
    ours, theirs = ladder(5, 9), ladder(5)
    its = comparison(ours, theirs)
    assert (its.is_more, its.is_less) == (True, False)
    turned = comparison(theirs, ours)
    assert (turned.is_more, turned.is_less) == (False, True)
    at_the_level = replace(its, p_value=0.05)
    assert at_the_level.is_more
    by_the_interval_alone = replace(its, p_value=0.051)
    assert not by_the_interval_alone.is_more
    by_the_test_alone = replace(its, estimate=Estimate(0.9, 0.5, 1.0))
    assert not by_the_test_alone.is_more
    without_interval = replace(its, estimate=Estimate(0.9, float("nan"), float("nan")))
    assert not without_interval.is_more
    assert not without_interval.is_less


def test_three_seeds_of_each_are_too_few_and_five_are_enough_for_six_comparisons() -> None:
    three = comparison(ladder(3, 9), ladder(3))
    assert not adjusted([three])[0].has_enough_seeds  # 2 of 20 orders are as unequal: 0.1
    five = comparison(ladder(5, 9), ladder(5))  # 2 of 252
    assert all(its.has_enough_seeds and its.is_more for its in adjusted([five] * 6))
    assert not any(its.has_enough_seeds or its.is_more for its in adjusted([five] * 7))
    assert [seeds_for(comparisons) for comparisons in (1, 2, 6, 7, 23, 24)] == [4, 5, 5, 6, 6, 7]


def test_seeds_are_enough_where_other_scores_of_theirs_would_have_been_claimed() -> None:
    alike = comparison(ladder(5), ladder(5))
    assert alike.p_value == pytest.approx(1)
    (its,) = adjusted([alike])
    assert its.has_enough_seeds
    assert not its.is_more
    # Four seeds of each, 2 of 70 orders: not among two comparisons, unless the other one is claimed anyway.
    four = comparison(ladder(4), ladder(4))
    assert [its.has_enough_seeds for its in adjusted([four, alike])] == [False, True]
    differs = replace(alike, p_value=0.01)
    assert [its.has_enough_seeds for its in adjusted([four, differs])] == [True, True]


def test_of_agents_that_are_alike_few_are_claimed_to_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 100)
    draw = draws(np.random.default_rng(0))["normal"]
    assert false_claims(draw, 3, 20)[1:] == (0, 0)
    by_interval, by_both, reports = false_claims(draw, 5, 60)
    assert max(by_both, reports) <= 0.05 < by_interval


@pytest.mark.slow
def test_the_share_of_false_claims_is_that_of_the_docstring() -> None:
    repetitions = 1_000
    chance = 3 * np.sqrt(0.05 * 0.95 / repetitions)
    print("\n                       interval alone  with the test  a report of four")
    for name in ("normal", "learned or not"):
        for seeds in (3, 5, 10):
            shares = false_claims(draws(np.random.default_rng(seeds))[name], seeds, repetitions)
            print(f"{name:<15} {seeds:>2} seeds" + "".join(f"{share:>15.1%}" for share in shares))
            assert max(shares[1:]) <= 0.05 + chance
