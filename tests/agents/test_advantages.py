"""Advantages by hand, by an independent loop, and where their value is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from s7rl.agents.advantages import generalized_advantages


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def flags(*values: bool) -> Tensor:
    return torch.tensor(values)[:, None]


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"), [(False, True, 0.5), (True, False, 0.0), (True, True, 0.0)]
)
def test_a_time_out_bootstraps_and_a_terminal_state_does_not_even_if_time_is_out(
    terminated: bool, truncated: bool, expected: float
) -> None:
    advantage = generalized_advantages(
        column(0.0), column(0.0), column(1.0), flags(terminated), flags(truncated), gamma=0.5, gae_lambda=0.9
    )
    assert advantage.item() == expected


def test_three_steps_by_hand() -> None:
    """The errors are 1 + 0.5 * 4 - 2, 2 + 0.5 * 8 - 4, 3 + 0.5 * 16 - 8 = 1, 2, 3; each carries 0.25 of the next."""
    advantages = generalized_advantages(
        column(1, 2, 3),
        column(2, 4, 8),
        column(4, 8, 16),
        flags(False, False, False),
        flags(False, False, False),
        gamma=0.5,
        gae_lambda=0.5,
    )
    assert advantages.flatten().tolist() == [1 + 0.25 * (2 + 0.25 * 3), 2 + 0.25 * 3, 3]


@pytest.mark.parametrize(("end", "second"), [("terminated", 2 - 4), ("truncated", 2 + 0.5 * 8 - 4)])
def test_nothing_flows_back_over_the_end_of_an_episode(end: str, second: float) -> None:
    ended, never = flags(False, True, False), flags(False, False, False)
    advantages = generalized_advantages(
        column(1, 2, 3),
        column(2, 4, 8),
        column(4, 8, 16),
        ended if end == "terminated" else never,
        ended if end == "truncated" else never,
        gamma=0.5,
        gae_lambda=0.5,
    )
    assert advantages.flatten().tolist() == [1 + 0.25 * second, second, 3]


@given(
    steps=st.integers(1, 30),
    envs=st.integers(1, 5),
    gamma=st.sampled_from([0.0, 0.9, 0.999, 1.0]),
    gae_lambda=st.sampled_from([0.0, 0.5, 1.0]),
    ends=st.sampled_from([0.0, 0.1, 0.6]),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_it_is_the_sum_of_discounted_errors_up_to_the_end_of_the_episode(
    steps: int, envs: int, gamma: float, gae_lambda: float, ends: float, seed: int, dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, steps, envs))
    terminated, truncated = rng.random((2, steps, envs)) < ends
    got = generalized_advantages(
        torch.tensor(rewards, dtype=dtype),
        torch.tensor(values, dtype=dtype),
        torch.tensor(next_values, dtype=dtype),
        torch.tensor(terminated),
        torch.tensor(truncated),
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    assert got.dtype == dtype
    for env in range(envs):
        for t in range(steps):
            total = 0.0
            for k in range(t, steps):
                successor = 0.0 if terminated[k, env] else next_values[k, env]
                total += (gamma * gae_lambda) ** (k - t) * (rewards[k, env] + gamma * successor - values[k, env])
                if terminated[k, env] or truncated[k, env]:
                    break
            assert got[t, env].item() == pytest.approx(total, rel=1e-3, abs=1e-4 if dtype == torch.float32 else 1e-10)


def test_time_outs_leave_the_value_of_an_endless_task_alone() -> None:
    """A reward of 1 for ever is worth 1 / (1 - gamma), at every step, however often the clock cuts it."""
    steps = 50
    value = column(*[1 / (1 - 0.9)] * steps)
    cut = torch.arange(steps)[:, None] % 7 == 0
    never = torch.zeros_like(cut)
    reward = torch.ones_like(value)
    time_outs = generalized_advantages(reward, value, value, never, cut, gamma=0.9, gae_lambda=0.95)
    terminal = generalized_advantages(reward, value, value, cut, never, gamma=0.9, gae_lambda=0.95)
    torch.testing.assert_close(time_outs, torch.zeros_like(value), rtol=0, atol=1e-12)
    torch.testing.assert_close(terminal[cut], torch.full((8,), -9.0, dtype=torch.float64))


def test_from_values_of_zero_monte_carlo_finds_the_value_of_an_endless_task() -> None:
    zeros = torch.zeros(3000, 1, dtype=torch.float64)
    never = torch.zeros(3000, 1, dtype=torch.bool)
    advantages = generalized_advantages(zeros + 1, zeros, zeros, never, never, gamma=0.99, gae_lambda=1.0)
    assert advantages[0].item() == pytest.approx(100.0, rel=1e-9)
