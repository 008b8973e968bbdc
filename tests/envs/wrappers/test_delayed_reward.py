"""Delayed rewards: values by hand, and against a loop over whole episodes.

Mutations tried, each of which fails a test here: a delay of one step more or less; the rest not paid at the end, or at
terminations only; debts carried into the next episode; the last reward paid twice.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from s7rl.envs.wrappers.delayed_reward import DelayedReward


class Paying(gym.Env[Any, Any]):
    """Pays given rewards, one a step, and then ends."""

    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(1)

    def __init__(self, rewards: list[float], terminates: bool = True) -> None:
        self.rewards, self.terminates, self.steps = rewards, terminates, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        over = self.steps == len(self.rewards)
        return 0, self.rewards[self.steps - 1], over and self.terminates, over and not self.terminates, {}


def paid(env: gym.Env[Any, Any]) -> list[float]:
    """What one episode pays."""
    env.reset()
    rewards, over = [], False
    while not over:
        _, reward, terminated, truncated, _ = env.step(0)
        assert type(reward) is float
        rewards.append(reward)
        over = terminated or truncated
    return rewards


@pytest.mark.parametrize("terminates", [True, False])
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (None, [0, 0, 0, 0, 31]),
        (1, [0, 1, 2, 4, 24]),
        (2, [0, 0, 1, 2, 28]),
        (4, [0, 0, 0, 0, 31]),
        (9, [0, 0, 0, 0, 31]),
    ],
)
def test_rewards_come_late_and_the_rest_at_the_end(steps: int | None, expected: list[float], terminates: bool) -> None:
    env = DelayedReward(Paying([1, 2, 4, 8, 16], terminates), steps)
    assert paid(env) == expected
    assert paid(env) == expected, "a new episode owes nothing"


def test_an_episode_that_is_given_up_leaves_no_debt() -> None:
    env = DelayedReward(Paying([1, 2, 4, 8, 16]), 2)
    env.reset()
    for _ in range(4):
        env.step(0)
    assert paid(env) == [0, 0, 1, 2, 28]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), st.none() | st.integers(1, 14))
def test_the_return_is_unchanged_and_each_reward_comes_when_it_is_due(rewards: list[float], steps: int | None) -> None:
    length = len(rewards)
    due = [length - 1 if steps is None else min(t + steps, length - 1) for t in range(length)]
    expected = [sum(reward for reward, at in zip(rewards, due, strict=True) if at == t) for t in range(length)]
    found = paid(DelayedReward(Paying(rewards), steps))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-8)
    np.testing.assert_allclose(sum(found), sum(rewards), rtol=1e-12, atol=1e-8)


@pytest.mark.parametrize("steps", [0, -3])
def test_a_delay_is_at_least_one_step(steps: int) -> None:
    with pytest.raises(ValueError, match=rf"^steps \({steps}\) must be at least 1; pass 1 or more\.$"):
        DelayedReward(Paying([1]), steps)
