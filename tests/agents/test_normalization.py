"""The statistics of a ``VecNormalize`` in checkpoints: what comes back, what is refused, what is said.

Mutations that these tests were seen to fail on: statistics not put back; names or shapes not compared; a loss that is
not said, is said after a mere reset, or is looked for in the count alone; an environment that scales nothing not named,
or named where rewards alone were scaled; a damaged file not looked at; of a scale, a mean that moves,
squares left out, or a mean that it was given; an environment that is no VecEnv not looked at.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize

from s7rl.agents import RecurrentPPO, VecScale, load_normalization, make_vec
from s7rl.agents.checkpoint_files import unpack_checkpoint
from s7rl.agents.normalization import RunningMeanSquare, running_statistics


def poles() -> VecEnv:
    return make_vec("s7rl/CartPolePositionOnly-v0", 2, seed=0)


class Pair(gym.ObservationWrapper[Any, Any, Any]):
    """The cart-pole's observation in two parts."""

    observation_space: spaces.Space[Any] = spaces.Dict({name: spaces.Box(-9.0, 9.0, (2,)) for name in ("cart", "pole")})

    def observation(self, observation: Any) -> Any:
        return {"cart": observation[:2].clip(-9, 9), "pole": observation[2:].clip(-9, 9)}


def pairs() -> VecEnv:
    return VecMonitor(DummyVecEnv([lambda: Pair(gym.make("CartPole-v1"))] * 2))


def agent(env: VecEnv, seed: int = 0) -> RecurrentPPO:
    return RecurrentPPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1, seed=seed, policy_kwargs={"d_model": 8})


def assert_same_statistics(one: VecEnv, other: VecEnv) -> None:
    assert isinstance(one, VecNormalize)
    assert isinstance(other, VecNormalize)
    pairs: list[tuple[Any, Any]] = [(one.ret_rms, other.ret_rms)]
    if one.norm_obs:
        pairs.append((one.obs_rms, other.obs_rms))
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        np.testing.assert_array_equal(ours.var, theirs.var)
        assert ours.count == theirs.count > 60


@pytest.fixture(scope="module")
def trained() -> RecurrentPPO:
    return agent(VecNormalize(poles(), clip_obs=3.0, gamma=0.8)).learn(64)


@pytest.fixture
def saved(trained: RecurrentPPO, tmp_path: Path) -> Path:
    trained.save(tmp_path / "agent")
    return tmp_path / "agent"


def test_they_come_back_for_evaluation(trained: RecurrentPPO, saved: Path) -> None:
    restored, env = load_normalization(saved, poles()), trained.get_vec_normalize_env()
    assert isinstance(restored, VecNormalize)
    assert env is not None
    assert not restored.training
    assert not restored.norm_reward
    assert (restored.clip_obs, restored.gamma) == (3.0, 0.8)
    assert_same_statistics(restored, env)
    raw = np.array([[0.5, -1.0]], dtype=np.float32)
    np.testing.assert_allclose(np.asarray(restored.normalize_obs(raw)), np.asarray(env.normalize_obs(raw)))


@pytest.mark.parametrize("make", [poles, pairs])
def test_a_scale_divides_by_the_root_mean_square_and_leaves_the_mean(make: Any) -> None:
    env = VecScale(make(), epsilon=0.0)
    scaled: Any = env.reset()
    seen: list[Any] = [env.get_original_obs()]
    for _ in range(40):
        scaled, *_ = env.step(np.ones(2, dtype=int))
        seen.append(env.get_original_obs())
    for key in (None,) if make is poles else ("cart", "pole"):
        ours, entries = (scaled if key is None else scaled[key]), [o if key is None else o[key] for o in seen]
        # SB3 begins with a pseudo-sample of variance 1 that weighs 1e-4.
        squares = (np.square(entries, dtype=float).sum(axis=(0, 1)) + 1e-4) / (2 * 41 + 1e-4)
        np.testing.assert_allclose(ours, entries[-1] / np.sqrt(squares), rtol=1e-5)


def test_a_scale_comes_back_and_learns_on_as_one(tmp_path: Path) -> None:
    env, fresh = VecScale(poles()), VecScale(poles())
    agent(env).learn(64).save(tmp_path / "agent")
    assert_same_statistics(load_normalization(tmp_path / "agent", poles()), env)
    RecurrentPPO.load(tmp_path / "agent", env=fresh).learn(64)
    running: Any = fresh.obs_rms
    assert running.count > 120
    assert not running.mean.any()


def test_a_scale_takes_the_mean_of_a_normaliser_for_a_part_of_the_size() -> None:
    running = RunningMeanSquare(shape=(2,))
    running.mean, running.var, running.count = np.array([3.0, 0.0]), np.array([4.0, 1.0]), 10.0
    running.update(np.ones((10, 2)))
    np.testing.assert_allclose(running.var, [(13 * 10 + 1 * 10) / 20, 1.0])
    assert not running.mean.any()


def test_a_scale_of_rewards_alone_leaves_observations() -> None:
    env = VecScale(poles(), norm_obs=False)
    assert list(running_statistics(env)) == ["ret_rms"]


def test_without_normalisation_the_environment_is_left_alone(tmp_path: Path) -> None:
    agent(poles()).save(tmp_path / "a")
    env = poles()
    assert load_normalization(tmp_path / "a", env) is env


