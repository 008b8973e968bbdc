"""Time constants and gates, against what the cores do with a state.

Mutations seen to fail: the modulation with the wrong sign, or as if 0 were open; 1 / -log a; the wrong gate's bias; the
state after in place of that before; a convolution without its bias; layers placed by the numbers they remember with;
hooks left in place.
"""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.cores import GRU, LSTM, S7, Core, ResidualBlock, make_core
from s7rl.experiments.inspection.layers import Layer, horizons_at_rest, layers_of, trace
from s7rl.experiments.inspection.recording import Episode

STEPS = 5


def policy_on(core: str, n_blocks: int = 1, **options: Any) -> RecurrentActorCriticPolicy:
    torch.manual_seed(0)
    return RecurrentActorCriticPolicy(
        spaces.Discrete(5),
        spaces.Discrete(3),
        lambda _: 1e-3,
        core=core,
        d_model=6,
        n_blocks=n_blocks,
        core_kwargs=options,
    )


@pytest.fixture
def episode() -> Episode:
    return Episode(
        observations=torch.tensor([0, 3, 3, 1, 4]), decisions=torch.zeros(STEPS, dtype=torch.long), action_masks=None
    )


def test_the_horizons_of_s7_are_those_that_it_was_made_with() -> None:
    core = S7(4, d_state=3, horizon=(2.0, 200.0), rotation=0.0)
    found = horizons_at_rest(core)
    assert found is not None
    np.testing.assert_allclose(found, [2.0, 20.0, 200.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("core", "options"),
    [
        ("s7", {"d_state": 5}),
        ("s7", {"d_state": 5, "selectivity": "full"}),
        ("s7", {"d_state": 5, "selectivity": "none"}),
        ("s7", {"d_state": 5, "reparameterization": "exp"}),
        ("s7", {"d_state": 5, "reparameterization": "sigmoid"}),
        ("s5", {"d_state": 5}),
        ("s4d", {"d_state": 3}),
        ("lru", {"d_state": 5}),
        ("mamba", {"d_state": 3}),
        ("mingru", {}),
    ],
    ids=["s7", "s7-full", "s7-none", "s7-exp", "s7-sigmoid", "s5", "s4d", "lru", "mamba", "mingru"],
)
def test_a_time_constant_says_what_share_of_a_difference_one_step_without_input_keeps(
    core: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    (layer,) = layers_of(make_core(core, d_model=6, **options).double())
    found = horizons_at_rest(layer.core)
    assert found is not None
    assert (found > 1).all()
    # A difference of 1, in both halves of what has two, shrinks by a.
    before = torch.zeros(2, layer.core.state_size, dtype=torch.double)
    before[1, : layer.width] = 1.0
    nothing = torch.zeros(1, 2, 6, dtype=torch.double)
    with torch.no_grad():
        _, after = layer.core.scan(nothing, before, torch.zeros(1, 2, dtype=torch.bool))
    kept = (after[1] - after[0])[: layer.width]
    still = 2 * len(found) - layer.width
    square = torch.cat([kept[:still].square(), (kept[still : len(found)].square() + kept[len(found) :].square()) / 2])
    np.testing.assert_allclose(square.sqrt(), 1 - 1 / found, rtol=1e-6)


@pytest.mark.parametrize("rank", [None, 2])
def test_the_horizons_of_s7_in_play_follow_from_its_selection(rank: int | None, episode: Episode) -> None:
    policy = policy_on("s7", d_state=4, rotation=0.5, rank=rank)
    (layer,) = layers_of(policy.core)
    assert isinstance(layer.core, S7)
    weight = layer.core.get_parameter("selection.weight")
    torch.nn.init.normal_(weight, std=0.3)
    if layer.core.spread is not None:
        torch.nn.init.normal_(layer.core.spread, std=0.3)
    (found,) = trace(policy, [layer], episode)
    selection = inputs(policy, layer, episode) @ weight.detach().T
    if layer.core.spread is not None:
        selection = selection @ layer.core.spread.detach()
    w = layer.core.w_0.detach() * (1 + selection[:, :4])
    assert found.horizons is not None
    np.testing.assert_allclose(found.horizons, w**2 + 0.5, rtol=1e-4)
    assert list(found.gates) == ["input gate 1 + W_B u", "output gate 1 + W_C u", "gate of the block"]
    into, out, block = found.gates.values()
    np.testing.assert_allclose(into, 1 + selection[:, 4:8], rtol=1e-4)
    np.testing.assert_allclose(out, 1 + selection[:, 8:14], rtol=1e-4)  # 4 real halves, 2 imaginary ones
    assert block.shape == (STEPS, 6)
    assert ((block > 0) & (block < 1)).all()


def test_an_s7_that_selects_nothing_has_no_gates_but_its_blocks_and_no_horizons_in_play(episode: Episode) -> None:
    policy = policy_on("s7", d_state=4, selectivity="none")
    (found,) = trace(policy, layers_of(policy.core), episode)
    assert found.horizons is None
    assert list(found.gates) == ["gate of the block"]


def test_the_gates_of_a_gru_make_its_states_of_those_before(episode: Episode) -> None:
    policy = policy_on("gru")
    (layer,) = layers_of(policy.core)
    assert isinstance(layer.core, GRU)
    (found,) = trace(policy, [layer], episode)
    x, y = inputs_and_outputs(policy, layer, episode)
    before = torch.cat([torch.zeros(1, 6), y[:-1]])
    weights = {name: parameter.detach() for name, parameter in layer.core.gru.named_parameters()}
    candidate = (x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"])[:, 12:] + found.gates["reset gate r"] * (
        before @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
    )[:, 12:]
    update = found.gates["update gate 1 - z"]
    np.testing.assert_allclose((1 - update) * before + update * candidate.tanh(), y, atol=1e-6)
    assert found.horizons is not None
    np.testing.assert_allclose(found.horizons, 1 / update, rtol=1e-5)


def test_the_gates_of_an_lstm_make_its_cells_of_those_before(episode: Episode) -> None:
    policy = policy_on("lstm", horizon=(2.0, 50.0))
    (layer,) = layers_of(policy.core)
    assert isinstance(layer.core, LSTM)
    (found,) = trace(policy, [layer], episode)
    x, y = inputs_and_outputs(policy, layer, episode)
    before = torch.cat([torch.zeros(1, 6), y[:-1]])
    weights = {name: parameter.detach() for name, parameter in layer.core.lstm.named_parameters()}
    logits = x @ weights["weight_ih_l0"].T + before @ weights["weight_hh_l0"].T
    candidate = (logits + weights["bias_ih_l0"] + weights["bias_hh_l0"])[:, 12:18].tanh()
    cell, outputs = torch.zeros(6), []
    for step in range(STEPS):
        cell = found.gates["forget gate"][step] * cell + found.gates["input gate"][step] * candidate[step]
        outputs.append(found.gates["output gate"][step] * cell.tanh())
    np.testing.assert_allclose(torch.stack(outputs), y, atol=1e-6)
    assert found.horizons is not None
    np.testing.assert_allclose(found.horizons, 1 / (1 - found.gates["forget gate"]), rtol=1e-4)
    at_rest = horizons_at_rest(layer.core)
    assert at_rest is not None
    assert 2.0 <= float(at_rest.min()) <= float(at_rest.max()) <= 51.0


def inputs(policy: RecurrentActorCriticPolicy, layer: Layer, episode: Episode) -> Tensor:
    """What goes into the layer of the only block, [L, H]."""
    assert isinstance(episode.observations, Tensor)
    assert isinstance(layer.block, ResidualBlock)
    x: Tensor = layer.block.norm(policy.encoder(episode.observations)).detach()
    return x


def inputs_and_outputs(policy: RecurrentActorCriticPolicy, layer: Layer, episode: Episode) -> tuple[Tensor, Tensor]:
    """And what comes out of it."""
    x = inputs(policy, layer, episode)
    with torch.no_grad():
        y, _ = layer.core.scan(x[:, None], layer.core.initial_state(1), torch.zeros(STEPS, 1, dtype=torch.bool))
    return x, y[:, 0]


@pytest.mark.parametrize("core", ["mamba", "mingru"])
def test_time_constants_in_play_say_what_share_of_a_difference_a_step_keeps(core: str, episode: Episode) -> None:
    policy = policy_on(core)
    (layer,) = layers_of(policy.core)
    (found,) = trace(policy, [layer], episode)
    assert found.horizons is not None
    # Two copies of the episode, whose modes differ by 1 before the last step.
    with torch.no_grad():
        x = inputs(policy, layer, episode)[:, None].expand(-1, 2, -1)
        reset = torch.zeros(STEPS, 2, dtype=torch.bool)
        _, state = layer.core.scan(x[:-1], layer.core.initial_state(2), reset[:-1])
        state[1, : layer.width] += 1.0
        _, after = layer.core.scan(x[-1:], state, reset[-1:])
    kept = (after[1] - after[0])[: layer.width]
    np.testing.assert_allclose(kept, 1 - 1 / found.horizons[-1], atol=1e-5)


@pytest.mark.parametrize("core", ["gtrxl", "stack", "none"])
def test_a_memory_that_does_not_decay_has_no_time_constants(core: str, episode: Episode) -> None:
    policy = policy_on(core)
    layers = layers_of(policy.core)
    assert [horizons_at_rest(layer.core) for layer in layers] == [None]
    assert [one.horizons for one in trace(policy, layers, episode)] == [None]


def test_layers_stand_where_their_states_are_and_leave_last_inputs_out() -> None:
    core = make_core("s7", d_model=6, n_blocks=2, d_state=4, rotation=0.5)  # 4 real, 2 imaginary, 6 of the last input
    assert [(one.name, one.start, one.width) for one in layers_of(core)] == [("block 1", 0, 6), ("block 2", 12, 6)]
    (alone,) = layers_of(make_core("mamba", d_model=6, d_state=2))  # 12 channels of 2 modes; 3 inputs each
    assert (alone.width, alone.core.state_size) == (24, 60)


def test_nothing_is_left_behind_in_the_policy(episode: Episode) -> None:
    policy = policy_on("s7", n_blocks=2)
    assert [len(one.gates) for one in trace(policy, layers_of(policy.core), episode)] == [3, 3]
    assert not any(part._forward_hooks for part in policy.modules())
    assert isinstance(policy.core, Core)
