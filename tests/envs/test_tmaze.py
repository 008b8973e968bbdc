"""The T-maze by hand, by an oracle, by every memoryless policy, and by an independent slow twin."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s7rl.envs import find_task, make_batched, make_env
from tests.envs.one_episode import play_single

ID = "s7rl/TMazePassive-v0"
RIGHT, UP, LEFT, DOWN = range(4)
MOVES = [(1, 0), (0, 1), (-1, 0), (0, -1)]


def make(corridor_length: int) -> gym.Env[Any, Any]:
    return make_env(ID, {"corridor_length": corridor_length})


def seed_of_cue(cue: int) -> int:
    env = make(1)
    return next(seed for seed in range(100) if env.reset(seed=seed)[0] == cue)


def twin(length: int, cue: int, x: int, action: int) -> tuple[int, int, Fraction]:
    """Return x, y and the reward after a step: the same rules as a set of free cells, without arithmetic on arrays."""
    free = {(x, 0) for x in range(length + 1)} | {(length, 1), (length, -1)}
    target = (x + MOVES[action][0], MOVES[action][1])
    new_x, y = target if target in free else (x, 0)
    if y != 0:
        return new_x, y, Fraction(y == (-1 if cue else 1))
    return new_x, y, Fraction(0) if new_x > x else Fraction(-1, length)


def twin_symbol(length: int, cue: int, x: int) -> int:
    return cue if x == 0 else 3 if x == length else 2


def mean_return(length: int, policy: Sequence[Sequence[Any]]) -> Any:
    """Return the mean return of a memoryless agent, by backward induction over x; ``policy[symbol][action]``."""
    total: Any = 0
    for cue in (0, 1):
        steps = [[twin(length, cue, x, action) for action in range(4)] for x in range(length + 1)]
        chances = [policy[twin_symbol(length, cue, x)] for x in range(length + 1)]
        values: list[Any] = [0] * (length + 1)
        for _ in range(2 * length + 2):
            gains = [[reward + (0 if y else values[new_x]) for new_x, y, reward in row] for row in steps]
            values = [sum(map(operator.mul, *pair)) for pair in zip(chances, gains, strict=True)]
        total += values[0]
    return total / 2


@pytest.mark.parametrize(("cue", "arm"), [(0, UP), (1, DOWN)])
def test_rewards_and_observations_of_a_detour_are_those_counted_by_hand(cue: int, arm: int) -> None:
    env = make(4)
    assert env.reset(seed=seed_of_cue(cue))[0] == cue
    # action: observation, x after the move, reward
    expected = [
        (LEFT, cue, 0, -0.25),  # a wall
        (RIGHT, 2, 1, 0.0),
        (UP, 2, 1, -0.25),  # a wall
        (DOWN, 2, 1, -0.25),  # a wall
        (LEFT, cue, 0, -0.25),  # back, where the cue is shown again
        (RIGHT, 2, 1, 0.0),  # the same step once more, and again for nothing
        (RIGHT, 2, 2, 0.0),
        (RIGHT, 2, 3, 0.0),
        (RIGHT, 3, 4, 0.0),
        (arm, 3, 4, 1.0),  # the tenth step of ten, in time
    ]
    for step, (action, observation, x, reward) in enumerate(expected, start=1):
        assert env.step(action) == (observation, reward, step == 10, False, {"is_success": True} if step == 10 else {})
        assert env.unwrapped.get_state()[[0, 3]].tolist() == [x, step]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("cue", "arm"), [(0, UP), (1, DOWN)])
def test_the_first_arm_entered_ends_the_episode_and_pays_if_the_cue_named_it(cue: int, arm: int) -> None:
    for last, reward in ((arm, 1.0), (UP + DOWN - arm, 0.0)):
        env = make(2)
        env.reset(seed=seed_of_cue(cue))
        # At the junction: a wall, a step back and the way there again.
        steps = [env.step(action) for action in (RIGHT, RIGHT, RIGHT, LEFT, RIGHT)]
        assert [step[0] for step in steps] == [2, 3, 3, 2, 3]
        assert [step[1] for step in steps] == [0.0, 0.0, -0.5, -0.5, 0.0]
        assert not any(step[2] or step[3] or step[4] for step in steps)
        assert env.step(last) == (3, reward, True, False, {"is_success": reward == 1.0})


# Going right: three of the eight steps advance, then there is a wall.
@pytest.mark.parametrize(("action", "total"), [(RIGHT, -5 / 3), (LEFT, -8 / 3), (UP, -8 / 3)])
def test_an_episode_without_an_arm_is_cut_after_twice_the_steps_it_needs(action: int, total: float) -> None:
    for cue in (0, 1):
        env = make(3)
        env.reset(seed=seed_of_cue(cue))
        steps = [env.step(action) for _ in range(8)]
        assert sum(float(step[1]) for step in steps) == pytest.approx(total)
        assert [step[2] for step in steps] == [False] * 8
        assert [step[3] for step in steps] == [False] * 7 + [True]
        assert steps[-1][4] == {"is_success": False}


@given(
    length=st.integers(1, 5),
    seed=st.integers(0, 1000),
    actions=st.lists(st.sampled_from([RIGHT, RIGHT, RIGHT, UP, LEFT, DOWN]), min_size=12, max_size=12),
)
def test_every_step_is_that_of_a_twin_that_walks_on_a_map(length: int, seed: int, actions: list[int]) -> None:
    env = make(length)
    cue, _ = env.reset(seed=seed)
    x = 0
    for time, action in enumerate(actions, start=1):
        x, y, reward = twin(length, cue, x, action)
        truncated = y == 0 and time == 2 * length + 2
        assert env.step(action)[:4] == (twin_symbol(length, cue, x), float(reward), y != 0, truncated)
        if y or truncated:
            break


@pytest.mark.parametrize("length", [1, 2, 17, 300])
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(length: int) -> None:
    task = find_task(ID, {"corridor_length": length})
    for seed in range(6):
        env = make(length)

        def oracle(_: int, env: gym.Env[Any, Any] = env) -> int:
            x, _, goal_y, _ = env.unwrapped.get_state()  # type: ignore[attr-defined]
            return RIGHT if x < length else UP if goal_y == 1 else DOWN

        assert play_single(env, seed, oracle) == (task.optimal_return, True, length + 1)


@pytest.mark.parametrize("length", [1, 3])
def test_no_deterministic_memoryless_policy_beats_the_score_in_the_registry(length: int) -> None:
    task = find_task(ID, {"corridor_length": length})
    env, seeds = make(length), [seed_of_cue(0), seed_of_cue(1)]
    scores = []
    for policy in itertools.product(range(4), repeat=4):
        scores.append(np.mean([play_single(env, seed, policy.__getitem__)[0] for seed in seeds]))
        # What the next test relies on.
        chances = [[int(action == chosen) for action in range(4)] for chosen in policy]
        assert scores[-1] == pytest.approx(float(mean_return(length, chances)), abs=1e-12)
    assert max(scores) == task.memoryless_return == 0.5


@pytest.mark.parametrize("length", [1, 2])
def test_no_stochastic_memoryless_policy_beats_it_either(length: int) -> None:
    # All mixtures of the four actions in quarters at the junction; before it, agents that may wait under one cue.
    quarters = [Fraction(count, 4) for count in range(5)]
    junctions = [chances for chances in itertools.product(quarters, repeat=4) if sum(chances) == 1]
    ways = [[share, 0, 1 - share, 0] for share in quarters]
    policies = itertools.product(ways[2:], ways[::2], ways[3:], junctions)
    scores = [mean_return(length, policy) for policy in policies]
    assert len(scores) == 3 * 3 * 2 * 35
    assert max(scores) == Fraction(1, 2)


@pytest.mark.parametrize("length", [1, 2])
def test_the_random_score_is_the_mean_over_all_action_sequences(length: int) -> None:
    task = find_task(ID, {"corridor_length": length})
    sequences = np.array(list(itertools.product(range(4), repeat=2 * length + 2)))
    totals = np.zeros((2, len(sequences)))
    for cue in (0, 1):
        envs = make_batched(ID, len(sequences), {"corridor_length": length})
        envs.reset(seed=[seed_of_cue(cue)] * len(sequences))  # type: ignore[arg-type]
        running = np.ones(len(sequences), dtype=np.bool_)
        for actions in sequences.T:
            _, rewards, terminated, truncated, _ = envs.step(actions)
            totals[cue] += rewards * running
            running &= ~(terminated | truncated)
        assert not running.any()
    assert totals.mean() == pytest.approx(task.random_return, abs=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 10, 30, 100, 101])
def test_the_random_score_is_that_of_backward_induction_in_corridors_of_any_length(length: int) -> None:
    expected = mean_return(length, [[0.25] * 4] * 4)
    assert find_task(ID, {"corridor_length": length}).random_return == pytest.approx(expected, abs=1e-12)


def test_the_random_score_of_a_very_long_corridor_is_known_without_a_walk_through_it() -> None:
    assert find_task(ID, {"corridor_length": 100_000}).random_return == pytest.approx(-1.500015, abs=1e-12)


def test_both_cues_come_equally_often() -> None:
    env = make(1)
    env.reset(seed=0)
    cues = [env.reset()[0] for _ in range(1000)]
    assert 430 <= sum(cues) <= 570  # 4.4 standard deviations, and the seed is fixed


def test_noise_lies_on_the_corridor_alone_and_changes_neither_scores_nor_rewards() -> None:
    length, episodes, std = 6, 60, 0.5
    plain, noisy = make(length), make_env(ID, {"corridor_length": length, "noise_std": std})
    assert noisy.observation_space.contains(noisy.reset(seed=0)[0])
    errors = []
    for seed in range(episodes):
        cue, _ = plain.reset(seed=seed)
        shown, _ = noisy.reset(seed=seed)
        np.testing.assert_array_equal(shown, np.eye(4)[cue], strict=False)
        for action in (RIGHT, UP, LEFT, *[RIGHT] * length, RIGHT, DOWN):
            symbol, *expected = plain.step(action)
            shown, *got = noisy.step(action)
            assert got == expected
            if symbol == 2:
                errors.append(shown - np.eye(4)[2])
            else:
                np.testing.assert_array_equal(shown, np.eye(4)[symbol])
    drawn = np.array(errors)
    # 420 steps of the corridor, four numbers each: standard errors of 0.012 and 0.009.
    assert len(drawn) == episodes * (length + 1)
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0.0, std], atol=0.05)
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.15
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.15
    tasks = [find_task(ID, {"corridor_length": length, "noise_std": noise}) for noise in (0, std)]
    assert tasks[0].random_return == tasks[1].random_return
    assert (tasks[1].optimal_return, tasks[1].memoryless_return) == (1.0, 0.5)


def test_the_ansi_picture_shows_the_agent_and_the_goal() -> None:
    env = make_env(ID, {"corridor_length": 3}, render_mode="ansi")
    env.reset(seed=seed_of_cue(0))
    assert env.render() == "   G\nA...\n   .\n"
    for action in (RIGHT, RIGHT, RIGHT, DOWN):
        env.step(action)
    assert env.render() == "   G\n....\n   A\n"
