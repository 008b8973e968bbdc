"""The MiniGrid adapter against a slow decoder, and the tabulated Memory engine against MiniGrid."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from s7rl.envs import find_task, make_batched, make_env

MEMORY = "MiniGrid-MemoryS11-v0"
LEFT, TURN_RIGHT, FORWARD = range(3)


def one_hot(code: int, size: int) -> list[float]:
    assert 0 <= code < size
    return [float(code == place) for place in range(size)]


def slow_vector(raw: dict[str, Any]) -> list[float]:
    """Encode an observation entry by entry, from the numbers in MiniGrid's documentation."""
    vector = []
    width, height, _ = raw["image"].shape
    for x, y in itertools.product(range(width), range(height)):
        kind, colour, state = (int(code) for code in raw["image"][x, y])
        vector += one_hot(kind, 11) + one_hot(colour, 6) + one_hot(state, 3)
    return vector + one_hot(int(raw["direction"]), 4)


@pytest.mark.parametrize(
    ("env_id", "kwargs", "size"),
    [(MEMORY, {}, 984), (MEMORY, {"agent_view_size": 3}, 184), ("MiniGrid-DoorKey-5x5-v0", {}, 984)],
)
def test_the_vector_is_every_code_of_the_view_one_hot_then_the_direction(
    env_id: str, kwargs: dict[str, Any], size: int
) -> None:
    env = make_env(env_id, kwargs)
    assert env.observation_space == gym.spaces.Box(0.0, 1.0, (size,), np.float32)
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    for _ in range(60):
        raw = env.unwrapped.gen_obs()  # type: ignore[attr-defined]
        np.testing.assert_array_equal(observation, np.array(slow_vector(raw), dtype=np.float32))
        assert observation.dtype == np.float32
        observation, _, terminated, truncated, _ = env.step(int(rng.integers(6)))
        if terminated or truncated:
            observation, _ = env.reset()


def oracle_plan(states: np.ndarray, size: int) -> list[int]:
    """Return a shortest list of actions to the matching object, by a search over the hidden state's rules."""
    x, y, direction, end, cue, order, _ = (int(number) for number in states)
    middle = size // 2
    # The upper object is a ball for order 0 and a key for order 1; cue 0 is a key, cue 1 a ball.
    upper = cue != order
    goal = (end + 1, middle - 1 if upper else middle + 1)
    free = {(column, middle) for column in range(1, end + 2)} | {(end + 1, middle - 1), (end + 1, middle + 1)}
    start = (x, y, direction)
    paths: dict[tuple[int, int, int], list[int]] = {start: []}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        x, y, direction = node
        if (x, y) == goal:
            return paths[node]
        step_x, step_y = [(1, 0), (0, 1), (-1, 0), (0, -1)][direction]
        ahead = (x + step_x, y + step_y)
        for action, place in (
            (LEFT, (x, y, (direction - 1) % 4)),
            (TURN_RIGHT, (x, y, (direction + 1) % 4)),
            (FORWARD, (*(ahead if ahead in free else (x, y)), direction)),
        ):
            if place not in paths:
                paths[place] = [*paths[node], action]
                queue.append(place)
    raise AssertionError("the goal cannot be reached")


@pytest.mark.parametrize(("env_id", "size"), [("MiniGrid-MemoryS7-v0", 7), ("MiniGrid-MemoryS13Random-v0", 13)])
def test_the_hidden_state_names_the_matching_object_and_success_is_reported(env_id: str, size: int) -> None:
    envs = make_batched(env_id, 1)
    envs.reset(seed=0)
    wins = set()
    for _ in range(12):
        state = envs.get_state()[0]  # type: ignore[attr-defined]
        plan = oracle_plan(state, size)
        for step, action in enumerate(plan, start=1):
            _, rewards, terminated, truncated, infos = envs.step(np.array([action]))
            assert terminated[0] == (step == len(plan))
        assert rewards[0] == pytest.approx(1 - 0.9 * len(plan) / (5 * size**2))
        assert infos["is_success"][0]
        assert not truncated[0]
        wins.add((int(state[4]), int(state[5])))
    assert len(wins) == 4  # every pair of cue and order has been seen


def test_the_wrong_object_ends_the_episode_without_success() -> None:
    env = make_env(MEMORY)
    results = set()
    for seed in range(8):
        env.reset(seed=seed)
        over = False
        while not over:
            # Down the hallway, then always to the left: a coin's chance.
            at_split = env.unwrapped.agent_pos[0] == 9  # type: ignore[attr-defined]
            turn = at_split and env.unwrapped.agent_dir == 0  # type: ignore[attr-defined]
            _, reward, terminated, truncated, info = env.step(LEFT if turn else FORWARD)
            over = terminated or truncated
            assert over == ("is_success" in info)
        assert info["is_success"] == (float(reward) > 0)
        results.add(info["is_success"])
    assert results == {True, False}


def test_random_actions_score_what_the_registry_says() -> None:
    envs, rng, num_envs = make_batched("MiniGrid-MemoryS7-v0", 500), np.random.default_rng(0), 500
    envs.reset(seed=0)
    alive, returns = np.ones(num_envs, dtype=np.bool_), np.zeros(num_envs)
    while alive.any():
        _, rewards, terminated, truncated, _ = envs.step(rng.integers(7, size=num_envs))
        returns += rewards * alive
        alive &= ~(terminated | truncated)
    # One standard error is 0.014.
    assert returns.mean() == pytest.approx(find_task("MiniGrid-MemoryS7-v0").random_return, abs=0.06)


def test_a_mission_that_varies_in_spite_of_its_space_is_refused() -> None:
    env = make_env(MEMORY, {"disable_env_checker": True})
    env.reset(seed=0)
    env.unwrapped.mission = "go home"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^mission \('go home'\) is not one of the 1 that the environment declares"):
        env.step(LEFT)


def test_the_adapter_refuses_what_is_not_minigrid() -> None:
    from s7rl.envs.wrappers.minigrid import MiniGridVectorObservation

    with pytest.raises(ValueError, match="not MiniGrid's; pass an unwrapped MiniGrid environment"):
        MiniGridVectorObservation(gym.make("CartPole-v1"))
