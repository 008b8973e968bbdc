"""MuJoCo with half of the state hidden: against Gymnasium's own environments.

Mutations tried, each of which fails a test here: positions and velocities exchanged, in the summary too; the contact
forces of Ant among the velocities; a time limit of one step less; a random return for other arguments.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from s7rl.envs import find_task, make_env
from s7rl.envs.suites.mujoco import ROBOTS, SUITE, VIEWS
from tests.envs.suites.rollouts import check_training, error_without

# Numbers of positions and velocities that Gymnasium's documentation of the v5 environments lists.
SIZES = {
    "Ant": (13, 14),
    "HalfCheetah": (8, 9),
    "Hopper": (5, 6),
    "InvertedPendulum": (2, 2),
    "Swimmer": (3, 5),
    "Walker2d": (8, 9),
}
IDS = tuple(SUITE.own)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves a log file where it runs."""
    monkeypatch.chdir(tmp_path)


def test_there_are_two_views_of_six_robots() -> None:
    assert set(IDS) == {f"s7rl/{name}{view}-v0" for name in SIZES for view in VIEWS}
    assert set(ROBOTS) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_positions_come_first_then_velocities_and_all_else_is_gymnasiums(name: str) -> None:
    reference = gym.make(f"{name}-v5")
    positions, velocities = (make_env(f"s7rl/{name}{view}-v0") for view in ("PositionOnly", "VelocityOnly"))
    middle, end = SIZES[name][0], sum(SIZES[name])
    full, _ = reference.reset(seed=3)
    seen = [env.reset(seed=3)[0] for env in (positions, velocities)]
    reference.action_space.seed(0)
    for _ in range(5):
        np.testing.assert_array_equal(seen[0], full[:middle])
        np.testing.assert_array_equal(seen[1], full[middle:end])
        action = reference.action_space.sample()
        full, *expected, _ = reference.step(action)
        for i, env in enumerate((positions, velocities)):
            seen[i], *rest, _ = env.step(action)
            assert rest == expected
    for view in VIEWS:
        spec = gym.spec(f"s7rl/{name}{view}-v0")
        assert spec.max_episode_steps == gym.spec(f"{name}-v5").max_episode_steps
        assert spec.max_episode_steps == find_task(spec.id).episode_length


def test_an_agent_trains_on_it() -> None:
    check_training("s7rl/HopperPositionOnly-v0", "MlpPolicy")


def test_without_mujoco_there_is_an_error_of_one_line() -> None:
    message = error_without("mujoco", "s7rl/HopperPositionOnly-v0")
    assert message == (
        "ValueError s7rl/HopperPositionOnly-v0 needs mujoco, which is not installed: pip install 's7rl[mujoco]'"
    )


def test_no_optimum_is_claimed() -> None:
    assert {find_task(env_id).optimal_return for env_id in IDS} == {None}
    task = find_task("s7rl/HopperVelocityOnly-v0")
    assert (task.summary, task.random_return) == ("Hopper from velocities alone", 17.6)
