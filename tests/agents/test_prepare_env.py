"""What a user passes becomes what an agent trains on: flat, vectorised, and the same trajectories.

Mutations seen to fail: last observations that stay nested; objects that SubprocVecEnv stacked taken for arrays;
images of both orders given to SB3's transposition; a second monitor around a prepared environment.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    is_vecenv_wrapped,
    unwrap_vec_normalize,
)

from s7rl.agents import BatchedVecEnv, RecurrentPPO, make_vec, prepare_env
from s7rl.agents.vec_env import FlattenVecEnv, flatten_vec_env
from s7rl.envs import FlattenNested, flatten_observation, flatten_space

IMAGE = spaces.Box(0, 255, (7, 7, 3), np.uint8)
TUPLE = spaces.Tuple([spaces.Discrete(4), spaces.Box(-1.0, 1.0, (2,)), IMAGE])
NESTED = spaces.Dict(
    {
        "goal": spaces.Discrete(4),
        "sensors": spaces.Dict(
            {"camera": IMAGE, "deep": spaces.Tuple([spaces.Box(-1.0, 1.0, (2,)), spaces.MultiBinary(3)])}
        ),
    }
)


class Sampled(gym.Env[Any, Any]):
    """Shows random observations; episodes end in a terminal state, by the clock, or both at once."""

    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        self.observation_space = copy.deepcopy(observation_space)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        terminated, truncated = (self.np_random.random(2) < 0.3).tolist()
        return self.observation_space.sample(), float(action), terminated, truncated, {}


class Stacked(DummyVecEnv):
    """A VecEnv that somebody wrote for nested observations: SB3's own refuse them."""

    def __init__(self, observation_space: spaces.Space[Any], n_envs: int) -> None:
        super().__init__([lambda: FlattenNested(Sampled(observation_space))] * n_envs)
        self.observation_space = observation_space

    def _obs_from_buf(self) -> Any:
        return _nest(self.observation_space, None, copy.deepcopy(self.buf_obs))

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = super().step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = _nest(self.observation_space, None, info["terminal_observation"])
        return observations, rewards, dones, infos


def _nest(space: spaces.Space[Any], path: str | None, leaves: dict[str, Any]) -> Any:
    start = "" if path is None else f"{path}/"
    if isinstance(space, spaces.Dict):
        return {key: _nest(entry, f"{start}{key}", leaves) for key, entry in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nest(entry, f"{start}{i}", leaves) for i, entry in enumerate(space.spaces))
    assert path is not None
    return leaves[path]


def assert_same(ours: Any, theirs: Any) -> None:
    assert list(ours) == list(theirs)
    for key in theirs:
        np.testing.assert_array_equal(ours[key], theirs[key])


def assert_same_trajectories(ours: VecEnv, space: spaces.Space[Any], steps: int = 20) -> None:
    """As single environments in the wrapper side by side, in SB3's DummyVecEnv."""
    theirs = DummyVecEnv([lambda: FlattenNested(Sampled(space))] * ours.num_envs)
    assert ours.observation_space == theirs.observation_space == flatten_space(space)
    ours.seed(7)
    theirs.seed(7)
    assert_same(ours.reset(), theirs.reset())
    ends = 0
    for step in range(steps):
        actions = np.full(ours.num_envs, step % 2)
        mine, other = ours.step(actions), theirs.step(actions)
        assert_same(mine[0], other[0])
        np.testing.assert_array_equal(mine[1], other[1])
        np.testing.assert_array_equal(mine[2], other[2])
        for ended, info, reference in zip(mine[2], mine[3], other[3], strict=True):
            if ended:
                ends += 1
                assert_same(info["terminal_observation"], reference["terminal_observation"])
                assert info["TimeLimit.truncated"] == reference["TimeLimit.truncated"]
    assert ends > 3
    ours.close()


def test_tuples_of_stable_baselines3s_own_environments_are_flattened() -> None:
    assert_same_trajectories(flatten_vec_env(DummyVecEnv([lambda: Sampled(TUPLE)] * 2)), TUPLE)


@pytest.mark.parametrize("space", [TUPLE, NESTED], ids=["tuple", "nested"])
def test_observations_that_come_from_other_processes_are_flattened(space: spaces.Space[Any]) -> None:
    """Nested ones arrive as arrays of objects."""
    venv = SubprocVecEnv([lambda: Sampled(space)] * 2, start_method="fork")
    assert_same_trajectories(flatten_vec_env(venv), space, steps=10)


@pytest.mark.parametrize("space", [TUPLE, NESTED], ids=["tuple", "nested"])
def test_a_nested_vec_env_is_flattened(space: spaces.Space[Any]) -> None:
    assert_same_trajectories(flatten_vec_env(Stacked(space, 2)), space)


