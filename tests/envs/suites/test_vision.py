"""MiniWorld and VizDoom, where they are installed (``pip install 's7rl[vision]'``).

Mutations tried, each of which fails a test here: no headless option (without a display); VizDoom's screen as it is;
Triton loaded after Mesa (the training on rooms ends in a segmentation fault where this
file runs alone).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from s7rl.envs import find_task, make_env
from s7rl.envs.suites.vision import SCORES, describe
from tests.envs.suites.rollouts import check_training, error_without

miniworld = pytest.mark.skipif(find_spec("miniworld") is None, reason="MiniWorld is not installed")
vizdoom = pytest.mark.skipif(find_spec("vizdoom") is None, reason="VizDoom is not installed")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VizDoom leaves a file with its settings where it runs."""
    monkeypatch.chdir(tmp_path)


@miniworld
def test_rooms_are_seen_as_miniworld_draws_them() -> None:
    env = make_env("MiniWorld-TMaze-v0")
    assert env.observation_space == spaces.Box(0, 255, (60, 80, 3), np.uint8)
    env.reset(seed=0)
    *_, info = env.step(0)
    info["episode"] = 1
    assert "episode" not in env.step(0)[-1], "no info is handed out twice"


@vizdoom
def test_a_time_out_in_doom_is_a_truncation_and_shows_the_last_screen() -> None:
    env = make_env("VizdoomMyWayHome-v1")
    space = env.observation_space
    assert isinstance(space, spaces.Dict)
    assert space["screen"] == spaces.Box(0, 255, (60, 80, 3), np.uint8)
    env.reset(seed=0)
    steps, terminated, truncated = 0, False, False
    while not (terminated or truncated):
        seen, _, terminated, truncated, _ = env.step(0)
        steps += 1
    assert (steps, terminated, truncated) == (2100, False, True)
    assert seen["screen"].any()
    assert find_task("VizdoomMyWayHome-v1").episode_length == steps


@miniworld
def test_an_agent_trains_on_rooms() -> None:
    check_training("MiniWorld-TMaze-v0", "CnnPolicy")


@vizdoom
def test_an_agent_trains_on_levels() -> None:
    check_training("VizdoomBasic-v1", "MultiInputPolicy")


@pytest.mark.parametrize(("package", "env_id"), [("miniworld", "MiniWorld-TMaze-v0"), ("vizdoom", "VizdoomBasic-v1")])
def test_a_missing_package_is_an_error_of_one_line_with_the_command_that_installs_it(package: str, env_id: str) -> None:
    if package == "miniworld" and find_spec("pyglet") is None:
        package = "pyglet"  # comes with MiniWorld and is asked for first
    message = error_without(package, env_id)
    assert message == f"ValueError {env_id} needs {package}, which is not installed: pip install 's7rl[vision]'"


def test_no_optimum_is_claimed() -> None:
    facts = [describe(env_id, {}) for env_id in SCORES]
    assert all(fact is not None and fact.optimal_return is None for fact in facts)
    assert describe("MiniWorld-Maze-v0", {}) is None
    assert describe("MiniWorld-TMaze-v0", {"obs_width": 40}) is None
