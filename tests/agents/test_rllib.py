"""S7 as RLlib's module: what RLlib's own connectors make of episodes, learnt from as it was acted.

Skipped where RLlib is not installed.  Mutations tried, each of which fails a test here: padding taken for symbols of a
space without 0; batch and time mixed up; the deviations of a Gaussian left out; the critic given the actor's features
or state; the state before a step handed on, or none after a sequence; a reset at each step, acting or learning;
``checkpoint_steps`` or ``net_arch`` not heeded; RLlib's own entry of ``model_config`` refused.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from s7rl import core_names
from s7rl.agents import policies
from s7rl.agents.gradient_checkpointing import recur_in_pieces
from tests.envs.wrappers.babbler import OBSERVATIONS

pytest.importorskip("ray.rllib", reason="RLlib is not installed: pip install 's7rl[rllib]'")

from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    BatchIndividualItems,
    NumpyToTensor,
)
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from s7rl.agents.rllib import MEMORY, S7RLModule

BOX = OBSERVATIONS["box"]
MOVES = spaces.Discrete(3)
THRUST = spaces.Box(-1.0, 1.0, (2,))
LENGTHS = (7, 1, 3, 6)  # of episodes: more than two sequences of 3 steps, less than one, one, and two
every_core = pytest.mark.parametrize("core", core_names())


def module(observation_space: Any = BOX, action_space: Any = MOVES, **options: Any) -> Any:
    """A module none of whose weights is what the constructor made of it, nor 0."""
    added_by_rllib = {"vf_share_layers": False}
    config = {"d_model": 8, "d_state": 6, "max_seq_len": 3, **added_by_rllib, **options}
    torch.manual_seed(0)
    built = RLModuleSpec(
        module_class=S7RLModule, observation_space=observation_space, action_space=action_space, model_config=config
    ).build()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return built


def one(observation: Any) -> Any:
    """An observation as the batch [B = 1, T = 1, ...] of one step of one environment."""
    if isinstance(observation, dict):
        return {key: one(value) for key, value in observation.items()}
    x = torch.as_tensor(np.asarray(observation))[None, None]
    return x.float() if x.is_floating_point() else x


def played(agent: Any, lengths: tuple[int, ...] = LENGTHS) -> tuple[list[Any], Tensor, Tensor]:
    """Episodes that were acted through one step at a time, and the logits and values ``[steps, ...]`` of all."""
    space = agent.observation_space
    space.seed(0)
    episodes, logits, values = [], [], []
    for length in lengths:
        episode = SingleAgentEpisode(observation_space=space, action_space=agent.action_space)
        episode.add_env_reset(space.sample())
        state = agent.get_initial_state()[MEMORY][None]
        for _ in range(length):
            batch = {"obs": one(episode.get_observations(-1)), "state_in": {MEMORY: state}}
            values.append(agent.compute_values(batch)[0].detach())
            out = agent.forward_exploration(batch)
            state = out["state_out"][MEMORY]
            logits.append(out["action_dist_inputs"][0])
            outputs = {"state_out": {MEMORY: state[0].numpy()}}
            episode.add_env_step(space.sample(), agent.action_space.sample(), 0.0, extra_model_outputs=outputs)
        episodes.append(episode.to_numpy())
    return episodes, torch.cat(logits), torch.cat(values)


def to_learn_from(agent: Any, episodes: list[Any]) -> dict[str, Any]:
    """What the connectors before RLlib's learner make of episodes."""
    batch: dict[str, Any] = {}
    for connector in (
        AddObservationsFromEpisodesToBatch(as_learner_connector=True),
        AddTimeDimToBatchAndZeroPad(as_learner_connector=True),
        AddStatesFromEpisodesToBatch(as_learner_connector=True),
        BatchIndividualItems(),
        NumpyToTensor(),
    ):
        batch = connector(rl_module=agent, batch=batch, episodes=episodes, explore=False, shared_data={})
    return batch


