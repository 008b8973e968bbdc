"""S7 in the trainer of sb3-contrib: its buffer, padding, loop, ``predict``, ``save`` and ``load``.

Mutations tried, each of which fails a test here: halves of the state in the other order; starts not handed on, to the
scan or to ``predict``; results in the order of time; batch and time mixed up; the critic given the actor's state; the
state forgotten after a step; a value halved at the end of an episode; padding taken for symbols of a space without 0,
or of one that ends below it; a MultiDiscrete of two axes let through;
vectors expected of images; a start of the actions, or another learning rate of the dynamics, let through;
options not looked at.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy as LstmPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from s7rl import Core, core_names
from s7rl.agents.encoders import ImageExtractor, MultiInputExtractor
from s7rl.agents.sb3_contrib import S7Policy
from tests.agents.clockwork import MIXED, clockworks, replay, returns
from tests.agents.cores import every_core, with_core
from tests.envs.wrappers.babbler import Babbler

STEPS, ENVS = 16, 3


def agent(env: Any, *, core: str = "s7", critic_core: str = "shared", **options: Any) -> Any:
    """An agent none of whose weights is what the constructor made of it, nor changes."""
    kwargs = {"core": core, "d_model": 8, "d_state": 6, "critic_core": critic_core, **options.pop("policy_kwargs", {})}
    options = {
        "n_steps": STEPS,
        "batch_size": 17,
        "n_epochs": 1,
        "learning_rate": 0.0,
        "gae_lambda": 0.8,
        "seed": 0,
        **options,
    }
    model = RecurrentPPO(S7Policy, env, policy_kwargs=kwargs, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def collected(model: Any) -> Any:
    """The agent with two rollouts' worth of steps behind it, the second in its buffer."""
    model.learn(2 * STEPS * ENVS)
    return model


def minibatches(model: Any) -> list[Any]:
    """Of one pass over the rollout; they cut rows and episodes anywhere."""
    np.random.seed(0)  # noqa: NPY002 (the buffer draws where its first minibatch begins from the global generator)
    found = list(model.rollout_buffer.get(model.batch_size))
    assert any((batch.mask < 0.5).any() for batch in found), "nothing was padded"
    return found


def evaluated(model: Any, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    actions = batch.actions.long().flatten() if isinstance(model.action_space, spaces.Discrete) else batch.actions
    result: tuple[Tensor, Tensor, Tensor] = model.policy.evaluate_actions(
        batch.observations, actions, batch.lstm_states, batch.episode_starts
    )
    return result


def check_ratio(model: Any) -> None:
    """Before any update a minibatch has the values and log-probabilities of the rollout."""
    for batch in minibatches(collected(model)):
        with torch.no_grad():
            values, log_probs, _ = evaluated(model, batch)
        real = batch.mask > 0.5
        assert values.shape == (*batch.mask.shape, 1)
        torch.testing.assert_close(log_probs[real], batch.old_log_prob[real], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values.flatten()[real], batch.old_values[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("core", "critic_core"), [*with_core(core_names(), "separate"), ("s7", "shared"), ("s7", "none")]
)
def test_the_first_ratio_of_an_update_is_1_with_episodes_that_end_within(core: str, critic_core: str) -> None:
    check_ratio(agent(clockworks(ENVS), core=core, critic_core=critic_core))


@pytest.mark.parametrize(
    ("kind", "actions"),
    [("box", "box"), ("discrete", "multidiscrete"), ("multibinary", "multibinary"), ("dict", "box"), ("image", "box")],
)
def test_it_is_so_whatever_the_spaces(kind: str, actions: str) -> None:
    check_ratio(agent(DummyVecEnv([lambda: Babbler(kind, actions)] * ENVS)))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=5),
        spaces.MultiDiscrete([2, 3], start=[1, 4]),
        spaces.Discrete(3, start=-5),
        spaces.MultiDiscrete([2, 3], start=[-4, 1]),
        spaces.Dict(a=spaces.Discrete(2, start=3), b=spaces.Box(0, 1), c=spaces.Discrete(2, start=-3)),
    ],
)
def test_it_is_so_where_the_zeros_of_padding_are_no_symbols(space: spaces.Space[Any]) -> None:
    class Late(Babbler):
        def __init__(self) -> None:
            super().__init__("box", "box")
            self.observation_space = space

    check_ratio(agent(DummyVecEnv([Late] * ENVS)))


