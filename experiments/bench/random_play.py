"""Environments side by side under random actions: what is timed, and the returns that come of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from jaxtyping import Bool, Float

from s7rl.envs import has_batched_engine, make_batched, make_env
from s7rl.experiments.bench.measuring import Clock

BATCHED = "batched"
LOOP = "loop"
"""How environments are stepped: by a batched engine, or one by one in Gymnasium's ``SyncVectorEnv``."""
LARGEST_LEAP = 8
"""A short run is no good estimate of one that is so many times as long."""


def make_envs(env_id: str, n_envs: int, budget_seconds: float) -> tuple[VectorEnv[Any, Any, Any], str]:
    """Makes environments side by side.

    Args:
        env_id: which.
        n_envs: how many; fewer where single ones take longer than the budget to make, since in a loop their number
            hardly matters.
        budget_seconds: the first of them, whose package may have to be imported, does not count.

    Returns:
        The environments and how they are stepped, ``BATCHED`` or ``LOOP``. Either resets an episode in the step that
        ends it.
    """
    if has_batched_engine(env_id):
        return make_batched(env_id, n_envs), BATCHED
    singles = [make_env(env_id)]
    began = time.perf_counter()
    while len(singles) < n_envs and time.perf_counter() - began < budget_seconds:
        singles.append(make_env(env_id))
    makers = [lambda env=env: env for env in singles]
    return SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.SAME_STEP), LOOP


class RandomPlay:
    """Steps environments with actions drawn beforehand, and keeps the returns of their episodes."""

    steps: int = 1
    """How many the environments take at a time."""

    def __init__(self, envs: VectorEnv[Any, Any, Any], seed: int) -> None:
        """Begins the first episodes.

        Args:
            envs: environments that reset an episode in the step that ends it.
            seed: of the first environment, and of the actions.
        """
        self.envs = envs
        self._actions: list[Any] = []
        self._taken: list[tuple[Any, Any, Any]] = []
        self._under_way = np.zeros(envs.num_envs)
        self._returns: list[list[float]] = [[] for _ in range(envs.num_envs)]
        envs.reset(seed=seed)
        envs.action_space.seed(seed)

    def draw(self) -> None:
        """Draws the actions of the next steps, and adds up the rewards of the last."""
        self._add_up()
        self._actions = [self.envs.action_space.sample() for _ in range(self.steps)]

    def play(self) -> None:
        """Takes the steps; this is what is timed, and does nothing else."""
        step, taken = self.envs.step, self._taken
        for actions in self._actions:
            _, rewards, terminated, truncated, _ = step(actions)
            taken.append((rewards, terminated, truncated))

    def calibrate(self, seconds: float, *, clock: Clock = time.perf_counter) -> None:
        """Chooses ``steps`` so that they take about so long, at least 1."""
        while True:
            self.draw()
            began = clock()
            self.play()
            factor = seconds / max(clock() - began, 1e-9)
            self.steps = max(1, int(self.steps * min(factor, LARGEST_LEAP)))
            if factor < LARGEST_LEAP:
                return

    def returns(self) -> Float[np.ndarray, " episodes"]:
        """Returns of the first episodes of every environment, as many of each as the slowest has finished.

        With all that were finished, short episodes would count for more than they are: more of them fit.
        """
        self._add_up()
        fewest = min(map(len, self._returns))
        return np.array([its[:fewest] for its in self._returns]).ravel()

    def _add_up(self) -> None:
        if not self._taken:
            return
        rewards, terminated, truncated = (np.array(column) for column in zip(*self._taken, strict=True))
        self._taken.clear()
        self._add_up_steps(rewards, terminated | truncated)

    def _add_up_steps(self, rewards: Float[np.ndarray, "T B"], ended: Bool[np.ndarray, "T B"]) -> None:
        totals = self._under_way + rewards.cumsum(axis=0)
        for row, its in enumerate(self._returns):
            at_ends = totals[ended[:, row], row]
            its += np.diff(at_ends, prepend=0.0).tolist()
            self._under_way[row] = totals[-1, row] - (at_ends[-1] if at_ends.size else 0.0)
