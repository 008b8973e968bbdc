"""Success over several episodes, of the tasks that count right answers.

Mutations that were seen to fail this test: the right answers not set to 0 at a reset, of the card games or of recall.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from s7rl.envs import make_batched


@pytest.mark.parametrize(
    ("env_id", "kwargs", "length"),
    [
        ("s7rl/RepeatFirst-v0", {"num_decks": 1}, 51),
        ("s7rl/RepeatPrevious-v0", {"num_decks": 1, "k": 4}, 51),
        ("s7rl/AssociativeRecall-v0", {"num_pairs": 2, "num_keys": 2, "num_values": 2, "num_queries": 2}, 6),
    ],
)
def test_the_success_of_one_episode_is_not_carried_into_the_next(
    env_id: str, kwargs: dict[str, Any], length: int
) -> None:
    envs = make_batched(env_id, 2, kwargs)
    num_actions = int(envs.single_action_space.n)  # type: ignore[attr-defined]
    envs.reset(seed=0)
    for success in (True, False, True):
        for _ in range(length):
            due = envs.get_state()[:, 0]  # type: ignore[attr-defined]
            _, _, terminated, _, infos = envs.step(due if success else (due + 1) % num_actions)
        assert terminated.all()
        np.testing.assert_array_equal(infos["is_success"], success)
