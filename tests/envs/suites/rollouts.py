"""What the tests of all suites do: play at random, compare two plays, train for a moment, hide a package."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np

from s7rl.agents import RecurrentPPO, make_vec
from s7rl.envs import make_env

STEPS = 60


def play(env: gym.Env[Any, Any], seed: int, steps: int = STEPS) -> list[Any]:
    """Take random steps and return all that was seen; observations are held against their space."""
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    record: list[Any] = [observation]
    for _ in range(steps):
        assert env.observation_space.contains(observation), f"{observation!r} is not in {env.observation_space}"
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(float(reward))
        assert type(terminated) is bool
        assert type(truncated) is bool
        record += [observation, float(reward), terminated, truncated]
        if terminated or truncated:
            observation, _ = env.reset()
            record.append(observation)
    return record


def same(left: Any, right: Any) -> bool:
    """Return whether two records are equal, number for number."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return bool(np.array_equal(left, right))


def check_smoke_and_seeding(env_id: str) -> None:
    """Play an environment: it stays in its spaces, a seed repeats, and another seed is another play."""
    first, second = make_env(env_id), make_env(env_id)
    record = play(first, 7)
    assert len(record) > STEPS
    assert same(record, play(second, 7))
    assert same(record, play(first, 7))
    assert not same(record, play(second, 8))
    first.close()
    second.close()


def check_training(env_id: str, policy: str) -> None:
    """Train on two environments for a few steps."""
    env = make_vec(env_id, 2, seed=0)
    model = RecurrentPPO(
        policy,
        env,
        n_steps=4,
        n_epochs=1,
        device="cpu",
        policy_kwargs={"d_model": 8, "d_state": 4},
    )
    model.learn(16)
    assert model.num_timesteps == 16
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    env.close()


def error_without(package: str, env_id: str) -> str:
    """Return what ``make_env`` says in a process that has no such package: the error's type and text."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from s7rl.envs import make_env\n"
        f"try: make_env({env_id!r})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    # Warnings stay warnings there: what is tested is the message.
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    return done.stdout.strip()
