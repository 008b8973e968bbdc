"""The active T-maze by hand, by an oracle, by every memoryless policy, and by an independent slow twin.

Mutations that were tried, each of which fails a test: a left step is always paid for, or never; the cue is also seen at
the start; the oracle counts as visited from the beginning; a new episode keeps that the oracle was visited; the limit
leaves the detour out; the random score with T - t - 1 for T - t, or with C(2t, t+o) of the next t; oracle and start are
exchanged in the picture.
"""

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

from s7rl.envs import make_batched, make_env
from s7rl.envs.engines.tmaze_active import TMazeActive
from tests.envs.one_episode import play_single

ID = "s7rl/TMazeActive-v0"
RIGHT, UP, LEFT, DOWN = range(4)
MOVES = [(1, 0), (0, 1), (-1, 0), (0, -1)]


def make(length: int, distance: int) -> gym.Env[Any, Any]:
    return make_env(ID, {"corridor_length": length, "oracle_distance": distance})


def seed_of_cue(cue: int) -> int:
    """Return a seed whose first episode has the goal in the upper (0) or lower (1) arm."""
    env = make(1, 1)
    for seed in range(100):
        env.reset(seed=seed)
        if env.unwrapped.get_state()[2] == 1 - 2 * cue:  # type: ignore[attr-defined]
            return seed
    raise AssertionError("one of a hundred seeds has this cue")


def twin(length: int, distance: int, cue: int, place: tuple[int, bool], action: int) -> tuple[int, bool, int, Fraction]:
    """Return x, whether the cue has been seen, y and the reward after a step, with the oracle at x = -distance."""
    x, informed = place
    free = {(x, 0) for x in range(-distance, length + 1)} | {(length, 1), (length, -1)}
    target = (x + MOVES[action][0], MOVES[action][1])
    if target not in free:
        return x, informed, 0, Fraction(-1, length)
    new_x, y = target
    if y != 0:
        return new_x, informed, y, Fraction(y == (-1 if cue else 1))
    reward = Fraction(-1, length) if informed and new_x < x else Fraction(0)
    return new_x, informed or new_x == -distance, 0, reward


def twin_symbol(length: int, distance: int, cue: int, x: int) -> int:
    return cue if x == -distance else 3 if x == length else 2


def mean_return(length: int, distance: int, policy: Sequence[Sequence[Any]]) -> Any:
    """Return the mean return of a memoryless agent, by backward induction; ``policy[symbol][action]``."""
    total: Any = 0
    places = [(x, informed) for x in range(-distance, length + 1) for informed in (False, True)]
    for cue in (0, 1):
        steps = {place: [twin(length, distance, cue, place, action) for action in range(4)] for place in places}
        values: dict[tuple[int, bool], Any] = dict.fromkeys(places, 0)
        for _ in range(4 * distance + 2 * length + 2):
            values = {
                place: sum(
                    map(
                        operator.mul,
                        policy[twin_symbol(length, distance, cue, place[0])],
                        [reward + (0 if y else values[x, informed]) for x, informed, y, reward in steps[place]],
                    )
                )
                for place in places
            }
        total += values[0, False]
    return total / 2


