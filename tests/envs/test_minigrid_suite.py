"""MiniGrid and BabyAI: every id can be made, acts, and repeats under a seed.

Mutation tried: every end called a success.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from s7rl.envs import find_task, make_batched, make_env
from s7rl.envs.suites import minigrid

importlib.import_module("minigrid")
# These need pictures that MiniGrid's package on PyPI lacks, and imageio.
WITHOUT_FILES = tuple(env_id for env_id in gym.registry if env_id.startswith("MiniGrid-WFC-"))
IDS = tuple(
    env_id for env_id in gym.registry if env_id.startswith(("MiniGrid-", "BabyAI-")) and env_id not in WITHOUT_FILES
)
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


def test_all_of_minigrid_is_here() -> None:
    assert sum(env_id.startswith("BabyAI-") for env_id in IDS) >= 96
    assert sum(env_id.startswith("MiniGrid-") for env_id in IDS) + len(WITHOUT_FILES) >= 82
    assert len(WITHOUT_FILES) == 6
    assert set(SAMPLE) <= set(IDS)


def trajectory(env: gym.Env[Any, Any], seed: int, steps: int = 60) -> list[bytes]:
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=seed)
    seen = [observation.tobytes()]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(int(rng.integers(env.action_space.n)))  # type: ignore[attr-defined]
        assert ("is_success" in info) == (terminated or truncated)
        seen += [observation.tobytes(), np.float64(reward).tobytes()]
        if terminated or truncated:
            assert info["is_success"] == (float(reward) > 0)
            observation, _ = env.reset()
            seen.append(observation.tobytes())
        assert env.observation_space.contains(observation)
    return seen


@pytest.mark.parametrize("env_id", IDS)
def test_equal_seeds_give_equal_episodes_and_other_seeds_others(env_id: str) -> None:
    env = make_env(env_id, {"disable_env_checker": True})
    size = env.observation_space.shape[0]  # type: ignore[index]
    assert size == 984 + 146 if env_id.startswith("BabyAI-") else 984 <= size <= 984 + 18
    first = trajectory(env, seed=3)
    assert first == trajectory(make_env(env_id, {"disable_env_checker": True}), seed=3)
    if "Empty" not in env_id and "DistShift" not in env_id:
        assert any(trajectory(env, seed, steps=10) != first[: 1 + 2 * 10] for seed in range(4, 8))
    env.close()


@pytest.mark.parametrize("env_id", SAMPLE)
def test_the_checkers_of_gymnasium_and_stable_baselines_are_content(env_id: str) -> None:
    with warnings.catch_warnings():
        # It recommends to check without wrappers, but the wrapper is what we check.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(make_env(env_id, {"disable_env_checker": True}), skip_render_check=True)
    sb3_check_env(make_env(env_id, {"disable_env_checker": True}))


@pytest.mark.parametrize("env_id", WITHOUT_FILES)
def test_what_lacks_its_pictures_says_so_in_one_line(env_id: str) -> None:
    with pytest.raises(ValueError, match=f"^{env_id} cannot be used: .* needs pictures of patterns, which") as error:
        make_env(env_id)
    assert "\n" not in str(error.value)


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