def check_as_acted(agent: Any) -> None:
    """Learning sees the logits and values that acting saw, whatever RLlib cuts and pads."""
    episodes, logits, values = played(agent)
    batch = to_learn_from(agent, episodes)
    mask = batch["loss_mask"]
    assert mask.shape == (sum(-(-length // 3) for length in LENGTHS), 3)
    assert not mask.all(), "nothing was padded"
    out = agent.forward_train(batch)
    torch.testing.assert_close(out["action_dist_inputs"][mask], logits, rtol=1e-4, atol=1e-5)
    for found in (agent.compute_values(batch, embeddings=out["embeddings"]), agent.compute_values(batch)):
        torch.testing.assert_close(found[mask], values, rtol=1e-4, atol=1e-5)


@every_core
def test_padded_sequences_are_seen_as_they_were_acted(core: str) -> None:
    check_as_acted(module(core=core))


@pytest.mark.parametrize("critic_core", ["separate", "none"])
def test_it_is_so_with_a_memory_of_the_critics_own(critic_core: str) -> None:
    check_as_acted(module(critic_core=critic_core, net_arch=[5]))


@pytest.mark.parametrize("kind", ["matrix", "image", "discrete", "multidiscrete", "multibinary", "dict"])
def test_it_is_so_whatever_the_observations(kind: str) -> None:
    check_as_acted(module(OBSERVATIONS[kind], THRUST))


def test_padding_changes_neither_values_nor_gradients() -> None:
    agent = module()
    batch = to_learn_from(agent, played(agent)[0])
    mask = batch["loss_mask"]

    def learnt(obs: Tensor) -> list[Tensor]:
        out = agent.forward_train({**batch, "obs": obs})
        values = agent.compute_values(batch, embeddings=out["embeddings"])
        loss = out["action_dist_inputs"][mask].square().sum() + values[mask].square().sum()
        return [loss, *torch.autograd.grad(loss, list(agent.parameters()))]

    other = torch.where(mask[..., None], batch["obs"], torch.tensor(7.0))
    for found, wanted in zip(learnt(other), learnt(batch["obs"]), strict=True):
        torch.testing.assert_close(found, wanted)


def test_the_state_after_an_episode_goes_on_with_it() -> None:
    agent = module()
    obs = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    state = {MEMORY: agent.get_initial_state()[MEMORY].expand(2, -1)}
    whole = agent.forward_train({"obs": obs, "state_in": state})
    first = agent.forward_train({"obs": obs[:, :4], "state_in": state})
    second = agent.forward_train({"obs": obs[:, 4:], "state_in": first["state_out"]})
    parts = torch.cat([first["action_dist_inputs"], second["action_dist_inputs"]], dim=1)
    torch.testing.assert_close(parts, whole["action_dist_inputs"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second["state_out"], whole["state_out"], rtol=1e-4, atol=1e-5)


@every_core
def test_a_module_with_anothers_weights_does_as_it_does(core: str) -> None:
    first, second = module(core=core), module(core=core)
    obs = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(0))
    state = {MEMORY: torch.zeros(2, *first.get_initial_state()[MEMORY].shape)}
    batch = {"obs": obs, "state_in": state}
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.5)
    wanted = first.forward_inference(batch)
    different = second.forward_inference(batch)["action_dist_inputs"]
    assert not torch.allclose(different, wanted["action_dist_inputs"])
    weights = first.get_state(inference_only=True)
    assert all(isinstance(array, np.ndarray) for array in weights.values())
    second.set_state(weights)
    torch.testing.assert_close(second.forward_inference(batch), wanted, rtol=0, atol=0)


def test_acting_draws_from_rllibs_distributions_of_the_space() -> None:
    deviations = torch.tensor([-1.0, 0.5])
    moving, thrusting = module(), module(action_space=THRUST)
    with torch.no_grad():
        thrusting.network.log_std.copy_(deviations)
    state = {MEMORY: moving.get_initial_state()[MEMORY].expand(2, -1)}
    moves, thrusts = (
        agent.get_exploration_action_dist_cls().from_logits(
            agent.forward_exploration({"obs": torch.zeros(2, 1, 3), "state_in": state})["action_dist_inputs"]
        )
        for agent in (moving, thrusting)
    )
    assert moves.logits.shape == (2, 1, 3)
    assert moves.sample().shape == (2, 1)
    assert thrusts.sample().shape == (2, 1, 2)
    torch.testing.assert_close(thrusts._dist.scale, deviations.exp().expand(2, 1, 2))


def test_gradients_are_the_same_where_less_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = []

    def spy(recur: Any, steps: int, *args: Any) -> Any:
        pieces.append(steps)
        return recur_in_pieces(recur, steps, *args)

    monkeypatch.setattr(policies, "recur_in_pieces", spy)
    gradients = []
    for checkpoint_steps in (None, 2):
        agent = module(checkpoint_steps=checkpoint_steps)
        out = agent.forward_train(to_learn_from(agent, played(agent)[0]))
        loss = out["action_dist_inputs"].square().sum() + out["embeddings"].square().sum()
        used = [parameter for name, parameter in agent.named_parameters() if "value_net" not in name]
        gradients.append(torch.autograd.grad(loss, used))
    assert 2 in pieces
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"d_modle": 8},
            TypeError,
            "model_config holds 'd_modle', which RecurrentActorCriticPolicy does not take: did you mean",
        ),
        ({"max_seq_len": 0}, ValueError, "max_seq_len"),
        ({"d_model": 0}, ValueError, "d_model"),
        ({"dynamics_lr_factor": 0.1}, ValueError, "model_config has 'dynamics_lr_factor', but RLlib has one learning"),
        ({"use_sde": True}, ValueError, "model_config has 'use_sde', but the distribution of actions is RLlib's"),
        ({"action_space": spaces.Discrete(3, start=1)}, ValueError, "the action space is Discrete"),
        ({"action_space": spaces.Box(-1.0, 1.0, (2, 3))}, ValueError, "S7RLModule takes Discrete, counted from 0, and"),
    ],
)
def test_what_it_does_not_take_is_said_in_one_line(
    options: dict[str, Any], kind: type[Exception], message: str, as_users_run_it: None
) -> None:
    with pytest.raises(kind) as caught:
        module(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_length_of_sequences_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"model_config has no max_seq_len, .* add it, such as \{'max_seq_len': 128\}"):
        S7RLModule(observation_space=BOX, action_space=MOVES, model_config={"d_model": 8})


def test_without_rllib_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "s7rl.agents.rllib")
    monkeypatch.setitem(sys.modules, "ray.rllib.core.columns", None)
    with pytest.raises(ModuleNotFoundError, match=r"^s7rl\.agents\.rllib needs [^\n]+'s7rl\[rllib\]'\.$"):
        importlib.import_module("s7rl.agents.rllib")
