"""From Gymnasium's vector environments to SB3's: same trajectories, same infos.

Mutations seen to fail: success read from the top level first, or from the final infos without their mask; the top level
never read, or without its mask; no images at all, those of a vector environment that renders otherwise, or of one row
for each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecVideoRecorder

from s7rl import envs
from s7rl.agents import BatchedVecEnv, make_vec

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tmaze": ("s7rl/TMazePassive-v0", {"corridor_length": 3}),
    "repeat-previous": ("s7rl/RepeatPrevious-v0", {"num_decks": 1, "k": 4}),
    "cartpole": ("s7rl/CartPolePositionOnly-v0", {}),
}


class Endings(gym.Env[NDArray[np.float32], Any]):
    """Episodes of random lengths that end in a terminal state, by the clock, or both at once."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        terminated, truncated = (self.np_random.random(2) < 0.3).tolist()
        return self._observe(), float(action), terminated, truncated, {}

    def _observe(self) -> NDArray[np.float32]:
        return self.np_random.normal(size=2).astype(np.float32)


def assert_same_trajectories(ours: VecEnv, theirs: VecEnv, steps: int) -> dict[str, int]:
    """Drive both with the same actions; return how often what was seen."""
    seen = {"ends": 0, "time-outs": 0, "successes": 0}
    assert (ours.num_envs, ours.observation_space, ours.action_space) == (
        theirs.num_envs,
        theirs.observation_space,
        theirs.action_space,
    )
    ours.seed(7)
    theirs.seed(7)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng = np.random.default_rng(0)
    number = int(ours.action_space.n)  # type: ignore[attr-defined]
    for _ in range(steps):
        # The first action more often than others: forward in a corridor.
        actions = np.where(rng.random(ours.num_envs) < 0.5, 0, rng.integers(number, size=ours.num_envs))
        mine, other = ours.step(actions), theirs.step(actions)
        for got, expected in zip(mine[:3], other[:3], strict=True):
            np.testing.assert_array_equal(got, expected)
        assert mine[1].dtype == np.float32
        for ended, info, reference in zip(mine[2], mine[3], other[3], strict=True):
            if not ended:
                assert info == {}
                continue
            np.testing.assert_array_equal(info["terminal_observation"], reference["terminal_observation"])
            assert info["TimeLimit.truncated"] is bool(reference["TimeLimit.truncated"])
            assert info.get("is_success") == reference.get("is_success")
            seen["ends"] += 1
            seen["time-outs"] += info["TimeLimit.truncated"]
            seen["successes"] += bool(info.get("is_success"))
    return seen


@pytest.mark.parametrize("case", CASES)
def test_a_batched_task_is_single_environments_side_by_side(case: str) -> None:
    env_id, kwargs = CASES[case]
    ours = BatchedVecEnv(envs.make_batched(env_id, 3, kwargs))
    theirs = DummyVecEnv([lambda: envs.make_env(env_id, kwargs)] * 3)
    seen = assert_same_trajectories(ours, theirs, 150)
    assert seen["ends"] >= 3
    if case == "tmaze":
        assert 0 < seen["successes"] < seen["ends"]
    ours.close()


def test_gymnasiums_own_vector_environment_with_every_kind_of_ending_is_single_environments_side_by_side() -> None:
    ours = BatchedVecEnv(SyncVectorEnv([Endings] * 4, autoreset_mode=AutoresetMode.SAME_STEP))
    seen = assert_same_trajectories(ours, DummyVecEnv([Endings] * 4), 60)
    assert 0 < seen["time-outs"] < seen["ends"], "a step that is both is no time-out"


class Reporting(Endings):
    """Says at every step, and of every reset, whether it was a success; not at every end."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        observation, _ = super().reset(seed=seed)
        return observation, {"is_success": False}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = super().step(action)
        if truncated and not terminated:  # says nothing, or that it does not know
            return observation, reward, terminated, truncated, {} if action == 0 else {"is_success": None}
        return observation, reward, terminated, truncated, {"is_success": action == 0}


def test_success_is_that_of_the_episode_that_ended_and_absent_where_nothing_was_said() -> None:
    ours = BatchedVecEnv(SyncVectorEnv([Reporting] * 4, autoreset_mode=AutoresetMode.SAME_STEP))
    seen = assert_same_trajectories(ours, DummyVecEnv([Reporting] * 4), 60)
    assert 0 < seen["successes"] < seen["ends"] - seen["time-outs"]


class WithoutFinalInfos(VectorWrapper):
    """Says of episodes that end no more than whether they were a success, of the first row nothing at all."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        if infos:
            infos = {name: infos[name] for name in ("final_obs", "is_success", "_is_success")}
            infos["_is_success"][0] = False
        return observations, rewards, terminated, truncated, infos


