"""Playing episodes with an agent, and the numbers that come of it.

Every environment plays a number of episodes that is fixed beforehand. Taking the first N that end would count short
episodes more often than long ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents.action_masks import get_action_masks, is_masking_supported

MOST_ENVS = 25
"""Environments side by side in an evaluation; more would be faster for the network only."""


@runtime_checkable
class Agent(Protocol):
    """Anything that acts as SB3's algorithms do; with ``action_masks`` where the environments have some."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The actions, and the memory to hand in with the next observation."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an agent got in a number of episodes."""

    returns: tuple[float, ...]
    """Undiscounted return of each episode."""
    lengths: tuple[int, ...]
    """Steps of each episode."""
    successes: tuple[bool, ...]
    """Whether each episode ended in success; empty where the task does not say."""

    @property
    def mean_return(self) -> float:
        """Mean over the episodes."""
        return float(np.mean(self.returns))

    @property
    def standard_error(self) -> float:
        """Standard error of ``mean_return``; 0 for a single episode."""
        return float(np.std(self.returns, ddof=1) / math.sqrt(len(self.returns))) if len(self.returns) > 1 else 0.0

    @property
    def success_rate(self) -> float | None:
        """Share of successful episodes; None where the task does not say."""
        return float(np.mean(self.successes)) if self.successes else None

    def as_json(self) -> dict[str, Any]:
        """The numbers, for a file."""
        return {
            "episodes": len(self.returns),
            "mean_return": self.mean_return,
            "standard_error": self.standard_error,
            "success_rate": self.success_rate,
            "mean_length": float(np.mean(self.lengths)),
            "returns": list(self.returns),
            "lengths": list(self.lengths),
        }


def evaluation_envs(episodes: int) -> int:
    """How many environments play ``episodes`` episodes."""
    return min(episodes, MOST_ENVS)


def play_episodes(
    agent: Agent,
    vec_env: VecEnv,
    episodes: int,
    *,
    deterministic: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Plays episodes with the agent's memory carried from step to step and cleared between episodes.

    Environments that say which actions are allowed (``action_masks()``) are heard.

    Args:
        agent: who plays.
        vec_env: monitored environments, already seeded; each plays its share, the first ones one more where it is
            uneven.
        episodes: how many to play, at least 1.
        deterministic: take the most probable action instead of drawing one.
        stop: asked before each step; once it is true the evaluation is given up.

    Returns:
        The result in the order in which the episodes ended, or None when stopped.
    """
    shares = np.full(vec_env.num_envs, episodes // vec_env.num_envs)
    shares[: episodes % vec_env.num_envs] += 1
    returns: list[float] = []
    lengths: list[int] = []
    successes: list[bool] = []
    observations: Any = vec_env.reset()
    state: Any = None
    episode_start = np.ones(vec_env.num_envs, dtype=bool)
    predict: Callable[..., tuple[Any, Any]] = agent.predict
    masked = is_masking_supported(vec_env)
    while shares.any():
        if stop():
            return None
        masks = {"action_masks": get_action_masks(vec_env)} if masked else {}
        actions, state = predict(observations, state, episode_start, deterministic, **masks)
        observations, _, dones, infos = vec_env.step(actions)
        episode_start = np.asarray(dones, dtype=bool)
        for row in np.flatnonzero(episode_start & (shares > 0)):
            shares[row] -= 1
            returns.append(float(infos[row]["episode"]["r"]))
            lengths.append(int(infos[row]["episode"]["l"]))
            if "is_success" in infos[row]:
                successes.append(bool(infos[row]["is_success"]))
    return Evaluation(returns=tuple(returns), lengths=tuple(lengths), successes=tuple(successes))
