"""Time limits that are told as terminations.

Mutations tried, each of which fails a test here: one step earlier or later; the count not set back by ``reset``; every
termination turned; ``truncated`` added and ``terminated`` kept.
"""

from __future__ import annotations

import pytest

from s7rl.envs.wrappers.timeout import TimeoutAsTruncation
from tests.envs.wrappers.test_delayed_reward import Paying


@pytest.mark.parametrize(("limit", "end"), [(4, (True, False)), (3, (False, True)), (2, (False, True))])
def test_a_termination_at_the_limit_is_a_truncation_and_one_before_it_is_not(
    limit: int, end: tuple[bool, bool]
) -> None:
    env = TimeoutAsTruncation(Paying([1.0, 2.0, 3.0]), limit)
    for _ in range(2):
        env.reset()
        ends = [env.step(0)[1:4] for _ in range(3)]
        assert ends == [(1.0, False, False), (2.0, False, False), (3.0, *end)]


def test_a_truncation_stays_one() -> None:
    env = TimeoutAsTruncation(Paying([1.0, 2.0], terminates=False), 2)
    env.reset()
    assert [env.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]


def test_a_limit_is_at_least_one_step() -> None:
    with pytest.raises(ValueError, match=r"^max_episode_steps \(0\) must be at least 1; pass 1 or more\.$"):
        TimeoutAsTruncation(Paying([1.0]), 0)
