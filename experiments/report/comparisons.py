"""Which differences between two agents are claimed, and why others are not.

A report makes many comparisons, and says of a few that they are differences. One is claimed where the interval of its
estimate leaves out "no difference" and the p value of the exact rank test, adjusted for all comparisons of the report,
is at most ``LEVEL``: where agents are alike, at most one report in twenty claims anything.

How often, in percent of 1,000 grids of one task, a difference is claimed where all agents have one distribution of
scores: of two agents by the interval alone, by interval and test, and any in a report of four comparisons.

    seeds of each                      3                  5                 10
    scores from a normal     23.5   0     0       8.6  3.3  2.4      6.8  5.5  4.3
    scores that are 0 or 1    2.7   0     0       6.8  2.0  0.9      4.4  1.5  1.4

    python -m pytest -m slow -s tests/experiments/report/test_comparisons.py
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from s7rl.experiments.statistics import Estimate, adjusted_p_values

LEVEL = 0.05
"""Chance that a report of agents that are alike claims a difference, at most."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Of two agents, on one task or several."""

    ours: str
    """An agent."""
    theirs: str
    """Another one."""
    tasks: tuple[str, ...]
    """Those that it is of."""
    estimate: Estimate
    """Of how ours do against theirs."""
    none: float
    """What the estimate is where neither is ahead."""
    p_value: float
    """Of the rank test, adjusted for all comparisons once they are ``adjusted``."""
    least_p_value: float
    """What it could have been of so many seeds, not adjusted."""
    has_enough_seeds: bool = True
    """Whether there are scores of so many seeds that would be claimed to differ, beside the other comparisons."""

    @property
    def is_more(self) -> bool:
        """Whether it is claimed that ours are ahead."""
        return self.p_value <= LEVEL and self.estimate.low > self.none

    @property
    def is_less(self) -> bool:
        """Whether it is claimed that theirs are ahead."""
        return self.p_value <= LEVEL and self.estimate.high < self.none


def adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one report, each with the others taken into account."""
    raw = [its.p_value for its in comparisons]
    p_values = adjusted_p_values(raw)
    at_best = [
        adjusted_p_values([*raw[:place], its.least_p_value, *raw[place + 1 :]])[place]
        for place, its in enumerate(comparisons)
    ]
    return [
        replace(its, p_value=p_value, has_enough_seeds=best <= LEVEL)
        for its, p_value, best in zip(comparisons, p_values, at_best, strict=True)
    ]


def seeds_for(comparisons: int) -> int:
    """How many seeds each agent needs on one task for a difference to be claimed among so many comparisons."""
    return next(n for n in itertools.count(2) if comparisons * 2 / math.comb(2 * n, n) <= LEVEL)