def by_steps(model: Any, batch: Any, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Values and log-probabilities of each sequence alone, one step at a time, from the states that the buffer kept."""
    policy = model.policy
    sequences = batch.lstm_states.pi[0].shape[1]
    x = batch.observations.view(sequences, -1, 3)
    starts = starts.view(sequences, -1).bool()
    actions = batch.actions.view(sequences, -1)
    values, log_probs = torch.zeros(x.shape[:2]), torch.zeros(x.shape[:2])
    for i in range(sequences):
        latents = []
        for part, encoder, core in (
            (batch.lstm_states.pi, policy.encoder, policy.core),
            (batch.lstm_states.vf, policy.critic_encoder, policy.critic_core),
        ):
            state = torch.cat([part[0][0, i], part[1][0, i]])[: core.state_size][None]
            of_part = []
            for t in range(x.shape[1]):
                y, state = core.step(encoder(x[i, t][None]), state, starts[i, t][None])
                of_part.append(y[0])
            latents.append(torch.stack(of_part))
        distribution = torch.distributions.Categorical(logits=policy.action_net(latents[0]))
        log_probs[i], values[i] = distribution.log_prob(actions[i]), policy.value_net(latents[1])[:, 0]
    return values.flatten(), log_probs.flatten()


@pytest.mark.parametrize("core", ["s7", "s5", "s4d", "lru", "mamba", "mingru"])
def test_values_log_probabilities_and_gradients_are_those_of_a_loop_over_steps(core: str) -> None:
    model = collected(agent(clockworks(ENVS), core=core, critic_core="separate"))
    batch = minibatches(model)[0]
    # The buffer cuts at every start; a buffer that did not would have some within.
    starts = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    batch = batch._replace(episode_starts=starts.float())
    real, parameters = batch.mask > 0.5, list(model.policy.parameters())
    values, log_probs, _ = evaluated(model, batch)
    results = []
    for of_values, of_actions in ((values.flatten(), log_probs), by_steps(model, batch, starts)):
        loss = of_values[real].square().sum() + of_actions[real].sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        results.append((of_values[real].detach(), of_actions[real].detach(), gradients))
    torch.testing.assert_close(results[0], results[1], rtol=2e-3, atol=2e-4)


def test_what_padding_holds_changes_nothing() -> None:
    model = collected(agent(clockworks(ENVS)))
    batch = minibatches(model)[0]
    real = batch.mask > 0.5
    before = evaluated(model, batch)
    batch.observations[~real] = 1e3
    after = evaluated(model, batch)
    torch.testing.assert_close([x[real] for x in before], [x[real] for x in after], rtol=0.0, atol=0.0)


def test_an_update_runs_no_loop_over_steps_though_episodes_start_within(monkeypatch: pytest.MonkeyPatch) -> None:
    model = collected(agent(clockworks(ENVS)))

    def looped(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a single step")

    monkeypatch.setattr(Core, "step", looped)
    monkeypatch.setattr(type(model.policy.core), "step", looped)
    monkeypatch.setattr(LstmPolicy, "_process_sequence", looped)
    updates = model._n_updates
    model.train()
    assert model._n_updates == updates + model.n_epochs


def test_returns_value_time_outs_and_the_last_step_by_the_memory_of_that_moment() -> None:
    model = agent(clockworks(ENVS), gamma=0.9)
    model.learn(STEPS * ENVS)
    buffer = model.rollout_buffer
    found = buffer.returns.reshape(ENVS, STEPS)  # train() has put one row after the other
    for row in range(ENVS):
        expected = replay(model, row, STEPS, MIXED)
        np.testing.assert_allclose(found[row], returns(expected, 0.9, 0.8), rtol=1e-4, atol=1e-4)


def test_a_shared_core_learns_from_the_critic_too() -> None:
    model = collected(agent(clockworks(ENVS)))
    values, _, _ = evaluated(model, minibatches(model)[0])
    gradients = torch.autograd.grad(values.sum(), list(model.policy.core.parameters()), allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("core", ["s7", "mamba", "gtrxl", "gru"])
def test_a_saved_agent_acts_and_learns_on_as_the_original(core: str, tmp_path: Path) -> None:
    model = agent(clockworks(ENVS), core=core, critic_core="separate", learning_rate=1e-3).learn(STEPS * ENVS)
    model.save(tmp_path / "model")
    loaded = RecurrentPPO.load(tmp_path / "model", env=clockworks(ENVS))
    assert isinstance(loaded.policy, S7Policy)
    observations = np.random.default_rng(0).normal(size=(9, ENVS, 3)).astype(np.float32)
    states: list[Any] = [None, None]
    for step, observation in enumerate(observations):
        for i, one in enumerate((model, loaded)):
            starts = np.array([step in (0, 5)] * ENVS)
            _, states[i] = one.predict(observation, states[i], starts, deterministic=True)
        np.testing.assert_array_equal(states[0], states[1])
        policies: list[Any] = [model.policy, loaded.policy]
        logits = [policy.get_distribution(*_batch(observation, states[0]))[0].logits for policy in policies]
        torch.testing.assert_close(*logits, rtol=0.0, atol=0.0)
    for one in (model, loaded):
        one.set_env(clockworks(ENVS))
        one.set_random_seed(3)
        one.learn(STEPS * ENVS)
    for left, right in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def _batch(observation: Any, states: Any) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    return torch.as_tensor(observation), tuple(map(torch.as_tensor, states)), torch.zeros(len(observation))


@every_core
def test_predict_clears_the_state_at_a_start_and_is_the_whole_sequence_otherwise(core: str) -> None:
    model = agent(clockworks(ENVS), core=core)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(20, ENVS, 3)).astype(np.float32)
    starts = rng.random((20, ENVS)) < 0.2
    starts[0] = True
    state: Any = None
    taken = []
    for observation, start in zip(observations, starts, strict=True):
        action, state = model.predict(observation, state, start, deterministic=True)
        taken.append(action)
    zeros = tuple(torch.zeros_like(torch.as_tensor(half)) for half in state)

    def by_rows(x: Any) -> Tensor:
        return torch.as_tensor(x).transpose(0, 1).flatten(0, 1)

    with torch.no_grad():
        log_probs = [
            model.policy.evaluate_actions(
                by_rows(observations),
                torch.full((20 * ENVS,), action),
                RNNStates(zeros, zeros),
                by_rows(starts).float(),
            )[1]
            for action in range(3)
        ]
    expected = torch.stack(log_probs).argmax(dim=0).view(ENVS, 20).t()
    np.testing.assert_array_equal(np.stack(taken), expected)
    with torch.no_grad():
        x = model.policy.encoder(torch.as_tensor(observations))
        _, last = model.policy.core.scan(x, model.policy.core.initial_state(ENVS), torch.as_tensor(starts))
    found = np.concatenate(state, axis=-1)[0, :, : last.shape[1]]
    np.testing.assert_allclose(found, last.numpy(), rtol=1e-3, atol=1e-5)
    # One observation without an axis for environments, and nothing said of starts.
    action, state = model.predict(observations[0, 0])
    assert action.shape == ()
    assert [half.shape for half in state] == [model.policy.lstm_hidden_state_shape] * 2


@pytest.mark.parametrize(("kind", "extractor"), [("image", ImageExtractor), ("dict", MultiInputExtractor)])
def test_the_features_extractor_follows_the_observations(kind: str, extractor: type[Any]) -> None:
    model = agent(DummyVecEnv([lambda: Babbler(kind, "box")]), batch_size=STEPS)
    assert isinstance(model.policy.features_extractor, extractor)


def test_what_the_trainer_cannot_do_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^the action space is Discrete\(4, start=2\), but [^\n]+ from 0: [^\n]+$"):
        agent(DummyVecEnv([lambda: Babbler("box", "discrete")]))
    with pytest.raises(ValueError, match=r"^dynamics_lr_factor is 0\.1, but [^\n]+ one learning rate [^\n]+$"):
        agent(clockworks(1), policy_kwargs={"dynamics_lr_factor": 0.1})
    table = spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]))
    for space in (table, spaces.Dict(a=table)):
        with pytest.raises(ValueError, match=r"^the observation space has a MultiDiscrete of shape \(2, 2\), [^\n]+$"):
            S7Policy(space, spaces.Discrete(2), lambda _: 1e-3)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"d_modle": 3}, "did you mean 'd_model'?"),
        ({"corre": "gru"}, "did you mean 'core'?"),
        ({"lstm_hidden_size": 8}, "core, "),
        ({"enable_critic_lstm": True}, "core, "),
        ({"features_extractor_kwargs": {"features_dimm": 8}}, ""),
        ({"optimizer_kwargs": {"beta": 1}}, "did you mean 'betas'?"),
    ],
)
def test_an_option_that_the_policy_has_not_is_answered_as_by_our_trainer(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(TypeError, match=r"^\w+_kwargs holds '\w+', which \w+ does not take: [^\n]+$") as caught:
        agent(clockworks(1), policy_kwargs=options)
    assert hint in str(caught.value)


def test_without_sb3_contrib_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "sb3_contrib" or name == "s7rl.agents.sb3_contrib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(ModuleNotFoundError, match=r"^s7rl\.agents\.sb3_contrib needs [^\n]+'s7rl\[contrib\]'\.$"):
        importlib.import_module("s7rl.agents.sb3_contrib")
