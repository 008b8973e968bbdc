"""The layer that made a number which is not finite is named, and nothing is left of the search."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from s7rl import core_names
from s7rl.agents import NumericalError
from s7rl.agents.anomalies import find_anomalies
from tests.agents.clockwork import agent, clockworks

ACTIONS = [
    spaces.Discrete(3),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(2),
    spaces.Box(-1.0, 1.0, (2,)),
]


# Seen to fail it: find_anomalies left out of diagnosing.
@pytest.mark.parametrize("debug_anomalies", [False, True])
@pytest.mark.parametrize("action_space", ACTIONS)
def test_a_policy_that_no_action_can_be_drawn_from_is_explained_by_its_layer(
    action_space: spaces.Space[Any], debug_anomalies: bool
) -> None:
    model = agent(clockworks(2, action_space=action_space), n_steps=4, debug_anomalies=debug_anomalies)
    with torch.no_grad():
        model.policy.get_parameter("action_net.weight")[0, 0] = math.nan
    with pytest.raises(
        NumericalError,
        match=r"^at step 1 of the rollout, after 0 environment steps: the output of action_net \(Linear\) is nan at "
        r"\[0, 0\] of \[2, \d\]; its own weight is not finite\.$",
    ):
        model.learn(8)


def test_what_breaks_only_while_learning_is_explained_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = agent(clockworks(2, action_space=ACTIONS[-1]), n_steps=4)
    act = model.collect_rollouts

    def collect_then_break(*arguments: Any) -> bool:
        went_on = act(*arguments)
        with torch.no_grad():
            model.policy.core.get_parameter("cores.0.gate.weight").fill_(math.nan)
        return went_on

    monkeypatch.setattr(model, "collect_rollouts", collect_then_break)
    with pytest.raises(NumericalError, match=r"^while learning, after 8 environment steps: the output of core\."):
        model.learn(8)


def test_another_error_while_acting_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = agent(clockworks(2), n_steps=4)

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.policy, "forward", fail)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        model.learn(8)


class RootOfNothing(nn.Module):
    """0 whatever comes in; its gradient is 0 times infinity."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x * 0.0)


# Seen to fail it: the gradient's hook on the tensor itself instead of a copy of the module's own.
def test_the_layer_whose_gradient_breaks_is_found() -> None:
    kwargs = {"net_arch": {"pi": [4], "vf": []}, "activation_fn": RootOfNothing}
    for debug in (True, False):
        model = agent(clockworks(2), n_steps=4, policy_kwargs=kwargs, debug_anomalies=debug)
        layer = "mlp_extractor.policy_net.1 (RootOfNothing)"
        found = f"the gradient that it passes back, at the input of {layer}, is nan at [0, 0] of [8, 4]."
        with pytest.raises(NumericalError) as caught:
            model.learn(8)
        assert (str(caught.value) == found) == debug


@pytest.mark.parametrize(("core", "critic_core"), [*((core, "shared") for core in core_names()), ("gru", "separate")])
def test_every_broken_parameter_is_traced_to_its_module(core: str, critic_core: str) -> None:
    # Seen to fail it: scan and step not watched, for the parameters of a core that is no module's input.
    kwargs = {"critic_core": critic_core}
    model = agent(clockworks(2), core=core, n_steps=4, policy_kwargs=kwargs)
    buffer = model.learn(8).rollout_buffer
    sequences = buffer.sequences()
    for path, parameter in model.policy.named_parameters():
        with torch.no_grad():
            whole = parameter.clone()
            parameter.fill_(math.nan)
        with pytest.raises(NumericalError) as caught, find_anomalies(model.policy):
            model.policy.evaluate_actions(
                sequences.observations, sequences.actions, sequences.initial_state, sequences.episode_starts
            )
        # S5 scales the weight of a linear layer inside it, which is not called itself.
        module = path.rpartition(".")[0].removesuffix(".input" if core == "s5" else "")
        assert f" {module}" in str(caught.value)
        with torch.no_grad():
            parameter.copy_(whole)


def nothing_is_left(policy: nn.Module) -> bool:
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in policy.modules())
    return not hooks and not any({"scan", "step"} & set(vars(module)) for module in policy.modules())


def test_looking_for_anomalies_changes_numbers_by_their_rounding_only_and_leaves_nothing_behind() -> None:
    trained = []
    for debug in (False, True):
        torch.manual_seed(0)
        model = agent(clockworks(2), n_steps=6, learning_rate=1e-2, batch_size=6, debug_anomalies=debug).learn(36)
        assert nothing_is_left(model.policy)
        trained.append(model.policy.state_dict())
    for name, weight in trained[0].items():
        torch.testing.assert_close(
            weight, trained[1][name]
        )  # to rounding: watched, a step of a block is not one kernel


def test_nothing_is_left_after_an_error_either() -> None:
    model = agent(clockworks(2), n_steps=6, debug_anomalies=True)
    with torch.no_grad():
        model.policy.core.get_parameter("cores.0.gate.bias").fill_(math.inf)
    with pytest.raises(NumericalError, match=r"the output of core\.cores\.0\.gate \(Linear\) is inf"):
        model.learn(12)
    assert nothing_is_left(model.policy)
