"""The tabulated Memory engine against MiniGrid itself, and its scores against slow computations.

Mutations tried: a wall of the layout too short, the cue moved; the sweep to the left left out of the visibility; the
cell behind a wall seen; ahead and aside exchanged; views numbered without the direction; cue and order exchanged; the
other object the goal; ``>`` for ``>=`` at the step limit; an arm entered where some of a belief are wrong; views that
tell the place; a guess without its turn; every arm a success of random actions.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from minigrid.envs import MemoryEnv

from s7rl.envs import make_batched, make_env
from s7rl.envs.engines.minigrid_memory_maze import LOWER_GOAL, UPPER_GOAL, compute_views, hallway_ends, make_hallway
from s7rl.envs.engines.minigrid_memory_scores import (
    best_steps,
    cue_shows_between_the_arms,
    guess_steps,
    random_return,
)
from s7rl.envs.suites.minigrid_scores import MEMORY_SCORES

BASE = "MiniGrid-MemoryS13-v0"


@pytest.mark.parametrize(
    ("size", "random_length", "view_size", "max_steps"),
    [
        (7, False, 7, None),
        (9, False, 3, 60),
        (11, False, 7, None),
        (13, False, 5, 80),
        (13, True, 7, None),
        (17, True, 9, 100),
        (17, True, 3, None),
        (31, True, 7, 150),
        (41, False, 9, 200),
        (101, True, 7, 200),
        (101, False, 5, 130),
    ],
)
def test_every_observation_reward_and_end_is_minigrids(
    size: int, random_length: bool, view_size: int, max_steps: int | None
) -> None:
    kwargs = {"size": size, "random_length": random_length, "agent_view_size": view_size, "max_steps": max_steps}
    num_envs = 6
    ours = make_batched(BASE, num_envs, kwargs)
    minigrids = SyncVectorEnv(
        [lambda: make_env(BASE, {**kwargs, "disable_env_checker": True})] * num_envs,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    rng = np.random.default_rng(size)
    np.testing.assert_array_equal(ours.reset(seed=size)[0], minigrids.reset(seed=size)[0])
    ends, successes = 0, 0
    for _ in range(400):
        # Mostly ahead, so that many episodes come to an end.
        actions = rng.choice(7, p=[0.1, 0.1, 0.72, 0.02, 0.02, 0.02, 0.02], size=num_envs)
        mine, theirs = ours.step(actions), minigrids.step(actions)
        for left, right in zip(mine[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(left, right)
        ended = mine[2] | mine[3]
        ends += int(ended.sum())
        for row in np.flatnonzero(ended):
            np.testing.assert_array_equal(mine[4]["final_obs"][row], theirs[4]["final_obs"][row])
            success = mine[4]["final_info"]["is_success"][row]
            assert success == theirs[4]["final_info"]["is_success"][row]
            successes += int(success)
    assert ends >= 8
    assert successes or size == 101


@pytest.mark.parametrize(
    ("size", "random_length", "view_size"), [(7, False, 7), (9, True, 9), (11, True, 3), (13, False, 13), (15, True, 5)]
)
def test_every_view_of_every_layout_is_minigrids(size: int, random_length: bool, view_size: int) -> None:
    hallways = [make_hallway(size, end) for end in hallway_ends(size, random_length)]
    views = compute_views(size, hallways, view_size)
    assert len(views.images) < len(views.index)
    firsts = np.cumsum([0, *(4 * len(hallway.next_place) for hallway in hallways)])
    env = MemoryEnv(size, random_length, agent_view_size=view_size)
    seen = set()
    for seed in range(60 * len(hallways)):
        env.reset(seed=seed)
        end = next(x for x in range(4, size) if env.grid.get(x, 1) is not None and env.grid.get(x + 2, 1) is not None)
        kinds = [env.grid.get(1, size // 2 - 1).type, env.grid.get(end + 1, size // 2 - 2).type]
        cue, order = int(kinds[0] == "ball"), int(kinds[1] == "key")
        if (end, cue, order) in seen:
            continue
        seen.add((end, cue, order))
        hallway = hallways[end - hallways[0].end]
        first = firsts[end - hallways[0].end] + (2 * cue + order) * len(hallway.next_place)
        for cell, (x, y) in enumerate(hallway.cells.tolist()):
            assert env.grid.get(x, y) is None
            for direction in range(4):
                env.agent_pos, env.agent_dir = (x, y), direction
                view = views.index[first + 4 * cell + direction]
                np.testing.assert_array_equal(views.images[view], env.gen_obs()["image"])
                assert views.directions[view] == direction
    assert len(seen) == 4 * len(hallways)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 12}, r"size \(12\) must be odd, as it has a middle; pass 11 or 13"),
        ({"size": 5}, r"size \(5\) must be at least 7"),
        ({"agent_view_size": 4}, r"agent_view_size \(4\) must be odd"),
        ({"agent_view_size": 1}, r"agent_view_size \(1\) must be at least 3"),
    ],
)
def test_sizes_without_a_middle_are_refused_in_one_line(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make_batched(BASE, 2, kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("size", "random_length", "optimum"),
    [
        (7, False, 0.978),
        (9, False, 0.984),
        (11, False, 0.986),
        (13, False, 0.988),
        (13, True, 0.991),
        (17, True, 0.993),
    ],
)
def test_the_optimum_of_minigrids_six_is_known_to_three_digits(size: int, random_length: bool, optimum: float) -> None:
    steps = best_steps(size, random_length)
    assert 1 - 0.9 * steps / (5 * size**2) == pytest.approx(optimum, abs=0.0005001)


def all_knowing_steps(size: int, end: int, view_size: int) -> float:
    """Mean steps of one who knows the maze, but must have seen cue and objects; a bound on everybody else's."""
    hallway = make_hallway(size, end)
    views = compute_views(size, [hallway], view_size).index.reshape(2, 2, -1)
    cue_shows, order_shows = (views[0] != views[1]).any(axis=0), (views[:, 0] != views[:, 1]).any(axis=0)
    lengths = []
    for goal, start in itertools.product((UPPER_GOAL, LOWER_GOAL), range(0, 4 * end, 4)):
        queue = deque([(start, bool(cue_shows[start]), bool(order_shows[start]), 0)])
        seen = set()
        while True:
            place, cue, order, steps = queue.popleft()
            if hallway.goals[place // 4] == goal:
                lengths.append(steps)
                break
            for after in hallway.next_place[place, :3].tolist():
                kind = hallway.goals[after // 4]
                node = (after, cue or bool(cue_shows[after]), order or bool(order_shows[after]))
                if node not in seen and (kind == 0 or (kind == goal and cue and order)):
                    seen.add(node)
                    queue.append((*node, steps + 1))
    return float(np.mean(lengths))


@pytest.mark.parametrize(("size", "mean"), [(7, 6.0), (9, 7.1667), (11, 9.5), (13, 11.7), (21, 22.2778)])
def test_where_the_length_is_known_the_best_agent_walks_as_if_it_knew_all(size: int, mean: float) -> None:
    assert best_steps(size) == pytest.approx(all_knowing_steps(size, size - 3, 7)) == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "random_length", "view_size"), [(7, False, 3), (11, False, 3), (9, True, 3), (13, True, 7), (13, True, 5)]
)
def test_otherwise_it_loses_a_step_at_most_by_not_knowing(size: int, random_length: bool, view_size: int) -> None:
    bound = np.mean([all_knowing_steps(size, end, view_size) for end in hallway_ends(size, random_length)])
    assert bound < best_steps(size, random_length, view_size) < bound + 1


