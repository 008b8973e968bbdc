"""Ids, descriptions and the one-line errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from s7rl.envs import Task, find_task, has_batched_engine, make_batched, make_env, register_envs, task_ids
from s7rl.envs.suites import memory, minigrid
from s7rl.envs.suites.control import FULLY_OBSERVABLE
from s7rl.envs.tasks import Probe, probe

OWN_IDS = (*memory.SUITE.own, "s7rl/CartPolePositionOnly-v0")
MINIGRID_MEMORY_IDS = (*minigrid.SUITE.own, *minigrid.SUITE.featured)


@pytest.mark.parametrize("env_id", OWN_IDS)
def test_plain_gymnasium_reaches_our_environments_by_module_and_id(env_id: str) -> None:
    env = gym.make(f"s7rl.envs:{env_id}")
    assert env.spec is not None
    assert env.spec.id == env_id


def test_making_a_minigrid_environment_prints_nothing() -> None:
    code = "import s7rl.envs; s7rl.envs.make_env('MiniGrid-MemoryS11-v0')"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout == ""


def test_registering_twice_changes_nothing() -> None:
    before = dict(gym.registry)
    register_envs()
    assert dict(gym.registry) == before


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        (
            "s7rl/TMaze-v0",
            {},
            "unknown environment 's7rl/TMaze-v0': did you mean 's7rl/TMazeActive-v0' or 's7rl/TMazePassive-v0'",
        ),
        ("repeatprevious", {}, "did you mean 's7rl/RepeatPrevious-v0'"),
        ("qqqqqq", {}, "unknown environment 'qqqqqq' (see `s7rl list envs`)"),
        ("s7rl/Qqqqqq-v0", {}, "unknown environment 's7rl/Qqqqqq-v0' (see `s7rl list envs`)"),
        ("popgym-Qqqqqq-v0", {}, "unknown environment 'popgym-Qqqqqq-v0' (see `s7rl list envs`)"),
        ("s7rl/a-v0", {}, "unknown environment 's7rl/a-v0' (see `s7rl list envs`)"),
        ("s7rl/Nedle-v1", {}, "did you mean 's7rl/Needle-v0'? (see"),
        ("CartPole-v9", {}, "did you mean 'CartPole-v1'"),
        ("CartPol-v0", {}, "did you mean 'CartPole-v0'?"),
        ("minigrid-memorys11", {}, "did you mean 'MiniGrid-MemoryS11-v0'"),
        ("MiniGrid-MemoryS12-v0", {}, "did you mean 'MiniGrid-MemoryS"),
        ("nowhere:X-v0", {}, "nowhere:X-v0 needs nowhere, which is neither installed nor in "),
        (
            "s7rl/TMazePassive-v0",
            {"corridor": 3},
            "unknown keyword argument 'corridor': s7rl/TMazePassive-v0 takes corridor_length, noise_std.",
        ),
        ("s7rl/CartPolePositionOnly-v0", {"mass": 3}, "s7rl/CartPolePositionOnly-v0 takes none."),
        ("s7rl/TMazePassive-v0", {"corridor_length": 0}, "corridor_length (0) must be at least 1"),
        ("s7rl/TMazePassive-v0", {"noise_std": -1}, "noise_std is -1, but it is a standard deviation: pass"),
        ("s7rl/TMazePassive-v0", {"corridor_length": True}, "corridor_length (True) must be an integer"),
        (
            "MiniGrid-MemoryS11-v0",
            {"view": 3},
            "unknown keyword argument 'view': MiniGrid-MemoryS11-v0 takes size, random",
        ),
        (
            "MiniGrid-MemoryS11-v0",
            {"agent_view_size": 4},
            "MiniGrid-MemoryS11-v0 cannot be made with agent_view_size=4: assert agent_view_size % 2 == 1",
        ),
        ("MiniGrid-MemoryS11-v0", {"size": 8}, "cannot be made with size=8: assert height % 2 == 1"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line_that_says_why(
    env_id: str, kwargs: dict[str, Any], message: str
) -> None:
    for ask in (make_env, find_task):
        with pytest.raises((ValueError, TypeError)) as caught:
            ask(env_id, kwargs)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_argument_of_the_wrong_type_is_refused_in_one_line() -> None:
    # In a process of its own: here beartype would refuse it first, in many lines.
    code = """
