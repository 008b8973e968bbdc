"""Shaped rewards of vectorised environments: those of single ones side by side, and both returns in the log.

Mutations seen to fail: the observation after the reset taken for the last one; a terminal state's potential counted; a
time-out's left out; the potentials of ended episodes not asked anew; the shaped return not set back, at an end or at a
reset; observations kept without a copy; a step that ends both ways called truncated; float64 rewards; environments
looked at for the sake of a scale; ``ep_shaped_rew_mean`` not recorded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecNormalize

from s7rl import envs
from s7rl.agents import BatchedVecEnv, RecurrentPPO, ShapedRewardVecEnv, make_vec
from s7rl.envs.rewards import RewardError, RewardShaping
from s7rl.envs.wrappers.reward import ShapedReward

POINT = spaces.Box(-np.inf, np.inf, (2,))
KINDS: dict[str, spaces.Space[Any]] = {
    "box": POINT,
    "number": spaces.Discrete(5),
    "dict": spaces.Dict({"point": POINT, "way": spaces.Discrete(2)}),
    "tuple": spaces.Tuple([POINT, spaces.Discrete(3)]),
}


class Endings(gym.Env[Any, Any]):
    """Random observations and episodes; rewards that are the same in float32 and float64."""

    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def __init__(self, kind: str = "box") -> None:
        self.observation_space = copy.deepcopy(KINDS[kind])  # each draws from a generator of its own

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = int(self.np_random.integers(-8, 9)) / 4
        terminated, truncated = (self.np_random.random(2) < 0.3).tolist()
        return self.observation_space.sample(), reward, terminated, truncated, {"speed": reward / 2}


def total(obs: Any) -> float:
    """A number that every part of an observation has a share in."""
    if isinstance(obs, dict | tuple):
        return float(sum(map(total, obs.values() if isinstance(obs, dict) else obs)))
    return float(np.sin(np.asarray(obs, dtype=np.float64) + 0.3).sum())


def paid(obs: Any, action: Any, next_obs: Any, info: Any) -> float:
    ends: float = 4.0 * info["terminated"] + 2.0 * info["truncated"]
    speed: float = info.get("speed", 0.0)
    return total(obs) + float(action) - 3.0 * total(next_obs) + ends + speed


OPTIONS = st.fixed_dictionaries(
    {
        "potential": st.sampled_from([None, total]),
        "reward": st.sampled_from([None, paid]),
        "scale": st.floats(0.1, 10.0),
        "clip": st.sampled_from([None, 0.75]),
        "discount": st.floats(0.0, 1.0),
    }
)


def assert_same_rewards(ours: VecEnv, theirs: VecEnv, steps: int, tolerance: float) -> int:
    """Drive both with the same actions; return how many episodes ended."""
    ours.seed(5)
    theirs.seed(5)
    ours.reset()
    theirs.reset()
    rng, ends = np.random.default_rng(0), 0
    number = int(ours.action_space.n)  # type: ignore[attr-defined]
    for _ in range(steps):
        actions = rng.integers(number, size=ours.num_envs)
        (_, mine, dones, infos), (_, other, _, references) = ours.step(actions), theirs.step(actions)
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)
        for i in np.flatnonzero(dones):
            ends += 1
            for key in ("r", "shaped_r"):
                assert infos[i]["episode"][key] == pytest.approx(references[i]["episode"][key], abs=1e-5)
    return ends


@settings(max_examples=25)
@given(OPTIONS, st.sampled_from(list(KINDS)))
def test_vectorised_environments_are_shaped_as_single_ones(options: dict[str, Any], kind: str) -> None:
    shaping = RewardShaping(**options)
    ours = ShapedRewardVecEnv(VecMonitor(DummyVecEnv([lambda: Endings(kind)] * 3)), shaping)
    theirs = DummyVecEnv([lambda: ShapedReward(Monitor(Endings(kind)), shaping)] * 3)
    assert assert_same_rewards(ours, theirs, 25, 0.0) > 5


@settings(max_examples=25)
@given(OPTIONS)
def test_a_batched_task_is_shaped_as_single_environments(options: dict[str, Any]) -> None:
    shaping = RewardShaping(**options)
    kwargs = {"corridor_length": 3}
    ours = ShapedRewardVecEnv(make_vec("s7rl/TMazePassive-v0", 3, env_kwargs=kwargs), shaping)
    theirs = DummyVecEnv([lambda: ShapedReward(Monitor(envs.make_env("s7rl/TMazePassive-v0", kwargs)), shaping)] * 3)
    assert assert_same_rewards(ours, theirs, 25, 1e-5) >= 3


def test_observations_that_the_environments_write_over_are_copied() -> None:
    # Gymnasium's vector environments return the same array at every step where copy is False.
    makers: list[Callable[[], gym.Env[Any, Any]]] = [Endings] * 3
    ours, theirs = (
        ShapedRewardVecEnv(
            VecMonitor(BatchedVecEnv(SyncVectorEnv(makers, copy=copies, autoreset_mode=AutoresetMode.SAME_STEP))),
            RewardShaping(reward=lambda obs, action, next_obs, info: total(obs) - total(next_obs)),
        )
        for copies in (False, True)
    )
    assert assert_same_rewards(ours, theirs, 25, 0.0) > 5


def test_returns_are_counted_episode_by_episode() -> None:
    env = ShapedRewardVecEnv(make_vec("CartPole-v1", 2, seed=0), RewardShaping(scale=0.5, clip=0.25))
    env.reset()
    lengths = np.zeros(2)
    for _ in range(100):
        _, rewards, dones, infos = env.step(np.zeros(2, dtype=np.int64))
        np.testing.assert_array_equal(rewards, [0.125, 0.125])
        lengths += 1
        for i in np.flatnonzero(dones):
            assert infos[i]["episode"]["r"] == lengths[i]
            assert infos[i]["episode"]["shaped_r"] == 0.125 * lengths[i]
        lengths[dones] = 0
        np.testing.assert_array_equal(env.shaped_returns, 0.125 * lengths)
    env.reset()
    np.testing.assert_array_equal(env.shaped_returns, np.zeros(2))


class Lines(KVWriter, BaseCallback):
    """The lines of the log, and the rewards that were learned from."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.rewards: list[Any] = []

    def _on_step(self) -> bool:
        self.rewards.append(self.locals["rewards"])
        return True

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.lines.append(dict(key_values))

    def close(self) -> None:
        pass