def test_those_of_rewards_alone_come_back_too(tmp_path: Path) -> None:
    env = VecNormalize(poles(), norm_obs=False)
    agent(env).learn(64).save(tmp_path / "a")
    assert_same_statistics(load_normalization(tmp_path / "a", poles()), env)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # observations are as they were
        RecurrentPPO.load(tmp_path / "a", env=poles())


def test_an_environment_that_an_agent_is_loaded_with_gets_them(trained: RecurrentPPO, saved: Path) -> None:
    fresh = VecNormalize(poles())
    RecurrentPPO.load(saved, env=fresh)
    assert trained.env is not None
    assert_same_statistics(fresh, trained.env)
    assert fresh.training
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where they are the same
        RecurrentPPO.load(saved, env=fresh)


def test_it_is_said_once_where_an_environment_loses_its_own(saved: Path) -> None:
    """After as many steps, too, but not where it has only been reset."""
    env = VecNormalize(poles())
    env.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RecurrentPPO.load(saved, env=env)
    env = VecNormalize(poles())
    agent(env, seed=9).learn(64)
    with pytest.warns(UserWarning, match="ret_rms and obs_rms of env's VecNormalize, .* are replaced") as warned:
        RecurrentPPO.load(saved, env=env)
    assert len(warned) == 1


def test_it_is_said_where_observations_are_no_longer_scaled(saved: Path) -> None:
    with pytest.warns(UserWarning, match="scaled by a VecNormalize, and env has none"):
        RecurrentPPO.load(saved, env=poles())


@pytest.mark.parametrize("keys", [["cart", "pole"], ("pole", "cart"), ["pole"]])
def test_those_of_the_entries_of_a_dict_come_back(keys: Any, tmp_path: Path) -> None:
    """Fails if the order or the kind of the names of the entries matters."""
    env, fresh = (VecNormalize(pairs(), norm_obs_keys=given) for given in (keys, list(reversed(keys))))
    RecurrentPPO("MultiInputPolicy", env, n_steps=8, policy_kwargs={"d_model": 8}).learn(64).save(tmp_path / "a")
    RecurrentPPO.load(tmp_path / "a", env=fresh)
    for key in keys:
        ours: Any = fresh.obs_rms
        theirs: Any = env.obs_rms
        np.testing.assert_array_equal(ours[key].mean, theirs[key].mean)
    with pytest.raises(ValueError, match=r"but the agent's kept .*obs_rms\.pole"):
        RecurrentPPO.load(tmp_path / "a", env=VecNormalize(pairs(), norm_obs_keys=["cart"]))


@pytest.mark.parametrize(
    "damage",
    [
        {"obs_rms.mean": None},
        {"ret_rms.var": torch.ones(3).double()},
        {"obs_rms.count": torch.ones(2).double()},
        {f"obs_rms.{part}": None for part in ("mean", "var", "count")},
        {f"{name}.{part}": None for name in ("obs_rms", "ret_rms") for part in ("mean", "var", "count")},
    ],
    ids=["mean missing", "shape of returns", "shape of a count", "observations missing", "nothing there"],
)
def test_a_damaged_file_is_named(damage: dict[str, torch.Tensor | None], saved: Path, tmp_path: Path) -> None:
    """Fails if the environment is blamed for it."""
    unpack_checkpoint(saved, tmp_path / "folder")
    file = tmp_path / "folder" / "normalization.safetensors"
    tensors = {**load_file(file), **damage}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)
    what = r"(obs|ret)_rms\.\w+ is |its running statistics are ret_rms alone"
    words = rf"^\S*folder is not a checkpoint that this s7rl can read: ({what})"
    for env in (VecNormalize(poles()), poles()):
        with pytest.raises(ValueError, match=words):
            RecurrentPPO.load(file.parent, env=env)
    with pytest.raises(ValueError, match=words):
        load_normalization(file.parent, poles())


def test_an_environment_that_scales_something_else_is_refused_and_not_the_file(saved: Path, tmp_path: Path) -> None:
    words = r"^env's VecNormalize keeps ret_rms, but the agent's kept obs_rms and ret_rms: [^\n]*$"
    with pytest.raises(ValueError, match=words):
        RecurrentPPO.load(saved, env=VecNormalize(poles(), norm_obs=False))
    agent(VecFrameStack(VecNormalize(poles()), 2)).learn(16).save(tmp_path / "inside")
    agent(VecNormalize(VecFrameStack(poles(), 2))).learn(16).save(tmp_path / "outside")
    RecurrentPPO.load(tmp_path / "inside", env=VecFrameStack(VecNormalize(poles()), 2))
    with pytest.raises(ValueError, match=r"has obs_rms of shape \(2,\), the agent's was \(4,\)"):
        RecurrentPPO.load(tmp_path / "outside", env=VecFrameStack(VecNormalize(poles()), 2))
    with pytest.raises(ValueError, match=r"has obs_rms of shape \(4,\), the agent's was \(2,\)"):
        load_normalization(tmp_path / "inside", VecFrameStack(poles(), 2))


@pytest.mark.usefixtures("as_users_run_it")
def test_one_environment_or_its_id_is_refused_and_not_the_file(saved: Path) -> None:
    one: Any
    for one in (gym.make("CartPole-v1"), "CartPole-v1", None):
        with pytest.raises(TypeError, match=r"^env is [^\n]+: pass an SB3 VecEnv, from make_vec or DummyVecEnv[^\n]+$"):
            load_normalization(saved, one)
