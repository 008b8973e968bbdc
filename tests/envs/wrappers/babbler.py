"""An environment without a task: whatever spaces are asked for, random observations, rewards and episode lengths."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

BOX = spaces.Box(np.array([-1, 0.5, -np.inf], np.float32), np.array([1, 2, np.inf], np.float32))
OBSERVATIONS: Mapping[str, spaces.Space[Any]] = {
    "box": BOX,
    "matrix": spaces.Box(-3.0, 3.0, (2, 2), np.float64),
    "image": spaces.Box(0, 255, (4, 5, 3), np.uint8),
    "discrete": spaces.Discrete(3, start=-1),
    "multidiscrete": spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.array([[1, 0], [0, -2]])),
    "multibinary": spaces.MultiBinary([2, 3]),
    "dict": spaces.Dict(a=BOX, b=spaces.Box(-5, 5, (2,), np.int64)),
    "tuple": spaces.Tuple([BOX, spaces.Discrete(2), spaces.Box(-1.0, 1.0, (2,), np.float32)]),
}
ACTIONS: Mapping[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(4, start=2),
    "box": spaces.Box(np.array([-1, 0.5], np.float32), np.array([1, 2], np.float32)),
    "multidiscrete": spaces.MultiDiscrete([2, 3]),
    "multibinary": spaces.MultiBinary(3),
}


class Babbler(gym.Env[Any, Any]):
    """Everything is drawn from the environment's own generator; ``info`` is empty."""

    def __init__(self, observations: str = "box", actions: str = "discrete", mean_length: float = 4.0) -> None:
        self.observation_space = copy.deepcopy(OBSERVATIONS[observations])
        self.action_space = copy.deepcopy(ACTIONS[actions])
        self.ending = 1 / mean_length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        terminated, truncated = (bool(self.np_random.random() < self.ending / 2) for _ in range(2))
        return self._observation(), float(self.np_random.normal()), terminated, truncated, {}

    def _observation(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()


def babblers(num_envs: int, observations: str, actions: str) -> VectorEnv[Any, Any, Any]:
    """Some of them, stepped by Gymnasium's own vector environment."""
    makers = [partial(Babbler, observations, actions)] * num_envs
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def assert_same(left: Any, right: Any) -> None:
    """Equal structure, types and numbers."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_same(*pair)
    else:
        left, right = np.asarray(left), np.asarray(right)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
