"""Whole episodes: in every row, for tasks whose episodes all have the same length, or in a single environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from s7rl.envs import make_batched

Answer = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""From states [rows, state] and observations [rows] to actions [rows]."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What was seen of one episode in every row."""

    returns: NDArray[np.float64]
    success: NDArray[np.bool_]
    observations: NDArray[np.int64]
    """[steps, rows], each before its action."""
    states: NDArray[np.int64]
    """[steps, rows, state], each before its action."""


def play(env_id: str, kwargs: dict[str, Any], answer: Answer, seeds: Sequence[int] | range) -> Episode:
    """Play one episode in every row, row i with ``seeds[i]``."""
    envs = make_batched(env_id, len(seeds), kwargs)
    observation, _ = envs.reset(seed=list(seeds))  # type: ignore[arg-type]
    observations, states, returns = [], [], np.zeros(len(seeds))
    while True:
        observations.append(observation)
        states.append(envs.get_state())  # type: ignore[attr-defined]
        observation, rewards, terminated, truncated, infos = envs.step(answer(states[-1], observation))
        returns += rewards
        assert not truncated.any()
        if terminated.any():
            assert terminated.all()
            return Episode(
                returns=returns,
                success=infos["is_success"],
                observations=np.stack(observations),
                states=np.stack(states),
            )


def oracle(states: NDArray[np.int64], _: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the answer that is due, which stands first in the hidden state."""
    return states[:, 0]


def guess(num_actions: int, seed: int) -> Answer:
    """Return uniformly random answers."""
    rng = np.random.default_rng(seed)
    return lambda _, observations: rng.integers(num_actions, size=observations.shape)


def from_table(table: Sequence[int]) -> Answer:
    """Return a memoryless policy: ``table[observation]`` is the action."""
    return lambda _, observations: np.asarray(table)[observations]


def play_single(env: gym.Env[Any, Any], seed: int, act: Callable[[int], int]) -> tuple[float, bool, int]:
    """Return the return, the success and the length of one episode of a single environment."""
    observation, _ = env.reset(seed=seed)
    info: dict[str, Any] = {}
    total, steps, over = 0.0, 0, False
    while not over:
        observation, reward, terminated, truncated, info = env.step(act(observation))
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
    return total, info["is_success"], steps
