"""An environment whose every observation, reward and end is known, and rollouts of it gone through by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from s7rl.agents import RecurrentPPO

Script: TypeAlias = tuple[tuple[int, str], ...]
"""Length and ending of each episode, over and over."""

TERMINAL, TIME_OUT, BOTH = "terminal", "time-out", "both"
MIXED = ((3, TERMINAL), (5, TIME_OUT), (4, BOTH), (2, TIME_OUT))


class Clockwork(gym.Env[NDArray[np.float32], Any]):
    """Episodes of set lengths and endings; observations and rewards follow from row, episode and time alone."""

    observation_space = spaces.Box(-1.0, 1.0, (3,))

    def __init__(self, row: int, script: Script = MIXED, action_space: spaces.Space[Any] | None = None) -> None:
        self.action_space = action_space or spaces.Discrete(3)
        self.row, self.script = row, script
        self.episode, self.t = -1, 0
        self.received: list[Any] = []

    def observe(self, episode: int, t: int) -> NDArray[np.float32]:
        phase = np.array([1.0 + self.row + 3.0 * episode, 2.0 * self.row + 0.7 * t, 0.3 * t * (1 + episode)])
        observation: NDArray[np.float32] = np.sin(phase).astype(np.float32)
        return observation

    def reward(self, episode: int, t: int) -> float:
        return float(np.cos(self.row + 2.0 * episode + t))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.episode, self.t = self.episode + 1, 0
        return self.observe(self.episode, 0), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.received.append(np.array(action))
        reward = self.reward(self.episode, self.t)
        self.t += 1
        length, ending = self.script[self.episode % len(self.script)]
        ended = self.t == length
        terminated, truncated = ended and ending != TIME_OUT, ended and ending != TERMINAL
        return self.observe(self.episode, self.t), reward, terminated, truncated, {}


def clockworks(number: int, **options: Any) -> DummyVecEnv:
    def maker(row: int) -> Callable[[], Clockwork]:
        return lambda: Clockwork(row, **options)

    return DummyVecEnv([maker(row) for row in range(number)])


def agent(env: Any, *, core: str = "s7", perturbed: bool = True, **options: Any) -> RecurrentPPO:
    """An agent whose weights do not change, unless told otherwise, and are not what the constructor made of them.

    The selection of S7 starts at zero and the action head near it: much would not be tested.
    """
    kwargs = {"core": core, "d_model": 8, "d_state": 6, **options.pop("policy_kwargs", {})}
    chosen = {"learning_rate": 0.0, "n_epochs": 2, "seed": 0, **options}
    model = RecurrentPPO("MlpPolicy", env, **chosen, policy_kwargs=kwargs)
    if perturbed:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


class Row(NamedTuple):
    """What one environment's part of a rollout should be."""

    observations: list[NDArray[np.float32]]
    rewards: list[float]
    starts: list[bool]
    terminated: list[bool]
    truncated: list[bool]
    values: list[float]
    next_values: list[float]


def replay(model: RecurrentPPO, row: int, steps: int, script: Script = MIXED) -> Row:
    """Go through the first ``steps`` steps of a row alone, one by one, with a state carried by hand."""
    env = Clockwork(row, script)
    policy = model.policy

    def value(obs: NDArray[np.float32], state: Tensor, start: bool) -> tuple[float, Tensor]:
        x = policy.encoder(torch.as_tensor(obs)[None])
        latent, after = policy.core.step(x, state, torch.tensor([start]))
        return policy.value_net(latent).item(), after

    result = Row([], [], [], [], [], [], [])
    obs, start, state = env.reset()[0], True, policy.initial_state(1)
    with torch.no_grad():
        for _ in range(steps):
            here, state = value(obs, state, start)
            successor, reward, terminated, truncated, _ = env.step(0)
            there, _ = value(successor, state, False)
            time_is_out = truncated and not terminated
            result.observations.append(obs)
            result.rewards.append(reward)
            result.starts.append(start)
            result.terminated.append(terminated)
            result.truncated.append(time_is_out)
            result.values.append(here)
            result.next_values.append(0.0 if terminated else there)
            start = terminated or truncated
            obs = env.reset()[0] if start else successor
    return result


def returns(row: Row, gamma: float, gae_lambda: float) -> list[float]:
    """Values plus advantages in float64, from the last step backwards."""
    advantage, result = 0.0, []
    for t in reversed(range(len(row.rewards))):
        ends = row.terminated[t] or row.truncated[t]
        error = row.rewards[t] + gamma * row.next_values[t] - row.values[t]
        advantage = error + (0.0 if ends else gamma * gae_lambda * advantage)
        result.append(advantage + row.values[t])
    return result[::-1]
