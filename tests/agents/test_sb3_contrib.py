"""What a user of sb3-contrib's RecurrentPPO brings along: arguments, policies' names, scripts.

Mutations that were seen to fail these tests: target_kl before use_sde in the signature; shared_lstm taken as separate;
net_arch of sb3-contrib's default left out; a policy's keyword arguments changed in place; torch's options of an LSTM
handed to ours, or dropped whatever they are.
"""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from s7rl.agents import RecurrentPPO
from s7rl.cores.lstm import LSTM


def cartpoles(number: int) -> DummyVecEnv:
    return DummyVecEnv([lambda: gym.make("CartPole-v1")] * number)


def test_every_argument_stands_where_it_stands_in_sb3_contribs_class() -> None:
    ours, theirs = (
        list(inspect.signature(kind.__init__).parameters) for kind in (RecurrentPPO, sb3_contrib.RecurrentPPO)
    )
    assert ours[: len(theirs)] == theirs
    # SB3's PPO lets the user swap its rollout buffer, for one that keeps no states.
    assert set(inspect.signature(PPO.__init__).parameters) - set(ours) == {
        "rollout_buffer_class",
        "rollout_buffer_kwargs",
    }


def test_every_argument_of_learn_predict_and_the_policy_is_known() -> None:
    for method in ("learn", "predict", "save", "load", "set_parameters", "set_env"):
        for kind in (sb3_contrib.RecurrentPPO, sb3_contrib.MaskablePPO):
            theirs = set(inspect.signature(getattr(kind, method)).parameters) - {"custom_objects"}
            assert theirs <= set(inspect.signature(getattr(RecurrentPPO, method)).parameters), (kind, method)
    missing = {
        name for name in dir(sb3_contrib.RecurrentPPO) if not name.startswith("_") and not hasattr(RecurrentPPO, name)
    }
    assert not missing
    policy = sb3_contrib.ppo_recurrent.MlpLstmPolicy
    options = set(inspect.signature(policy.__init__).parameters)
    options -= {"self", "observation_space", "action_space", "lr_schedule"}
    ours = set(inspect.signature(RecurrentPPO.policy_aliases["MlpPolicy"].__init__).parameters)
    lstm = {"lstm_hidden_size", "n_lstm_layers", "shared_lstm", "enable_critic_lstm", "lstm_kwargs"}
    assert options - ours == lstm, "and those are translated"


def script(algorithm: Any, **policy_kwargs: Any) -> Any:
    """The example of sb3-contrib's documentation, shortened: train, then act with a state."""
    env = cartpoles(2)
    model = algorithm("MlpLstmPolicy", env, n_steps=16, batch_size=16, seed=0, policy_kwargs=policy_kwargs or None)
    model.learn(64)
    obs: Any = env.reset()
    lstm_states, episode_starts = None, np.ones((2,), dtype=bool)
    for _ in range(20):
        action, lstm_states = model.predict(obs, state=lstm_states, episode_start=episode_starts, deterministic=True)
        obs, _, episode_starts, _ = env.step(action)
    return model


def test_a_script_for_sb3_contrib_runs_after_its_import_line() -> None:
    theirs, ours = script(sb3_contrib.RecurrentPPO), script(RecurrentPPO)
    assert theirs.num_timesteps == ours.num_timesteps
    assert set(theirs.logger.name_to_value) <= set(ours.logger.name_to_value)
    assert any(isinstance(module, LSTM) for module in ours.policy.modules())
    assert ours.policy.d_model == 256
    assert ours.policy.net_arch == theirs.policy.net_arch
    assert ours.policy.critic_core_name == "separate"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"shared_lstm": True, "enable_critic_lstm": False}, "shared"),
        ({"enable_critic_lstm": False}, "none"),
        ({"shared_lstm": False, "enable_critic_lstm": True}, "separate"),
    ],
)
def test_the_lstm_of_the_critic_is_the_one_that_was_asked_for(given: dict[str, Any], expected: str) -> None:
    options = {"lstm_hidden_size": 8, "n_lstm_layers": 2, **given}
    before = dict(options)
    model = script(RecurrentPPO, **options)
    assert options == before
    assert model.policy.critic_core_name == expected
    assert (model.policy.d_model, model.policy.n_blocks) == (8, 2)


def test_a_critic_with_two_lstms_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^shared_lstm and enable_critic_lstm are both True, [^\n]+$"):
        RecurrentPPO("MlpLstmPolicy", cartpoles(1), policy_kwargs={"shared_lstm": True})


def test_a_cnn_has_no_hidden_layers_after_it_as_in_sb3_contrib() -> None:
    from s7rl.agents.lstm_policies import from_lstm_policy

    policy, options = from_lstm_policy("CnnLstmPolicy", None)
    assert policy == "CnnPolicy"
    assert "net_arch" not in options
    assert from_lstm_policy("MultiInputLstmPolicy", {"net_arch": [8]})[1]["net_arch"] == [8]


def test_torchs_options_of_an_lstm_are_taken_where_they_change_nothing() -> None:
    kwargs = {"dropout": 0.0, "bias": True, "bidirectional": False, "proj_size": 0, "batch_first": True}
    before = dict(kwargs)
    options: dict[str, Any] = {"lstm_hidden_size": 8, "lstm_kwargs": kwargs}
    RecurrentPPO("MlpLstmPolicy", cartpoles(1), policy_kwargs=options)
    assert kwargs == before
    model = RecurrentPPO(
        "MlpLstmPolicy", cartpoles(1), policy_kwargs={"lstm_kwargs": {"horizon": (2.0, 9.0), "bias": 1}}
    )
    assert model.policy_kwargs["core_kwargs"] == {"horizon": (2.0, 9.0)}


@pytest.mark.parametrize(
    ("name", "value"), [("dropout", 0.5), ("bias", False), ("bidirectional", True), ("proj_size", 4), ("dropout", None)]
)
def test_an_option_of_torchs_lstm_that_ours_has_not_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^lstm_kwargs holds {name}={value}, but [^\n]+: leave it out\.$"):
        RecurrentPPO("MlpLstmPolicy", cartpoles(1), policy_kwargs={"lstm_kwargs": {name: value}})