@pytest.mark.parametrize("space", [TUPLE, NESTED, spaces.Dict({"x": IMAGE})], ids=["tuple", "nested", "dict"])
def test_a_vector_environment_of_gymnasium_is_flattened(space: spaces.Space[Any]) -> None:
    vector_env = SyncVectorEnv([lambda: Sampled(space)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert_same_trajectories(flatten_vec_env(BatchedVecEnv(vector_env)), space)


def test_flat_environments_are_left_alone() -> None:
    venv = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    assert flatten_vec_env(venv) is venv
    assert prepare_env(venv) is venv


def test_a_single_environment_is_monitored_once_flattened_and_vectorised() -> None:
    venv = prepare_env(Sampled(NESTED))
    assert isinstance(venv.observation_space, spaces.Dict)
    assert list(venv.observation_space.spaces) == ["goal", "sensors/camera", "sensors/deep/0", "sensors/deep/1"]
    assert venv.observation_space["sensors/camera"].shape == (3, 7, 7)
    assert venv.env_is_wrapped(Monitor) == [True]
    assert prepare_env(venv) is venv
    assert prepare_env(Sampled(NESTED), monitor_wrapper=False).env_is_wrapped(Monitor) == [False]
    monitored = Monitor(gym.make("CartPole-v1"))
    again = prepare_env(monitored)
    assert again.get_attr("env")[0] is monitored.env


def test_a_vector_environment_of_gymnasium_is_monitored_and_trained_on() -> None:
    vector_env = gym.make_vec(
        "CartPole-v1", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}
    )
    venv = prepare_env(vector_env)
    assert isinstance(venv, VecMonitor)
    assert isinstance(venv.venv, BatchedVecEnv)
    model = RecurrentPPO("MlpPolicy", vector_env, n_steps=64, seed=0, policy_kwargs={"d_model": 8}, device="cpu")
    model.learn(128)
    assert len(model.ep_info_buffer or ()) > 0


def test_a_vector_environment_that_resets_in_the_next_step_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^the vector environment's autoreset_mode is [^\n]+SAME_STEP[^\n]+$"):
        RecurrentPPO("MlpPolicy", gym.make_vec("CartPole-v1", 2))


def test_images_are_moved_as_stable_baselines3_does_unless_it_would_mistake_them() -> None:
    def wrapper(space: spaces.Space[Any]) -> VecTransposeImage | None:
        venv = prepare_env(DummyVecEnv([lambda: Sampled(space)]))
        return venv if isinstance(venv, VecTransposeImage) else None

    def image(*shape: int) -> spaces.Box:
        return spaces.Box(0, 255, shape, np.uint8)

    for moved in (IMAGE, spaces.Dict({"a": IMAGE, "b": spaces.Discrete(2)})):
        venv = wrapper(moved)
        assert venv is not None
        assert not venv.skip
    assert wrapper(image(3, 7, 7)) is None
    assert wrapper(image(7, 7, 12)) is None
    assert wrapper(spaces.Box(0.0, 1.0, (7, 7, 3))) is None
    for left in (image(7, 2, 3), spaces.Dict({"a": IMAGE, "b": image(3, 7, 7)})):
        venv = wrapper(left)
        assert venv is not None
        assert venv.skip
        assert venv.observation_space == left


def test_normalisation_stays_around_a_flattened_environment() -> None:
    numbers = spaces.Tuple([spaces.Box(-1.0, 1.0, (2,)), spaces.Box(-1.0, 1.0, ())])
    venv = prepare_env(VecNormalize(flatten_vec_env(DummyVecEnv([lambda: Sampled(numbers)]))))
    assert unwrap_vec_normalize(venv) is venv
    assert is_vecenv_wrapped(venv, FlattenVecEnv)
    model = RecurrentPPO("MultiInputPolicy", venv, n_steps=8, policy_kwargs={"d_model": 8}, device="cpu").learn(16)
    assert model.get_vec_normalize_env() is venv


def test_a_new_environment_is_prepared_too() -> None:
    model = RecurrentPPO("MultiInputPolicy", Sampled(NESTED), n_steps=8, policy_kwargs={"d_model": 8}, device="cpu")
    model.set_env(Sampled(NESTED))
    model.learn(16)


def test_make_vec_flattens() -> None:
    venv = make_vec("popgym-AutoencodeEasy-v0", n_envs=2, seed=0)
    assert isinstance(venv.observation_space, spaces.Dict)
    observations = venv.reset()
    assert isinstance(observations, dict)
    assert {key: len(array) for key, array in observations.items()} == {"0": 2, "1": 2}


def test_an_entry_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"^the observation has no entry 'sensors/camera'[^\n]+$"):
        flatten_observation(flatten_space(NESTED), {"goal": 1, "sensors": {}})
