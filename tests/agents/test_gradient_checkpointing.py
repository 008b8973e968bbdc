"""Learning with states kept every few steps is learning with all of them kept, in less memory.

Mutations seen to fail: the state not carried from piece to piece; a piece's episode starts those of the first; the
critic given the actor's features; pieces put together the other way round; no checkpoint, only pieces;
preserve_rng_state=False.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from s7rl.agents import RecurrentPPO, gradient_checkpointing
from s7rl.agents.rollout_buffer import Sequences
from tests.agents.clockwork import TERMINAL, TIME_OUT, Script, agent, clockworks
from tests.agents.cores import every_core

SCRIPT: Script = ((11, TIME_OUT), (9, TERMINAL))
STEPS = 24


def trained(**policy_kwargs: Any) -> RecurrentPPO:
    torch.manual_seed(0)
    model = agent(clockworks(3, script=SCRIPT), n_steps=STEPS, n_epochs=1, policy_kwargs=policy_kwargs)
    return model.learn(3 * STEPS)


def gradients(model: RecurrentPPO, batch: Sequences) -> list[Tensor | None]:
    values, log_probs, entropies, state = model.policy.evaluate_actions(
        batch.observations, batch.actions, batch.initial_state, batch.episode_starts
    )
    assert entropies is not None
    loss = (
        (values * batch.returns).sum() + (log_probs * batch.advantages).sum() + entropies.sum() + state.square().sum()
    )
    return [values, log_probs, state, *torch.autograd.grad(loss, list(model.policy.parameters()), allow_unused=True)]


@every_core
@pytest.mark.parametrize(("steps", "critic_core"), [(1, "shared"), (5, "separate"), (7, "none"), (99, "shared")])
def test_values_and_gradients_are_the_same(core: str, steps: int, critic_core: str) -> None:
    model = trained(core=core, critic_core=critic_core)
    batch = model.rollout_buffer.sequences()
    expected = gradients(model, batch)
    model.policy.checkpoint_steps = steps
    for found, value in zip(gradients(model, batch), expected, strict=True):
        if value is None:
            assert found is None
        else:
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)


class Dropout(FlattenExtractor):
    def forward(self, observations: Tensor) -> Tensor:
        return nn.functional.dropout(observations, 0.5, self.training)


def test_what_a_features_extractor_draws_is_drawn_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(checkpoint_steps=5, features_extractor_class=Dropout)
    batch = model.rollout_buffer.sequences()

    def found() -> list[Tensor | None]:
        torch.manual_seed(1)
        return gradients(model, batch)

    computed_again = found()
    monkeypatch.setattr(gradient_checkpointing, "checkpoint", lambda recur, *inputs, **options: recur(*inputs))
    for found_one, expected in zip(computed_again, found(), strict=True):
        assert expected is not None
        torch.testing.assert_close(found_one, expected)


def test_what_is_kept_for_the_gradient_is_less() -> None:
    model = trained(core="s7")
    batch = model.rollout_buffer.sequences()
    kept = []
    for steps in (None, 4):
        model.policy.checkpoint_steps = steps
        sizes: list[int] = []

        def count(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(x.numel())
            return x

        with saved_tensors_hooks(count, lambda x: x):
            model.policy.evaluate_actions(batch.observations, batch.actions, batch.initial_state, batch.episode_starts)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 4


def test_an_agent_that_was_saved_goes_on_with_it(tmp_path: Any) -> None:
    model = trained(core="s7", checkpoint_steps=6)
    model.save(tmp_path / "agent")
    assert RecurrentPPO.load(tmp_path / "agent").policy.checkpoint_steps == 6
