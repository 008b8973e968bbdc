"""Cores of actor and critic, sequences shorter than a row, refreshed states and burn-in, against steps by hand.

Mutations that were seen to fail these tests: the critic reads the actor's latent where it has its own; the state of the
critic's core cut off or put first; a shared core detached for the critic; pieces of a row in another order; no refresh
at the second pass; a refresh with "never"; the warm-up started one step late, from zeros, or without episode starts;
the warmed state not used while acting; staleness as a mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from s7rl.agents import RecurrentPPO
from s7rl.agents.rollout_buffer import minibatches
from tests.agents.clockwork import TERMINAL, TIME_OUT, Clockwork, Script, agent, clockworks
from tests.agents.cores import every_core, every_core_with_memory

LONG = ((11, TIME_OUT), (9, TERMINAL))
ENDLESS = ((99, TERMINAL),)


def states_by_hand(
    model: RecurrentPPO, row: int, steps: int, state: Tensor | None = None, first: int = 0, script: Script = LONG
) -> Tensor:
    """[steps + 1, S]: the states before each step from ``first`` on and after the last, with the weights of now."""
    env, policy = Clockwork(row, script), model.policy
    observations, starts = [env.reset()[0]], [True]
    for _ in range(first + steps - 1):
        obs, _, terminated, truncated, _ = env.step(0)
        ended = terminated or truncated
        observations.append(env.reset()[0] if ended else obs)
        starts.append(ended)
    states = [policy.initial_state(1) if state is None else state[None]]
    with torch.no_grad():
        for obs, start in zip(observations[first:], starts[first:], strict=True):
            states.append(policy.forward(torch.as_tensor(obs)[None], states[-1], torch.tensor([start]))[3])
    return torch.cat(states)


def ratios(model: RecurrentPPO) -> Tensor:
    """Of all steps, from the sequences as the learner gets them."""
    found = []
    for batch in minibatches(model.rollout_buffer.sequences(), 2):
        _, log_probs, _, _ = model.policy.evaluate_actions(
            batch.observations, batch.actions, batch.initial_state, batch.episode_starts
        )
        found.append((log_probs - batch.log_probs).exp().flatten())
    return torch.cat(found)


def shake(model: RecurrentPPO, seed: int = 5) -> None:
    """Move the weights, as an update would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@every_core
@pytest.mark.parametrize("critic_core", ["shared", "separate", "none"])
def test_before_the_first_gradient_step_the_ratio_is_1_however_rows_are_cut(core: str, critic_core: str) -> None:
    model = agent(
        clockworks(4, script=LONG),
        core=core,
        n_steps=12,
        batch_size=24,
        sequence_length=6,
        n_epochs=2,
        policy_kwargs={"critic_core": critic_core},
    )
    model.learn(4 * 12 * 2)
    assert model.rollout_buffer.episode_starts[7:12].any(), "no episode starts within a sequence"
    torch.testing.assert_close(ratios(model), torch.ones(48), rtol=0, atol=1e-5)
    assert abs(model.logger.name_to_value["train/approx_kl"]) < 1e-5
    assert model.logger.name_to_value["train/clip_fraction"] == 0.0


@every_core_with_memory
def test_a_critic_with_a_core_of_its_own_remembers_with_it_and_one_without_does_not(core: str) -> None:
    sizes = {}
    for critic_core in ("shared", "separate", "none"):
        model = agent(clockworks(1, script=LONG), core=core, n_steps=8, policy_kwargs={"critic_core": critic_core})
        model.learn(8)
        policy, buffer = model.policy, model.rollout_buffer
        sizes[critic_core] = policy.state_size
        assert isinstance(buffer.observations, Tensor)
        start = torch.zeros(1, dtype=torch.bool)
        value, fresh = (
            policy.predict_values(buffer.observations[-1], state, start)
            for state in (states_by_hand(model, 0, 7)[-1:], policy.initial_state(1))
        )
        torch.testing.assert_close(value, buffer.values[-1], rtol=1e-5, atol=1e-5)
        assert torch.allclose(value, fresh) == (critic_core == "none")
    assert sizes["separate"] == 2 * sizes["shared"]
    assert sizes["none"] == sizes["shared"]