def learn(env: VecEnv) -> Lines:
    model = RecurrentPPO("MlpPolicy", env, n_steps=40, seed=0, policy_kwargs={"core": "mingru", "d_model": 8})
    lines = Lines()
    model.set_logger(Logger(None, [lines]))
    model.learn(80, lines)
    return lines


@pytest.mark.parametrize("face", ["vectorised", "single"])
def test_both_returns_are_logged_and_the_shaped_one_is_learned_from(face: str) -> None:
    shaping = RewardShaping(reward=lambda obs, action, next_obs, info: -2.0)
    env: VecEnv
    if face == "single":
        env = DummyVecEnv([lambda: ShapedReward(Monitor(gym.make("CartPole-v1")), shaping)])
    else:
        env = ShapedRewardVecEnv(make_vec("CartPole-v1", 1), shaping)
    lines = learn(env)
    assert set(np.ravel(lines.rewards)) == {-2.0}
    assert len(lines.lines) == 2
    for line in lines.lines:
        assert line["rollout/ep_rew_mean"] == pytest.approx(line["rollout/ep_len_mean"])
        assert line["rollout/ep_shaped_rew_mean"] == pytest.approx(-2.0 * line["rollout/ep_len_mean"])


def test_without_shaping_the_log_is_as_it_was() -> None:
    assert not any("rollout/ep_shaped_rew_mean" in line for line in learn(make_vec("CartPole-v1", 1)).lines)


def test_a_normaliser_around_it_scales_the_shaped_rewards() -> None:
    shaped = ShapedRewardVecEnv(make_vec("CartPole-v1", 2, seed=0), RewardShaping(scale=8.0))
    env = VecNormalize(shaped, norm_obs=False)
    env.reset()
    env.step(np.zeros(2, dtype=np.int64))
    np.testing.assert_array_equal(env.get_original_reward(), [8.0, 8.0])


def test_clipping_and_scaling_look_at_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise AssertionError("an environment was looked at by itself")

    for name in ("_potential", "_ask"):
        monkeypatch.setattr(ShapedRewardVecEnv, name, refuse)
    env = ShapedRewardVecEnv(VecMonitor(DummyVecEnv([Endings] * 3)), RewardShaping(scale=2.0, clip=1.0))
    obs = env.reset()
    assert isinstance(obs, np.ndarray)
    for _ in range(20):
        env.step(np.zeros(3, dtype=np.int64))


class Third(Endings):
    """Shows, while it is set so, what no function is ready for."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.full(2, 9.0, dtype=np.float32), 0.0, False, False, {}


@pytest.mark.parametrize("role", ["potential", "reward"])
def test_a_failing_function_is_named_with_its_environment_and_step(role: str) -> None:
    def potential(obs: Any) -> float:
        return float("nan") if obs[0] == 9.0 else 0.0

    def reward(obs: Any, action: Any, next_obs: Any, info: Any) -> float:
        return potential(next_obs)

    functions: dict[str, Any] = {"potential": potential, "reward": reward}
    shaping = RewardShaping(discount=1.0, **{role: functions[role]})
    env = ShapedRewardVecEnv(DummyVecEnv([Endings, Endings, Endings]), shaping)
    env.reset()
    env.step(np.zeros(3, dtype=np.int64))
    env.venv.envs[2] = Third()  # type: ignore[attr-defined]
    with pytest.raises(
        RewardError, match=rf"^in environment 2, at its step 2: the {role}[^\n]*{role} returned nan[^\n]+$"
    ):
        env.step(np.zeros(3, dtype=np.int64))