from s7rl.envs import find_task, make_batched, make_env
for ask in (make_env, find_task, lambda env_id, kwargs: make_batched(env_id, 2, kwargs)):
    try:
        ask("s7rl/TMazePassive-v0", {"corridor_length": 2.5})
    except TypeError as error:
        print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout == "corridor_length (2.5) must be an integer; pass 1 or more.\n" * 3


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "popgym", None)
    env_id = "popgym-RepeatPreviousEasy-v0"
    with pytest.raises(ValueError, match=r"^popgym-\S+ needs popgym, .* not installed: pip install 's7rl\[popgym\]'$"):
        make_env(env_id)
    assert find_task(env_id).episode_length == 51


def test_a_render_mode_that_the_environment_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"render_mode \('human'\) is not one that .* has; it has: 'ansi'\."):
        make_env(OWN_IDS[0], render_mode="human")
    assert make_env("CartPole-v1", render_mode="rgb_array").render_mode == "rgb_array"


@pytest.mark.parametrize(
    ("env_id", "num_envs", "kwargs", "message"),
    [
        ("CartPole-v1", 2, {}, "'CartPole-v1' has no batched engine: use make_env"),
        (OWN_IDS[0], 0, {}, r"num_envs \(0\) must be at least 1"),
        (OWN_IDS[0], 2, {"x": 1}, "the batched engine of s7rl/TMazePassive-v0 takes corridor_length"),
        ("MiniGrid-MemoryS7-v0", 2, {"size": 5}, r"size \(5\) must be at least 7 here; pass --engine minigrid or"),
        ("MiniGrid-MemoryS11-v0", 2, {"tile_size": 8}, "takes size, random_length, max_steps, agent_view_size"),
    ],
)
def test_what_cannot_be_batched_is_refused(env_id: str, num_envs: int, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_batched(env_id, num_envs, kwargs)


def test_lengths_and_budgets_follow_the_arguments() -> None:
    def tmaze(length: int) -> Task:
        return find_task("s7rl/TMazePassive-v0", {"corridor_length": length})

    assert [tmaze(length).steps for length in (10, 100, 500, 1000, 10_000)] == [
        400_000,
        400_000,
        3_000_000,
        5_000_000,
        50_000_000,
    ]
    assert (tmaze(7).episode_length, tmaze(7).memory_span, tmaze(7).env_kwargs) == (16, 7, {"corridor_length": 7})
    repeat = find_task("s7rl/RepeatPrevious-v0", {"num_decks": 3, "k": 64})
    assert (repeat.episode_length, repeat.memory_span) == (155, 63)
    narrow = find_task("MiniGrid-MemoryS11-v0", {"agent_view_size": 3})
    assert (narrow.episode_length, narrow.memory_span) == (605, 22)
    assert narrow.memoryless_return == pytest.approx(0.495, abs=5e-4)
    assert find_task("MiniGrid-MemoryS11-v0", {"max_steps": 50}).episode_length == 50


def test_a_task_is_known_to_show_numbers_where_it_is_made_or_one_of_memory() -> None:
    # Seen to fail it: known of all of the suite, or of none; what stands within the wrappers asked.
    numbers = {env_id for env_id in memory.SUITE.own if find_task(env_id).shows_numbers}
    assert numbers == {"s7rl/MemoryLength-v0", "s7rl/MemorySize-v0", "s7rl/Needle-v0"}
    assert find_task("s7rl/TMazePassive-v0", {"noise_std": 0.5}).shows_numbers
    assert find_task("s7rl/TMazePassive-v0", wrappers=["PreviousActionReward"]).shows_numbers
    assert find_task("s7rl/Needle-v0", wrappers=["HistoryWrapper(length=4)"]).shows_numbers is False
    assert find_task("s7rl/TMazePassive-v0", wrappers=["DelayedReward(steps=2)"]).shows_numbers is False
    assert find_task("FrozenLake-v1").shows_numbers is False
    assert find_task("MiniGrid-MemoryS11-v0").shows_numbers is None


@pytest.mark.parametrize(("limit", "known"), [(200, 200), (np.int64(200), 200), (200.0, None), ("200", None)])
def test_a_limit_of_others_is_known_where_it_is_a_whole_number(limit: Any, known: int | None) -> None:
    # Seen to fail it: whatever is called so taken for one.
    env = gym.make("CartPole-v1").unwrapped
    env.spec, env.max_steps = None, limit  # type: ignore[attr-defined]
    assert probe(env) == Probe(known, True)
    assert type(probe(env).limit) is type(known)


def test_a_time_limit_of_the_users_own_voids_the_known_scores_where_it_is_shorter() -> None:
    task = find_task("s7rl/TMazePassive-v0", {"max_episode_steps": 5})
    assert (task.episode_length, task.memory_span, task.optimal_return, task.random_return) == (5, None, None, None)
    task = find_task("s7rl/TMazePassive-v0", {"max_episode_steps": 100_000})
    assert (task.episode_length, task.memory_span, task.optimal_return) == (202, 100, 1.0)


def test_a_module_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_envs.py").write_text("raise RuntimeError('not\\ntoday')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"^failing_envs:X-v0 needs failing_envs, which cannot be imported: .* today$"):
        make_env("failing_envs:X-v0")