@pytest.mark.parametrize(("cue", "arm"), [(0, UP), (1, DOWN)])
def test_rewards_and_observations_of_a_detour_are_those_counted_by_hand(cue: int, arm: int) -> None:
    env = make(4, 2)
    assert env.reset(seed=seed_of_cue(cue))[0] == 2
    # action: observation, x after the move (the oracle is at 0, the start at 2), reward
    expected = [
        (UP, 2, 2, -0.25),  # a wall
        (RIGHT, 2, 3, 0.0),  # the wrong way, but nobody knows yet
        (LEFT, 2, 2, 0.0),
        (LEFT, 2, 1, 0.0),
        (LEFT, cue, 0, 0.0),  # the cue
        (LEFT, cue, 0, -0.25),  # a wall
        (RIGHT, 2, 1, 0.0),
        (LEFT, cue, 0, -0.25),  # back, where the cue is shown again
        *[(RIGHT, 2, x, 0.0) for x in (1, 2, 3, 4, 5)],
        (RIGHT, 3, 6, 0.0),
        (RIGHT, 3, 6, -0.25),  # a wall
        (LEFT, 2, 5, -0.25),
        (RIGHT, 3, 6, 0.0),
        (arm, 3, 6, 1.0),  # the last step in time
    ]
    assert len(expected) == 18 == TMazeActive.facts(corridor_length=4, oracle_distance=2).episode_length
    for step, (action, observation, x, reward) in enumerate(expected, start=1):
        last = step == 18
        assert env.step(action) == (observation, reward, last, False, {"is_success": True} if last else {})
        state = env.unwrapped.get_state().tolist()  # type: ignore[attr-defined]
        assert (state[0], state[3], state[4]) == (x, step, step >= 5)


def test_who_has_not_seen_the_cue_walks_back_for_nothing_and_the_first_arm_ends_the_episode() -> None:
    for cue in (0, 1):
        env = make(2, 1)
        env.reset(seed=seed_of_cue(cue))
        steps = [env.step(action) for action in (RIGHT, RIGHT, LEFT, LEFT, RIGHT, RIGHT)]
        assert [step[0] for step in steps] == [2, 3, 2, 2, 2, 3]
        assert not any(step[1] or step[2] or step[3] for step in steps)
        assert env.step(UP) == (3, 1.0 - cue, True, False, {"is_success": cue == 0})


def test_an_episode_without_an_arm_is_cut_after_twice_the_steps_it_needs() -> None:
    env = make(3, 2)
    for seed in (0, None):  # and the second episode begins without knowing the cue, too
        env.reset(seed=seed)
        steps = [env.step(LEFT) for _ in range(16)]
        assert [step[1] for step in steps] == [0.0, 0.0] + [-1 / 3] * 14
        assert [step[3] for step in steps] == [False] * 15 + [True]
        assert not any(step[2] for step in steps)


@given(
    length=st.integers(1, 4),
    distance=st.integers(1, 3),
    seed=st.integers(0, 1000),
    actions=st.lists(st.sampled_from([RIGHT, RIGHT, LEFT, LEFT, UP, DOWN]), min_size=22, max_size=22),
)
def test_every_step_is_that_of_a_twin_that_walks_on_a_map(
    length: int, distance: int, seed: int, actions: list[int]
) -> None:
    env = make(length, distance)
    assert env.reset(seed=seed)[0] == 2
    cue = int(env.unwrapped.get_state()[2] == -1)  # type: ignore[attr-defined]
    x, informed = 0, False
    for time, action in enumerate(actions, start=1):
        x, informed, y, reward = twin(length, distance, cue, (x, informed), action)
        truncated = y == 0 and time == 4 * distance + 2 * length + 2
        assert env.step(action)[:4] == (twin_symbol(length, distance, cue, x), float(reward), y != 0, truncated)
        if y or truncated:
            break


@pytest.mark.parametrize(("length", "distance"), [(1, 1), (17, 1), (3, 20), (200, 30)])
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(length: int, distance: int) -> None:
    task = TMazeActive.facts(corridor_length=length, oracle_distance=distance)
    env = make(length, distance)

    def remembers(_: int) -> int:
        x, _, goal_y, _, informed = env.unwrapped.get_state()  # type: ignore[attr-defined]
        if not informed:
            return LEFT
        return RIGHT if x < distance + length else UP if goal_y == 1 else DOWN

    def knows(_: int) -> int:
        x, _, goal_y, _, _ = env.unwrapped.get_state()  # type: ignore[attr-defined]
        return RIGHT if x < distance + length else UP if goal_y == 1 else DOWN

    for seed in range(6):
        assert play_single(env, seed, remembers) == (task.optimal_return, True, 2 * distance + length + 1)
        assert play_single(env, seed, knows) == (task.optimal_return, True, length + 1)
    assert task.memory_span == distance + length