def test_a_guess_walks_turns_and_enters() -> None:
    # S7: the hallway ends at column 4, starts are columns 1 to 4, and the arms' column is 5.
    assert guess_steps(7) == np.mean([4 + 2, 3 + 2, 2 + 2, 1 + 2])


@pytest.mark.parametrize(
    ("size", "random_length", "view_size", "shows"),
    [(7, False, 7, True), (9, False, 7, True), (11, False, 7, False), (13, False, 7, False), (13, True, 7, True),
     (7, False, 3, False), (17, True, 3, False), (11, False, 9, True), (101, False, 7, False)],
)  # fmt: skip
def test_the_cue_shows_between_the_arms_where_the_view_reaches_back(
    size: int, random_length: bool, view_size: int, shows: bool
) -> None:
    assert cue_shows_between_the_arms(size, random_length, view_size) is shows


@pytest.mark.parametrize(("size", "random_length", "max_steps"), [(7, False, 245), (9, True, 60), (13, False, 30)])
def test_the_random_return_is_what_random_actions_get(size: int, random_length: bool, max_steps: int) -> None:
    num_envs, rng = 4000, np.random.default_rng(0)
    envs = make_batched(BASE, num_envs, {"size": size, "random_length": random_length, "max_steps": max_steps})
    envs.reset(seed=0)
    alive, returns = np.ones(num_envs, dtype=np.bool_), np.zeros(num_envs)
    for _ in range(max_steps):
        _, rewards, terminated, truncated = envs.step(rng.integers(7, size=num_envs))[:4]
        returns += rewards * alive
        alive &= ~(terminated | truncated)
    assert not alive.any()
    error = returns.std() / num_envs**0.5
    assert returns.mean() == pytest.approx(random_return(size, random_length, max_steps), abs=3 * error)


@pytest.mark.parametrize("name", [name for name, scores in MEMORY_SCORES.items() if scores.size <= 21])
def test_the_table_of_scores_is_what_the_mazes_give(name: str) -> None:
    scores = MEMORY_SCORES[name]
    size, random_length, limit = scores.size, scores.random_length, 5 * scores.size**2
    assert scores.optimal == pytest.approx(1 - 0.9 * best_steps(size, random_length) / limit, abs=5.1e-5)
    assert scores.random == pytest.approx(random_return(size, random_length, limit), abs=5.1e-5)
    if not cue_shows_between_the_arms(size, random_length):
        guess = 0.5 * (1 - 0.9 * guess_steps(size, random_length) / limit)
        assert scores.memoryless == pytest.approx(guess, abs=5.1e-5)