def test_an_engine_is_found_by_an_id_with_its_module() -> None:
    assert has_batched_engine("minigrid:MiniGrid-MemoryS13-v0")
    assert make_batched("minigrid:MiniGrid-MemoryS7-v0", 2).num_envs == 2


@pytest.mark.parametrize(
    ("env_id", "suite", "length"),
    [
        ("FrozenLake-v1", "gymnasium", 100),
        ("MiniGrid-DoorKey-5x5-v0", "minigrid", 250),
        ("CartPole-v0", "control", 200),
    ],
)
def test_any_other_environment_has_a_description_without_scores(env_id: str, suite: str, length: int) -> None:
    task = find_task(env_id)
    assert (task.suite, task.episode_length, task.steps) == (suite, length, 1_000_000)
    assert task.optimal_return is task.memoryless_return is task.random_return is None


@pytest.mark.parametrize("env_id", task_ids())
def test_a_tasks_scores_are_ordered_and_its_summary_is_one_line(env_id: str) -> None:
    task = find_task(env_id)
    assert task.random_return is not None
    known = [score for score in (task.random_return, task.memoryless_return, task.optimal_return) if score is not None]
    assert known == sorted(known)
    assert task.memoryless_return is None or task.memoryless_return != task.optimal_return
    assert "\n" not in task.summary
    assert task.episode_length is not None or env_id == "VizdoomTakeCover-v1"  # which ends by death alone
    least = 0 if env_id in FULLY_OBSERVABLE else 1
    assert task.memory_span is None or least <= task.memory_span < (task.episode_length or 0)
    if env_id in (*OWN_IDS, *MINIGRID_MEMORY_IDS):
        # A hallway of random length may be so short that all is seen at once: what that is worth is not known.
        assert len(known) == 3 or env_id.endswith("Random-v0")
        assert task.memory_span is not None


@pytest.mark.parametrize("env_id", MINIGRID_MEMORY_IDS)
def test_the_described_length_of_a_memory_maze_is_minigrids(env_id: str) -> None:
    assert make_env(env_id).unwrapped.max_steps == find_task(env_id).episode_length  # type: ignore[attr-defined]


@pytest.mark.parametrize("env_id", [*OWN_IDS, "MiniGrid-MemoryS7-v0", "MiniGrid-MemoryS21Random-v0"])
def test_the_described_length_is_the_environments_own(env_id: str) -> None:
    # Standing still: MiniGrid's action 6 does nothing, the T-maze and the card game end by the clock.
    # In key-to-door an agent that walks back and forth stays away from the doors.
    actions = [6] if env_id.startswith("MiniGrid") else [0, 1] if env_id == "s7rl/KeyToDoor-v0" else [0]
    if env_id == "s7rl/CartPolePositionOnly-v0":
        assert gym.spec("CartPole-v1").max_episode_steps == find_task(env_id).episode_length
        return
    envs = make_batched(env_id, 1)
    envs.reset(seed=0)
    length = 1
    while not envs.step(np.array([actions[length % len(actions)]]))[4]:
        length += 1
    assert length == find_task(env_id).episode_length
