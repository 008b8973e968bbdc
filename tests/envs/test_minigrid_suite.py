"""MiniGrid and BabyAI: what the adapter adds, the larger mazes and their scores.

Mutation tried: every end called a success.
"""

from __future__ import annotations

import numpy as np
import pytest

from s7rl.envs import find_task, make_batched, make_env
from s7rl.envs.suites import minigrid

SAMPLE = (
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
    "MiniGrid-Fetch-8x8-N3-v0",
    "MiniGrid-LockedRoom-v0",
    "MiniGrid-MemoryS13Random-v0",
    "MiniGrid-Playground-v0",
    "MiniGrid-PutNear-6x6-N2-v0",
    "BabyAI-GoToLocal-v0",
    "BabyAI-PutNextS5N2Carrying-v0",
    "BabyAI-BossLevel-v0",
)


@pytest.mark.parametrize("env_id", SAMPLE)
def test_the_vector_has_a_missions_places_and_an_episodes_end_tells_of_success(env_id: str) -> None:
    env = make_env(env_id, {"max_steps": 40})
    size = env.observation_space.shape[0]  # type: ignore[index]
    assert size == 984 + 146 if env_id.startswith("BabyAI-") else 984 <= size <= 984 + 18
    rng = np.random.default_rng(0)
    env.reset(seed=3)
    ends = 0
    for _ in range(100):
        _, reward, terminated, truncated, info = env.step(int(rng.integers(7)))
        assert ("is_success" in info) == (terminated or truncated)
        if terminated or truncated:
            assert info["is_success"] == (float(reward) > 0)
            env.reset()
            ends += 1
    assert ends > 1


def test_the_larger_mazes_are_minigrids_and_have_an_engine() -> None:
    assert not {f"MiniGrid-Memory{name}-v0" for name in minigrid.NATIVE_MEMORY} & set(minigrid.OWN)
    for size in (15, 17, 21, 31, 41, 51, 61, 71, 81, 91, 101):
        env_id = f"MiniGrid-MemoryS{size}-v0"
        maze = make_env(env_id).unwrapped
        assert type(maze).__module__ == "minigrid.envs.memory"
        assert (maze.size, maze.random_length, maze.max_steps) == (size, False, 5 * size**2)  # type: ignore[attr-defined]
        assert make_batched(env_id, 2).reset(seed=0)[0].shape == (2, 984)
        assert find_task(env_id).episode_length == 5 * size**2


def test_scores_of_a_memory_environment_follow_its_arguments() -> None:
    small = find_task("MiniGrid-MemoryS11-v0", {"agent_view_size": 3})
    # One who knows the maze needs 13.5 steps, one who has to find out 14.375; a guess walks 6.5.
    assert small.optimal_return == pytest.approx(1 - 0.9 * 14.375 / 605)
    assert small.memoryless_return == pytest.approx(0.5 * (1 - 0.9 * 6.5 / 605))
    assert small.random_return == pytest.approx(find_task("MiniGrid-MemoryS11-v0").random_return, abs=5e-5)
    assert find_task("MiniGrid-MemoryS11-v0", {"agent_view_size": 9}).memoryless_return is None
    hasty = find_task("MiniGrid-MemoryS11-v0", {"max_steps": 20})
    assert (hasty.episode_length, hasty.optimal_return, hasty.memoryless_return) == (20, None, None)
    assert hasty.random_return == pytest.approx(0.02, abs=0.02)
    large = find_task("MiniGrid-MemoryS13-v0", {"size": 101, "agent_view_size": 5})
    assert (large.optimal_return, large.memory_span) == (None, 202)
    assert find_task("MiniGrid-MemoryS13-v0", {"size": 17}).optimal_return == pytest.approx(0.9895, abs=5e-5)


# Seen to fail it: the limit of the mission that the level has when it is made; a sequence counted as one way.
@pytest.mark.parametrize(
    ("env_id", "longest"),
    [
        ("BabyAI-GoToSeqS5R2-v0", 25 * 4 * 4),  # 2 x 2 rooms of 5 x 5; go to, twice at once, and both again
        ("BabyAI-SynthS5R2-v0", 25 * 6 * 2),  # one order; to put a thing next to another is two ways
        ("BabyAI-PickupLoc-v0", 64),
        ("BabyAI-GoToLocal-v0", 64),
    ],
)
def test_the_longest_episode_is_that_of_the_longest_mission(env_id: str, longest: int) -> None:
    assert find_task(env_id).episode_length == longest
    env = make_env(env_id)
    limits = set()
    for seed in range(20):
        env.reset(seed=seed)
        limits.add(env.unwrapped.max_steps)  # type: ignore[attr-defined]
    assert max(limits) == longest
