"""The gradient of a decision, on memories of which it is known.

Mutations seen to fail: lags in the wrong order; the decision one step earlier; another norm; the hook left in place; no
masks.
"""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.cores import Core, registry
from s7rl.experiments.inspection.gradient import decision_gradient
from s7rl.experiments.inspection.recording import Episode

KEPT = 0.8


class Leaky(Core):
    """x_k = 0.8 x_{k-1} + u_k, y_k = x_k."""

    stands_alone = True

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, state_size=d_model)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        states = []
        for u in x:
            state = KEPT * state + u
            states.append(state)
        return torch.stack(states), state


def policy_on(core: str, **options: int) -> RecurrentActorCriticPolicy:
    torch.manual_seed(0)
    return RecurrentActorCriticPolicy(
        spaces.Discrete(5), spaces.Discrete(3), lambda _: 1e-3, core=core, d_model=6, core_kwargs=options
    )


def episode_of(steps: int) -> Episode:
    generator = torch.Generator().manual_seed(1)
    return Episode(
        observations=torch.randint(5, (steps,), generator=generator),
        decisions=torch.randint(3, (steps,), generator=generator),
        action_masks=None,
    )


@pytest.mark.parametrize("decision", [None, 4])
def test_in_a_leaky_memory_the_gradient_falls_by_its_leak(
    decision: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._LAYERS, "leaky", Leaky)
    policy, episode = policy_on("leaky"), episode_of(9)
    at = 8 if decision is None else decision
    found = decision_gradient(policy, episode, decision)
    assert isinstance(episode.observations, Tensor)
    encoded: Tensor = policy.encoder(episode.observations).detach()
    state = (KEPT ** torch.arange(at, -1, -1) @ encoded[: at + 1]).detach()
    weight, bias = (policy.action_net.get_parameter(name).detach() for name in ("weight", "bias"))
    # Of a log-softmax: W^T (one-hot of the action - probabilities).
    taken = torch.eye(3)[episode.decisions[at]]
    expected = float(torch.linalg.vector_norm(weight.T @ (taken - (weight @ state + bias).softmax(0))))
    np.testing.assert_allclose(found, expected * KEPT ** np.arange(at + 1), rtol=1e-5)


def test_a_window_of_three_looks_two_steps_back_and_no_further() -> None:
    found = decision_gradient(policy_on("stack", n_frames=3), episode_of(9)).numpy()
    assert (found[:3] > 0).all()
    np.testing.assert_array_equal(found[3:], np.zeros(6))


@pytest.mark.parametrize("core", ["s7", "gru"])
def test_the_gradient_is_what_a_small_change_of_the_first_observation_does(core: str) -> None:
    policy, episode = policy_on(core).double(), episode_of(4)
    size = 1e-6
    starts, state = torch.zeros(4, 1, dtype=torch.bool), policy.initial_state(1)
    slopes = []
    for feature in range(6):

        def moved(by: float, feature: int = feature) -> float:
            hook = policy.encoder.register_forward_hook(
                lambda module, given, returned: (
                    returned + by * torch.eye(6, dtype=torch.float64)[feature] * (torch.arange(4) == 0)[:, None]
                )
            )
            assert isinstance(episode.observations, Tensor)
            log_probs = policy.evaluate_actions(
                episode.observations[:, None], episode.decisions[:, None], state, starts
            )[1]
            hook.remove()
            return float(log_probs[3, 0].detach())

        slopes.append((moved(size) - moved(-size)) / (2 * size))
    found = decision_gradient(policy, episode)
    assert float(found[3]) == pytest.approx(np.linalg.norm(slopes), rel=1e-5)


def test_nothing_is_left_behind_in_the_policy() -> None:
    policy, episode = policy_on("s7"), episode_of(3)
    first = decision_gradient(policy, episode)
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert not policy.encoder._forward_hooks
    torch.testing.assert_close(decision_gradient(policy, episode), first, rtol=0, atol=0)


def test_a_masked_decision_is_asked_under_its_mask() -> None:
    policy, episode = policy_on("gru"), episode_of(3)
    only = torch.eye(3, dtype=torch.bool)[episode.decisions]
    forced = Episode(observations=episode.observations, decisions=episode.decisions, action_masks=only)
    np.testing.assert_array_equal(decision_gradient(policy, forced), np.zeros(3))


@pytest.mark.parametrize("decision", [-1, 3])
def test_a_step_that_the_episode_does_not_have_is_refused(decision: int) -> None:
    with pytest.raises(ValueError, match=f"decision is {decision}, but the episode has 3 steps: pass one from 0 on"):
        decision_gradient(policy_on("none"), episode_of(3), decision)
