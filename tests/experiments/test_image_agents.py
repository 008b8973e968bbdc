"""Agents that see images, alone and beside numbers, are trained, evaluated, watched and inspected.

Mutations seen to fail: spaces compared before channels are moved first; bounds compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from s7rl.experiments.cli import main

TINY = ["--n-envs", "2", "--n-steps", "8", "--batch-size", "16", "--d-model", "8", "--d-state", "8", "--steps", "32"]
TINY += ["--workers", "loop", "--worker-timeout", "0"]  # to start processes would take most of the time
IMAGE = spaces.Box(0, 255, (40, 44, 3), np.uint8)


class Pictures(gym.Env[Any, Any]):
    """Noise, six times."""

    action_space = spaces.Discrete(2)

    def __init__(self, beside: bool = False) -> None:
        number = spaces.Box(0, 1, (1,), np.float32)
        self.observation_space = spaces.Dict({"image": IMAGE, "number": number}) if beside else IMAGE
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.observation_space.sample(), float(action), self.steps == 6, False, {}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    gym.register("Pictures-v0", lambda **options: Pictures(**options))
    yield
    del gym.registry["Pictures-v0"]


@pytest.mark.parametrize("beside", ["False", "True"])
def test_an_agent_of_images_is_trained_evaluated_watched_and_inspected(
    beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*TINY, "--env-kwargs", f"beside={beside}", "--eval-episodes", "2", "--out", "run"]
    assert main(["train", "Pictures-v0", *words]) == 0
    assert main(["evaluate", "run", "--episodes", "2", "--max-steps", "3"]) == 0
    assert main(["watch", "run", "--episodes", "1"]) == 0
    assert main(["inspect", "run", "--episodes", "4"]) == 0


def test_an_agent_plays_shorter_episodes_though_the_bounds_of_what_it_sees_follow_from_their_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrapper = ["--wrappers", "gymnasium.wrappers:TimeAwareObservation(normalize_time=False)"]
    words = [*TINY, *wrapper, "--env-kwargs", "max_episode_steps=20", "--eval-episodes", "0", "--out", "run"]
    assert main(["train", "CartPole-v1", *words]) == 0
    assert main(["evaluate", "run", "--episodes", "2", "--max-steps", "3"]) == 0
