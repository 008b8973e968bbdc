"""What `bench.overlap` compares: every order takes the same steps.

Mutations that were tried: a half's actions sent in reverse order, or to the next environment each; the second half's
observations not received; a step of the first half kept with its next action.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.experiments.bench import overlap
from s7rl.experiments.bench.overlap import Rollouts


class Echo(gym.Env[NDArray[np.float32], np.int64]):
    """Shows how often it has been stepped, and by which action at last; the reward is that number of steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(100)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.count += 1
        return np.array([self.count, action], np.float32), float(self.count), False, False, {}


@pytest.fixture(scope="module")
def rollouts() -> Iterator[Rollouts]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "maker", lambda env: Echo)
        made = Rollouts("s7", "echo", 3)
    yield made
    made.close()


@pytest.mark.slow  # starts processes twice
@pytest.mark.parametrize("order", ["in_turn", "together", "freely"])
def test_every_order_takes_the_same_steps_and_keeps_what_belongs_together(rollouts: Rollouts, order: str) -> None:
    before = float(rollouts.observations[0, 0])
    rollouts.steps = 0
    getattr(rollouts, order)(5)
    buffer = rollouts.model.rollout_buffer
    assert isinstance(buffer.observations, torch.Tensor)
    seen, actions, rewards = (x[:5].numpy() for x in (buffer.observations, buffer.actions, buffer.rewards))
    counts = before + np.arange(5, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(seen[..., 0], counts.repeat(3, axis=1))
    np.testing.assert_array_equal(rewards, 1 + counts.repeat(3, axis=1))
    shown_after = np.concatenate([seen[1:], rollouts.observations[None]])[..., 1]
    np.testing.assert_array_equal(shown_after, actions)
    assert rollouts.steps == 5
