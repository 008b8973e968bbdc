"""How fast one environment is: what is tried before many of it are made, without torch, as it also runs in a worker."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym


def seconds_per_step(env: gym.Env[Any, Any], trial: float) -> float:
    """Mean seconds of a step with random actions, and of the resets that it leads to.

    Args:
        env: has been reset.
        trial: seconds that it is stepped for, or one step if that takes longer.
    """
    env.action_space.seed(0)
    began, steps = 0.0, -1
    while steps < 1 or time.perf_counter() - began < trial:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
        steps += 1
        if not steps:  # The first step may load or compile something.
            began = time.perf_counter()
    return (time.perf_counter() - began) / steps