@pytest.mark.parametrize(("length", "distance"), [(1, 1), (2, 1)])
def test_no_deterministic_memoryless_policy_beats_the_score_in_the_facts(length: int, distance: int) -> None:
    task = TMazeActive.facts(corridor_length=length, oracle_distance=distance)
    env, seeds = make(length, distance), [seed_of_cue(0), seed_of_cue(1)]
    scores = []
    for policy in itertools.product(range(4), repeat=4):
        scores.append(np.mean([play_single(env, seed, policy.__getitem__)[0] for seed in seeds]))
        # What the next test relies on.
        chances = [[int(action == chosen) for action in range(4)] for chosen in policy]
        assert scores[-1] == pytest.approx(float(mean_return(length, distance, chances)), abs=1e-12)
    assert max(scores) == task.memoryless_return == 0.5


def test_no_stochastic_memoryless_policy_beats_it_either() -> None:
    # It may wait at the oracle under one cue, walk back and forth in the corridor, and wait at the junction.
    halves = [Fraction(count, 2) for count in range(3)]
    junctions = [chances for chances in itertools.product(halves, repeat=4) if sum(chances) == 1]
    ways = [[share, 0, 1 - share, 0] for share in halves]
    scores = [mean_return(1, 1, policy) for policy in itertools.product(ways, ways[2:], ways, junctions)]
    assert len(scores) == 3 * 3 * 10
    assert max(scores) == Fraction(1, 2)


def test_random_actions_score_what_the_facts_say() -> None:
    num_envs = 4000
    envs = make_batched(ID, num_envs, {"corridor_length": 3})
    envs.reset(seed=0)
    rng, totals, running = np.random.default_rng(0), np.zeros(num_envs), np.ones(num_envs, dtype=np.bool_)
    while running.any():
        _, rewards, terminated, truncated, _ = envs.step(rng.integers(4, size=num_envs))
        totals += rewards * running
        running &= ~(terminated | truncated)
    error = totals.std() / np.sqrt(num_envs)
    assert totals.mean() == pytest.approx(TMazeActive.facts(corridor_length=3).random_return, abs=4 * error)


# The last two are beyond what is walked through: the formula without a junction.
@pytest.mark.parametrize(("length", "distance"), [(1, 2), (4, 1), (2, 9), (30, 4), (140, 1), (150, 5)])
def test_the_random_score_is_that_of_backward_induction(length: int, distance: int) -> None:
    facts = TMazeActive.facts(corridor_length=length, oracle_distance=distance)
    expected = mean_return(length, distance, [[0.25] * 4] * 4)
    assert facts.random_return == pytest.approx(expected, abs=1e-9)


def test_the_random_score_of_a_very_long_corridor_is_known_without_a_walk_through_it() -> None:
    near, far = (TMazeActive.facts(corridor_length=100_000, oracle_distance=o).random_return for o in (1, 100_000))
    # Within a few steps nearly everybody has found a near oracle; nobody finds the far one: half of 600,002 steps.
    assert near == pytest.approx(-1.5, abs=0.01)
    assert far == pytest.approx(-3.00001, abs=1e-12)
    # An oracle farther than can be walked through, with the junction near.
    assert TMazeActive.facts(corridor_length=1, oracle_distance=100_000).random_return is None


def test_the_ansi_picture_shows_the_oracle_the_agent_and_the_goal() -> None:
    env = make_env(ID, {"corridor_length": 3, "oracle_distance": 2}, render_mode="ansi")
    env.reset(seed=seed_of_cue(0))
    assert env.render() == "     G\nO.A...\n     .\n"
    for _ in range(2):
        env.step(LEFT)
    assert env.render() == "     G\nA.....\n     .\n"
    for action in (RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, DOWN):
        env.step(action)
    assert env.render() == "     G\nO.....\n     A\n"


def test_an_oracle_at_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"oracle_distance \(0\) must be at least 1; pass 1 or more\."):
        make(5, 0)
