"""The fast categorical distribution against torch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical

from s7rl.agents.categorical import LogitsCategorical


def draw(rows: int, actions: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(rows, actions, generator=torch.Generator().manual_seed(seed))


@given(
    rows=st.integers(1, 6),
    actions=st.integers(1, 7),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
)
def test_log_probabilities_entropies_and_modes_are_torchs(rows: int, actions: int, seed: int, scale: float) -> None:
    logits = draw(rows, actions, seed, scale)
    ours, theirs = LogitsCategorical(actions).proba_distribution(logits), Categorical(logits=logits)
    for action in range(actions):
        chosen = torch.full((rows,), action)
        torch.testing.assert_close(ours.log_prob(chosen), theirs.log_prob(chosen), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.entropy(), theirs.entropy(), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.mode(), theirs.mode)


def test_gradients_are_torchs() -> None:
    ours, theirs = draw(4, 5, 0).requires_grad_(), draw(4, 5, 0).requires_grad_()
    actions = torch.tensor([0, 4, 2, 2])
    distribution = LogitsCategorical(5).proba_distribution(ours)
    (distribution.log_prob(actions).sum() + distribution.entropy().square().sum()).backward()
    reference = Categorical(logits=theirs)
    (reference.log_prob(actions).sum() + reference.entropy().square().sum()).backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_an_action_that_cannot_be_adds_nothing_to_the_entropy_and_is_never_taken() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 0.0]]).expand(500, 3)
    distribution = LogitsCategorical(3).proba_distribution(logits)
    torch.testing.assert_close(distribution.entropy(), torch.full((500,), 2.0).log())
    torch.manual_seed(0)
    assert set(distribution.sample().tolist()) == {0, 2}


def test_samples_come_as_often_as_their_probability_says() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    number = 20_000
    torch.manual_seed(0)
    samples = LogitsCategorical(4).proba_distribution(probabilities.log().expand(number, 4)).sample()
    frequencies = torch.bincount(samples, minlength=4) / number
    spread = (probabilities * (1 - probabilities) / number).sqrt()
    assert ((frequencies - probabilities).abs() < 4 * spread).all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8])
def test_actions_of_any_integer_type_are_understood(dtype: torch.dtype) -> None:
    distribution = LogitsCategorical(3).proba_distribution(draw(2, 3, 1))
    got = distribution.log_prob(torch.tensor([2, 0], dtype=dtype))
    assert torch.equal(got, distribution.log_probabilities[[0, 1], [2, 0]])


def test_the_shortcuts_of_sb3_set_the_logits_first() -> None:
    logits = draw(6, 4, 2)
    distribution = LogitsCategorical(4)
    assert torch.equal(distribution.actions_from_params(logits, deterministic=True), logits.argmax(dim=-1))
    torch.manual_seed(0)
    actions, log_probs = distribution.log_prob_from_params(logits)
    torch.testing.assert_close(log_probs, Categorical(logits=logits).log_prob(actions))
