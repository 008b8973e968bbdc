"""What cannot be trained, or not so, is refused in one line when the agent is made."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from s7rl.agents import RecurrentPPO


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