def test_where_there_are_no_final_infos_success_stands_at_the_top_level() -> None:
    tmaze = "s7rl/TMazePassive-v0", 3, {"corridor_length": 1}
    ours, whole = BatchedVecEnv(WithoutFinalInfos(envs.make_batched(*tmaze))), BatchedVecEnv(envs.make_batched(*tmaze))
    for env in (ours, whole):
        env.seed(7)
        env.reset()
    rng, seen = np.random.default_rng(0), set()
    for _ in range(40):
        actions = rng.integers(4, size=3)
        infos, expected = ours.step(actions)[3], whole.step(actions)[3]
        assert [info.get("is_success") for info in infos[1:]] == [info.get("is_success") for info in expected[1:]]
        assert "is_success" not in infos[0]
        seen |= {info.get("is_success") for info in infos[1:]}
    assert seen == {None, False, True}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_environments_that_do_not_reset_within_the_step_are_refused_in_one_line(mode: AutoresetMode) -> None:
    with pytest.raises(ValueError, match=r"^the vector environment's autoreset_mode is [^\n]+SAME_STEP[^\n]+\.$"):
        BatchedVecEnv(SyncVectorEnv([Endings], autoreset_mode=mode))


def test_a_second_reset_goes_on_with_the_random_numbers_unless_it_is_seeded_again() -> None:
    env = BatchedVecEnv(SyncVectorEnv([Endings] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    env.seed(3)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)  # type: ignore[arg-type]
    env.seed(3)
    np.testing.assert_array_equal(env.reset(), first)


class Drawing(Endings):
    """Shows its number."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"]}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(self, number: int, render_mode: str) -> None:
        self.number, self.render_mode = number, render_mode

    def render(self) -> Any:
        return str(self.number) if self.render_mode == "ansi" else np.full((4, 6, 3), self.number, dtype=np.uint8)


def drawings(render_mode: str) -> VecEnv:
    def maker(number: int) -> Callable[[], Drawing]:
        return lambda: Drawing(number, render_mode)

    vector_env = SyncVectorEnv([maker(number) for number in range(1, 5)], autoreset_mode=AutoresetMode.SAME_STEP)
    return VecMonitor(BatchedVecEnv(vector_env))


def test_a_video_shows_all_environments_where_they_render_as_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "moviepy", ModuleType("moviepy"))  # needed for the file alone
    recorder = VecVideoRecorder(drawings("rgb_array"), str(tmp_path), lambda step: step == 0)
    recorder.reset()
    recorder.step(np.zeros(4, dtype=int))
    frames, recorder.recorded_frames = recorder.recorded_frames, []
    assert [frame.shape for frame in frames] == [(8, 12, 3)] * 2
    assert frames[1][::4, ::6, 0].tolist() == [[1, 2], [3, 4]]
    assert list(drawings("ansi").get_images()) == [None] * 4


def test_attributes_and_methods_stand_for_each_environment_asked_for() -> None:
    env = BatchedVecEnv(envs.make_batched("s7rl/TMazePassive-v0", 3, {"corridor_length": 4}))
    env.reset()
    assert env.get_attr("num_envs") == [3, 3, 3]
    assert env.get_attr("num_envs", [0, 2]) == [3, 3]
    assert len(env.env_method("get_state", indices=0)) == 1
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3
    assert list(env.get_images()) == [None] * 3
    with pytest.raises(NotImplementedError, match="'corridor_length'"):
        env.set_attr("corridor_length", 5)


@pytest.mark.parametrize(
    ("env_id", "workers", "kind"),
    [("s7rl/TMazePassive-v0", "auto", BatchedVecEnv), ("CartPole-v1", "loop", DummyVecEnv)],
)
def test_make_vec_monitors_the_environments(env_id: str, workers: str, kind: type[VecEnv]) -> None:
    env = make_vec(env_id, n_envs=3, seed=1, workers=workers)
    assert isinstance(env, VecMonitor)
    assert isinstance(env.venv, kind)
    assert env.num_envs == 3
    first = env.reset()
    np.testing.assert_array_equal(make_vec(env_id, n_envs=3, seed=1, workers=workers).reset(), first)
    env.close()


def test_make_vec_gives_environments_of_their_own_with_the_arguments_it_was_given() -> None:
    env = make_vec("CartPole-v1", n_envs=2, seed=0, workers="loop")
    assert isinstance(env, VecMonitor)
    assert isinstance(env.venv, DummyVecEnv)
    assert env.venv.envs[0] is not env.venv.envs[1]
    first = env.reset()
    assert not np.array_equal(first[0], first[1])  # type: ignore[index]
    maze = make_vec("s7rl/TMazePassive-v0", n_envs=1, env_kwargs={"corridor_length": 1}, seed=0)
    maze.reset()
    seen = {int(maze.step(np.array([0]))[0][0]) for _ in range(8)}  # type: ignore[index]
    longer = make_vec("s7rl/TMazePassive-v0", n_envs=1, env_kwargs={"corridor_length": 30}, seed=0)
    longer.reset()
    assert seen != {int(longer.step(np.array([0]))[0][0]) for _ in range(8)}  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_id": "s7rl/TMazePassive-v0", "n_envs": 0}, "n_envs is 0"),
        ({"env_id": "s7rl/TMazePasive-v0"}, "TMazePas"),
        ({"env_id": "NoSuchTask-v0"}, "NoSuchTask-v0"),
        ({"env_id": "s7rl/TMazePassive-v0", "env_kwargs": {"length": 3}}, "length"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        make_vec(**arguments)
    assert message in str(caught.value)
