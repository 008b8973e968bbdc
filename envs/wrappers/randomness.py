"""Wrappers that change observations at random, with generators of their own.

The generator of an environment is left alone, so that the dynamics under a seed are the same with and without the
wrapper.  Our generators are children of the same seed that no environment uses, one for each random wrapper of a
chain: two Flickers do not blink together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from s7rl.envs.batched import IntArray, row_seeds, rows_to_reset
from s7rl.envs.random_tape import Distribution, RandomTape
from s7rl.envs.wrappers.vector import SameStepWrapper

_KEY = 0x57A9
"""Sets our streams apart from those that an environment spawns of its own seed, whose keys are 0, 1, ..."""
_TAPE_LENGTH = 1024


def wrapper_generator(seed: int | None, place: int) -> np.random.Generator:
    """Return the generator of a wrapper.

    Args:
        seed: of the environment; None: at random.
        place: how many random wrappers there are beneath it.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_KEY, place)))


class RandomObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Base of the single wrappers: they draw once for every observation."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._generator: np.random.Generator | None = None
        self._place = 0
        while isinstance(env, gym.Wrapper):
            self._place += isinstance(env, RandomObservation)
            env = env.env

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; ``seed`` seeds the wrapper, too."""
        observation, info = self.env.reset(seed=seed, options=options)
        if self._generator is None or seed is not None:
            self._generator = wrapper_generator(seed, self._place)
        return self._change(observation, self._generator), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        assert self._generator is not None, "Gymnasium's order is reset, then step"
        return self._change(observation, self._generator), reward, terminated, truncated, info

    def _change(self, observation: Any, generator: np.random.Generator) -> Any:
        raise NotImplementedError


class RandomObservationVector(SameStepWrapper):
    """Base of the vector wrappers: a row's numbers are those of the single wrapper, drawn ahead for many steps."""

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]], distribution: Distribution, count: int) -> None:
        """Wrap a vector environment.

        Args:
            envs: a vector environment.
            distribution: that of the numbers.
            count: numbers per observation.
        """
        super().__init__(envs)
        # Whole observations: the tape throws nothing away then, as the single wrapper does not either.
        self._tape = RandomTape(self.num_envs, distribution, count * max(1, _TAPE_LENGTH // count))
        self._count = count
        self._seeded = np.zeros(self.num_envs, dtype=np.bool_)
        self._all = np.arange(self.num_envs)
        self._place = 0
        while isinstance(envs, VectorWrapper):
            self._place += isinstance(envs, RandomObservationVector)
            envs = envs.env

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; ``seed`` seeds the wrapper, too."""
        seeds = row_seeds(self.num_envs, seed)
        for row in rows_to_reset(self.num_envs, options).tolist():
            if not self._seeded[row] or seeds[row] is not None:
                self._tape.restart(row, wrapper_generator(seeds[row], self._place))
                self._seeded[row] = True
        return super().reset(seed=seed, options=options)

    def _begin(self, rows: IntArray) -> None:
        self._keep(self._tape.take(rows, self._count), rows)

    def _advance(self, actions: Any, rewards: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        self._keep(self._tape.take(self._all, self._count), self._all)
        return rewards

    def _keep(self, numbers: NDArray[np.float64], rows: IntArray) -> None:
        """Keep what the numbers, [rows, count], make of the next observation of these rows."""
        raise NotImplementedError
