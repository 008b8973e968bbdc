"""What cannot be trained, or not so, is refused in one line when the agent is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from s7rl.agents import RecurrentPPO
from tests.agents.clockwork import clockworks


class Blank(gym.Env[Any, Any]):
    """Spaces and nothing else."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def agent(n_envs: int, **options: Any) -> RecurrentPPO:
    env = DummyVecEnv([lambda: Blank(spaces.Discrete(2), spaces.Discrete(2))] * n_envs)
    return RecurrentPPO("MlpPolicy", env, **options)


def test_a_batch_size_is_checked_against_the_environments_when_the_agent_is_made() -> None:
    with pytest.raises(ValueError, match=r"^batch_size is 20, [^\n]*: the nearest that fit are 15 and 30\.$"):
        agent(6, n_steps=15, batch_size=20)


@pytest.mark.parametrize("n_steps", [0, -1])
def test_an_agent_of_no_steps_is_refused(n_steps: int) -> None:
    with pytest.raises(ValueError, match=rf"^n_steps is {n_steps}[^\n]*$"):
        agent(2, n_steps=n_steps)


def test_a_minibatch_of_a_single_step_is_refused_since_its_advantages_have_no_spread() -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        agent(2, n_steps=1, batch_size=1)


@pytest.mark.parametrize(
    ("role", "observation_space", "action_space"),
    [
        ("observation", spaces.Dict({}), spaces.Discrete(2)),
        ("observation", spaces.Text(4), spaces.Discrete(2)),
        ("action", spaces.Discrete(2), spaces.Dict({"x": spaces.Discrete(2)})),
        ("action", spaces.Discrete(2), spaces.Tuple([spaces.Discrete(2)])),
    ],
)
def test_spaces_that_are_not_supported_are_refused_in_one_line(
    role: str, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> None:
    with pytest.raises(ValueError, match=rf"^the {role} space is [^\n]+$"):
        RecurrentPPO("MlpPolicy", Blank(observation_space, action_space))


def test_an_agent_without_an_environment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^env is None, [^\n]+$"):
        RecurrentPPO("MlpPolicy")


# Each of these would end or hang the process.
@pytest.mark.parametrize(("name", "value"), [("n_threads", 10**6), ("n_steps", 2**61)])
def test_what_no_machine_has_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {value}, [^\n]+$"):
        agent(2, **{name: value})


def test_what_sb3_takes_is_taken() -> None:
    # Fails where a flag is no number of verbosity, or a path no folder.
    model = agent(2, verbose=False, tensorboard_log=Path("runs"))
    assert model.tensorboard_log == "runs"


def test_clipping_is_a_function_of_the_progress_as_in_sb3_and_a_callback_may_change_it() -> None:
    # Fails where learning reads another attribute.
    model = RecurrentPPO("MlpPolicy", clockworks(2), n_steps=8, clip_range=0.2, clip_range_vf=0.3)
    assert (model.clip_range(1.0), model.clip_range_vf(0.5)) == (0.2, 0.3)

    def narrow(*_: Any) -> bool:
        model.clip_range = lambda progress: 0.0123
        return True

    model.learn(16, callback=narrow)
    assert model.logger.name_to_value["train/clip_range"] == 0.0123


def test_a_callback_finds_the_rollout_buffer_when_it_is_initialised() -> None:
    class Looks(BaseCallback):
        def _init_callback(self) -> None:
            assert self.model.rollout_buffer.rewards.shape == (8, 2)  # type: ignore[attr-defined]

        def _on_step(self) -> bool:
            return True

    RecurrentPPO("MlpPolicy", clockworks(2), n_steps=8).learn(16, callback=Looks())


@pytest.mark.parametrize("symbol", [4, 1])
def test_a_symbol_that_is_not_in_its_space_is_named(symbol: int) -> None:
    # Fails where the embedding's own IndexError gets through.
    model = RecurrentPPO("MlpPolicy", Blank(spaces.Discrete(2, start=2), spaces.Discrete(2)), n_steps=4)
    with pytest.raises(ValueError, match=rf"^an observation has the symbol {symbol}, which is not in its space[^\n]+$"):
        model.predict(np.array(symbol))
