"""The T-maze by hand, by an oracle, by every memoryless policy, and by an independent slow twin."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s7rl.envs import find_task, make_env

ID = "s7rl/TMazePassive-v0"
RIGHT, UP, LEFT, DOWN = range(4)
MOVES = [(1, 0), (0, 1), (-1, 0), (0, -1)]


def make(corridor_length: int) -> gym.Env[Any, Any]:
    return make_env(ID, {"corridor_length": corridor_length})


def seed_of_cue(cue: int) -> int:
    env = make(1)
    return next(seed for seed in range(100) if env.reset(seed=seed)[0] == cue)


def play(env: gym.Env[Any, Any], seed: int, act: Callable[[int], int]) -> tuple[float, bool, int]:
    """Return the return, the success and the length of one episode."""
    observation, _ = env.reset(seed=seed)
    info: dict[str, Any] = {}
    total, steps, over = 0.0, 0, False
    while not over:
        observation, reward, terminated, truncated, info = env.step(act(observation))
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
    return total, info["is_success"], steps


@pytest.mark.parametrize(("cue", "arm"), [(0, UP), (1, DOWN)])
def test_rewards_and_observations_of_a_detour_are_those_counted_by_hand(cue: int, arm: int) -> None:
    env = make(4)
    assert env.reset(seed=seed_of_cue(cue))[0] == cue
    # action: observation, x after the move, reward
    expected = [
        (LEFT, cue, 0, -0.25),  # a wall; behind x = 1
        (RIGHT, 2, 1, -0.25),
        (UP, 2, 1, -0.25),  # a wall
        (RIGHT, 2, 2, -0.25),
        (RIGHT, 2, 3, 0.0),  # the last step, far from either arm
    ]
    for step, (action, observation, x, reward) in enumerate(expected):
        got = env.step(action)
        assert got[:2] == (observation, reward)
        assert got[2:4] == (step == 4, False)
        assert env.unwrapped.get_state()[0] == x  # type: ignore[attr-defined]
    assert got[4] == {"is_success": False}


@pytest.mark.parametrize(("cue", "arm"), [(0, UP), (1, DOWN)])
def test_only_the_arm_that_the_cue_named_pays(cue: int, arm: int) -> None:
    for last, reward in ((arm, 1.0), (UP + DOWN - arm, 0.0), (RIGHT, 0.0), (LEFT, 0.0)):
        env = make(3)
        env.reset(seed=seed_of_cue(cue))
        steps = [env.step(action) for action in (RIGHT, RIGHT, RIGHT, last)]
        assert [step[1] for step in steps] == [0.0, 0.0, 0.0, reward]
        assert [step[0] for step in steps[:3]] == [2, 2, 3]
        assert steps[-1][0] == (2 if last == LEFT else 3)
        assert steps[-1][2:] == (True, False, {"is_success": reward == 1.0})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 5),
    seed=st.integers(0, 1000),
    actions=st.lists(st.sampled_from([RIGHT, RIGHT, RIGHT, UP, LEFT, DOWN]), min_size=6, max_size=6),
)
def test_the_maze_is_the_map_that_memory_rl_draws(length: int, seed: int, actions: list[int]) -> None:
    # A twin of the source's rules: a set of free cells instead of arithmetic on coordinates.
    free = {(x, 0) for x in range(length + 1)} | {(length, 1), (length, -1)}
    env = make(length)
    cue, _ = env.reset(seed=seed)
    x = y = 0
    for time, action in enumerate(actions[: length + 1], start=1):
        target = (x + MOVES[action][0], y + MOVES[action][1])
        x, y = target if target in free else (x, y)
        last = time == length + 1
        reward = float(y == (-1 if cue else 1)) if last else -float(x < time) / length
        observation = cue if x == 0 else 3 if x == length else 2
        assert env.step(action)[:3] == (observation, reward, last)


@pytest.mark.parametrize("length", [1, 2, 17, 300])
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(length: int) -> None:
    task = find_task(ID, {"corridor_length": length})
    for seed in range(6):
        env = make(length)

        def oracle(_: int, env: gym.Env[Any, Any] = env) -> int:
            x, _, goal_y, _ = env.unwrapped.get_state()  # type: ignore[attr-defined]
            return RIGHT if x < length else UP if goal_y == 1 else DOWN

        assert play(env, seed, oracle) == (task.optimal_return, True, task.episode_length)


def test_no_memoryless_policy_beats_the_score_in_the_registry() -> None:
    length = 3
    task = find_task(ID, {"corridor_length": length})
    env, seeds = make(length), [seed_of_cue(0), seed_of_cue(1)]
    # A stochastic policy cannot beat the bound either (see the proof in the card); these are all deterministic ones.
    scores = [
        np.mean([play(env, seed, policy.__getitem__)[0] for seed in seeds])
        for policy in itertools.product(range(4), repeat=4)
    ]
    assert max(scores) == task.memoryless_return == 0.5


@pytest.mark.parametrize("length", [1, 2, 4])
def test_the_random_score_is_the_mean_over_all_action_sequences(length: int) -> None:
    task = find_task(ID, {"corridor_length": length})
    env, totals = make(length), []
    for seed in (seed_of_cue(0), seed_of_cue(1)):
        for actions in itertools.product(range(4), repeat=length + 1):
            sequence = iter(actions)
            totals.append(play(env, seed, lambda _, sequence=sequence: next(sequence))[0])  # type: ignore[misc]
    assert np.mean(totals) == pytest.approx(task.random_return, abs=1e-12)


def test_both_cues_come_equally_often() -> None:
    env = make(1)
    env.reset(seed=0)
    cues = [env.reset()[0] for _ in range(1000)]
    assert 430 <= sum(cues) <= 570  # 4.4 standard deviations, and the seed is fixed


def test_the_ansi_picture_shows_the_agent_and_the_goal() -> None:
    env = make_env(ID, {"corridor_length": 3}, render_mode="ansi")
    env.reset(seed=seed_of_cue(0))
    assert env.render() == "   G\nA...\n   .\n"
    for action in (RIGHT, RIGHT, RIGHT, DOWN):
        env.step(action)
    assert env.render() == "   G\n....\n   A\n"
