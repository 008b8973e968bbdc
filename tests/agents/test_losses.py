"""The loss of a minibatch, by tensor operations and by the kernel, against one written out over its steps in float64.

Mutations that were seen to fail these tests: advantages normalised row by row; the standard deviation of a population;
the clipped surrogate by its maximum; the value's error halved; the entropy with the other sign; approx_kl without 1.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from s7rl.agents.losses import ppo_loss
from s7rl.agents.rollout_buffer import Sequences

SETTINGS = {"clip_range": 0.2, "clip_range_vf": None, "normalize_advantage": True, "ent_coef": 0.03, "vf_coef": 0.7}


def draw(seed: int, steps: int, rows: int) -> tuple[Sequences, Tensor, Tensor, Tensor]:
    """A minibatch, and values, log-probabilities and entropies of now."""
    generator = torch.Generator().manual_seed(seed)
    one, two, three, four, five, six, seven = (
        torch.randn(steps, rows, generator=generator, dtype=torch.float64) for _ in range(7)
    )
    state = torch.zeros(rows, 1, dtype=torch.float64)
    starts = torch.zeros(steps, rows, dtype=torch.bool)
    # Rows of different levels: normalising each alone is not normalising all.
    advantages = one + torch.arange(rows)
    batch = Sequences(one, one, None, 0.3 * two, three, advantages, four, starts, state, state)
    return batch, five, 0.3 * six, seven.abs()


def by_hand(
    batch: Sequences, values: Tensor, log_probs: Tensor, entropies: Tensor | None, settings: dict[str, Any]
) -> dict[str, float]:
    """Step by step."""
    advantages = batch.advantages.flatten().tolist()
    number = len(advantages)
    if settings["normalize_advantage"]:
        mean = sum(advantages) / number
        std = math.sqrt(sum((a - mean) ** 2 for a in advantages) / (number - 1))
        advantages = [(a - mean) / (std + 1e-8) for a in advantages]
    policy = value = kl = clipped = 0.0
    columns = (log_probs, batch.log_probs, values, batch.values, batch.returns)
    for a, new, old, v, v_old, target in zip(advantages, *(x.flatten().tolist() for x in columns), strict=True):
        ratio = math.exp(new - old)
        policy -= min(a * ratio, a * min(max(ratio, 1 - settings["clip_range"]), 1 + settings["clip_range"])) / number
        if (limit := settings["clip_range_vf"]) is not None:
            v = v_old + min(max(v - v_old, -limit), limit)
        value += (v - target) ** 2 / number
        kl += (ratio - 1 - (new - old)) / number
        clipped += (abs(ratio - 1) > settings["clip_range"]) / number
    entropy = log_probs.mean().item() if entropies is None else -entropies.mean().item()
    return {
        "policy_gradient_loss": policy,
        "value_loss": value,
        "entropy_loss": entropy,
        "approx_kl": kl,
        "clip_fraction": clipped,
        "loss": policy + settings["ent_coef"] * entropy + settings["vf_coef"] * value,
    }


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 5),
    rows=st.integers(2, 4),
    changed=st.sampled_from([{}, {"normalize_advantage": False}, {"clip_range_vf": 0.3}, {"clip_range": 0.05}]),
    closed_form=st.booleans(),
    backend=st.sampled_from(["numba", "torch"]),
)
def test_the_loss_and_its_parts_are_those_written_out_over_the_steps(
    seed: int, steps: int, rows: int, changed: dict[str, Any], closed_form: bool, backend: str
) -> None:
    settings: dict[str, Any] = {**SETTINGS, **changed}
    batch, values, log_probs, entropies = draw(seed, steps, rows)
    given_entropies = entropies if closed_form else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S7RL_SCAN", backend)
        loss, numbers = ppo_loss(batch, values, log_probs, given_entropies, **settings)
    expected = by_hand(batch, values, log_probs, given_entropies, settings)
    assert {name: number.item() for name, number in numbers.items()} == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-6, abs=1e-7)