@every_core_with_memory
@pytest.mark.parametrize(("critic_core", "trains_the_actor"), [("shared", True), ("separate", False), ("none", False)])
def test_the_critic_trains_the_core_that_it_reads(core: str, critic_core: str, trains_the_actor: bool) -> None:
    model = agent(clockworks(2), core=core, n_steps=8, policy_kwargs={"critic_core": critic_core})
    model.learn(16)
    batch = model.rollout_buffer.sequences()
    values, log_probs, _, _ = model.policy.evaluate_actions(
        batch.observations, batch.actions, batch.initial_state, batch.episode_starts
    )
    model.policy.zero_grad()
    values.sum().backward(retain_graph=True)
    assert any(p.grad is not None and p.grad.any() for p in model.policy.core.parameters()) == trains_the_actor
    if not trains_the_actor:
        assert any(p.grad is not None and p.grad.any() for p in model.policy.critic_encoder.parameters())
    model.policy.zero_grad()
    log_probs.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.policy.core.parameters())
    if not trains_the_actor:
        assert all(p.grad is None for p in model.policy.critic_encoder.parameters())


@every_core
def test_sequences_are_the_pieces_of_the_rows_with_the_states_before_and_after_them(core: str) -> None:
    model = agent(clockworks(3, script=LONG), core=core, n_steps=12, sequence_length=4, batch_size=12)
    model.learn(36)
    buffer = model.rollout_buffer
    sequences = buffer.sequences()
    assert sequences.returns.shape == (4, 9)
    assert isinstance(sequences.observations, Tensor)
    assert isinstance(buffer.observations, Tensor)
    for row in range(3):
        states = states_by_hand(model, row, 12)
        for piece in range(3):
            column, steps = 3 * piece + row, slice(4 * piece, 4 * piece + 4)
            assert torch.equal(sequences.observations[:, column], buffer.observations[steps, row])
            for name in ("actions", "log_probs", "values", "advantages", "returns", "episode_starts"):
                assert torch.equal(getattr(sequences, name)[:, column], getattr(buffer, name)[steps, row]), name
            torch.testing.assert_close(sequences.initial_state[column], states[4 * piece], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(sequences.next_state[column], states[4 * piece + 4], rtol=1e-5, atol=1e-5)


@every_core_with_memory
@pytest.mark.parametrize("critic_core", ["shared", "separate"])
def test_refreshed_states_are_those_of_the_weights_of_now_from_the_first_step_of_the_row(
    core: str, critic_core: str
) -> None:
    model = agent(
        clockworks(2, script=LONG), core=core, n_steps=12, sequence_length=4, policy_kwargs={"critic_core": critic_core}
    )
    model.learn(24)
    before = model.rollout_buffer.states[:-1].clone()
    shake(model)
    refreshed = model._refreshed_states()
    for row in range(2):
        states = states_by_hand(model, row, 12)
        torch.testing.assert_close(refreshed[:, row], states[[0, 4, 8]], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(refreshed[1:], before[1:], atol=1e-3)


@pytest.mark.parametrize(("refresh", "refreshes"), [("epoch", 2), ("never", 0)])
def test_states_are_refreshed_at_each_pass_but_the_first_or_never(
    refresh: Any, refreshes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = agent(clockworks(2), n_steps=12, sequence_length=4, n_epochs=3, refresh=refresh, learning_rate=1e-2)
    seen: list[Tensor] = []
    epoch = RecurrentPPO._epoch

    def spy(self: RecurrentPPO, sequences: Any, *rest: Any) -> bool:
        seen.append(sequences.initial_state.clone())
        return epoch(self, sequences, *rest)

    monkeypatch.setattr(RecurrentPPO, "_epoch", spy)
    model.learn(24)
    assert torch.equal(seen[0], model.rollout_buffer.states[:-1].flatten(0, 1))
    assert sum(not torch.equal(state, seen[0]) for state in seen) == refreshes


@every_core_with_memory
@pytest.mark.parametrize("script", [LONG, ENDLESS])
def test_a_rollout_begins_with_a_state_that_the_last_steps_before_it_have_warmed_up(core: str, script: Script) -> None:
    model = agent(clockworks(2, script=script), core=core, n_steps=12, burn_in=5)
    model.learn(24)
    stale = model.rollout_buffer.states[-1].clone()
    before = torch.stack([states_by_hand(model, row, 12, script=script)[7] for row in range(2)])
    shake(model)
    warm = torch.stack([states_by_hand(model, row, 5, before[row], first=7, script=script)[-1] for row in range(2)])
    model.learn(24, reset_num_timesteps=False)
    torch.testing.assert_close(model.rollout_buffer.states[0], warm, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(warm, stale, atol=1e-3)
    torch.testing.assert_close(ratios(model), torch.ones(24), rtol=0, atol=1e-5)
    shake(model, seed=6)
    again = torch.stack([states_by_hand(model, row, 5, before[row], first=7, script=script)[-1] for row in range(2)])
    torch.testing.assert_close(model._refreshed_states()[0], again, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(again, warm, atol=1e-3)


def test_without_burn_in_a_rollout_begins_where_acting_stopped() -> None:
    model = agent(clockworks(2, script=LONG), n_steps=12)
    model.learn(24)
    after = model.rollout_buffer.states[-1].clone()
    shake(model)
    model.learn(24, reset_num_timesteps=False)
    assert torch.equal(model.rollout_buffer.states[0], after)


def test_a_reset_forgets_what_the_memory_would_be_warmed_up_with() -> None:
    model = agent(clockworks(2, script=LONG), n_steps=12, burn_in=5)
    model.learn(24)
    model.learn(24)
    assert not model.rollout_buffer.states[0].any()


@every_core_with_memory
def test_staleness_is_the_largest_distance_between_states_as_acted_and_as_learned(core: str) -> None:
    model = agent(clockworks(2, script=LONG), core=core, n_steps=12, sequence_length=6, batch_size=12)
    model.learn(24)
    assert model.logger.name_to_value["train/state_staleness"] < 1e-5
    shake(model)
    model.train()
    distances = []
    for row in range(2):
        # The learning rate is 0, so the weights of the last pass are those of now; its states start refreshed.
        states = states_by_hand(model, row, 12)[[6, 12]]
        distances.append((states - model.rollout_buffer.states[1:, row]).abs().max().item())
    assert model.logger.name_to_value["train/state_staleness"] == pytest.approx(max(distances), rel=1e-4)
    assert max(distances) > 1e-3


def test_a_core_without_memory_is_never_stale() -> None:
    model = agent(clockworks(2), core="none", n_steps=6)
    model.learn(12)
    assert "train/state_staleness" not in model.logger.name_to_value


@pytest.mark.parametrize("options", [{"burn_in": 3, "n_steps": 6}, {"sequence_length": 3, "n_steps": 6}])
def test_the_options_change_what_is_learned(options: dict[str, Any]) -> None:
    weights = []
    for chosen in ({"n_steps": 6}, options):
        model = agent(clockworks(2, script=LONG), perturbed=False, learning_rate=1e-2, batch_size=12, **chosen)
        model.learn(36)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.policy.parameters()]))
    assert not torch.equal(*weights)
    assert np.isfinite(weights[1].numpy()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refresh": "always"}, r"refresh is 'always', [^\n]+"),
        ({"burn_in": -1}, r"burn_in is -1, [^\n]+"),
        ({"burn_in": 7, "n_steps": 6}, r"burn_in is 7, [^\n]+"),
        ({"sequence_length": 5, "n_steps": 12}, r"sequence_length is 5, [^\n]+: the nearest that fit are 4 and 6\."),
        ({"policy_kwargs": {"critic_core": "both"}}, r"critic_core is 'both', [^\n]+"),
        ({"policy_kwargs": {"share_features_extractor": False}}, r"share_features_extractor is False, [^\n]+"),
        ({"policy_kwargs": {"squash_output": True}}, r"squash_output is True, [^\n]+"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        agent(clockworks(2), **options)
