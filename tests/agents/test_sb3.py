"""What a user of Stable-Baselines3 expects to work unchanged."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecNormalize

from s7rl.agents import RecurrentActorCriticPolicy, RecurrentPPO, make_vec

SMALL = {"d_model": 8, "d_state": 6}


class Judge(gym.Env[NDArray[np.float32], Any]):
    """Rewards each action by how it fits the time, in episodes of nine steps that look alike after the first."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))

    def __init__(self, action_space: spaces.Space[Any] | None = None) -> None:
        self.action_space = action_space or spaces.Box(-5.0, 5.0, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.cue = 0, float(self.np_random.choice([-1.0, 1.0]))
        return np.array([self.cue, 1.0], dtype=np.float32), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.t += 1
        ended = self.t == 9
        info = {"is_success": self.cue > 0} if ended else {}
        reward = float(self.t * np.sum(action))
        return np.zeros(2, dtype=np.float32), reward, ended and self.cue < 0, ended and self.cue > 0, info


def judges(number: int = 2, action_space: spaces.Space[Any] | None = None) -> VecEnv:
    return VecMonitor(DummyVecEnv([lambda: Judge(action_space)] * number))


def agent(env: Any, **options: Any) -> RecurrentPPO:
    return RecurrentPPO("MlpPolicy", env, **{"n_steps": 16, "seed": 0, **options}, policy_kwargs=SMALL)


def perturb(model: RecurrentPPO) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(3),
        spaces.Box(-1.0, 1.0, (2,)),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
    ],
)
def test_actions_of_every_kind_are_learned(action_space: spaces.Space[Any]) -> None:
    model = agent(judges(action_space=action_space))
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(64)
    assert model._n_updates == 8
    after = list(model.policy.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_callback_finds_what_it_looks_for_in_its_locals() -> None:
    """By sb3-contrib's names; fails if actions are those after clipping in both, or tensors, or starts are late."""
    seen: list[dict[str, Any]] = []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            names = ("actions", "clipped_actions", "values", "log_probs", "episode_starts", "rewards", "dones", "infos")
            seen.append({name: self.locals[name] for name in names})
            return True

    agent(judges(action_space=spaces.Box(-0.1, 0.1, (2,)))).learn(2 * 16, Look())
    for step, names in enumerate(seen):
        np.testing.assert_array_equal(names["clipped_actions"], names["actions"].clip(-0.1, 0.1))
        assert names["episode_starts"].tolist() == [step % 9 == 0] * 2
        assert names["values"].shape == names["log_probs"].shape == (2,)
    assert any((names["clipped_actions"] != names["actions"]).any() for names in seen)


@pytest.mark.parametrize("env_id", ["s7rl/TMazePassive-v0", "s7rl/CartPolePositionOnly-v0", "CartPole-v1"])
def test_batched_and_single_environments_are_trained_on_by_their_id(env_id: str) -> None:
    model = RecurrentPPO("MlpPolicy", env_id, n_steps=8, policy_kwargs=SMALL)
    assert model.n_envs == 16
    model.learn(256)
    assert model.num_timesteps == 256


def test_a_plain_gymnasium_environment_is_trained_on() -> None:
    assert agent(Judge()).learn(32).num_timesteps == 32


def mean_return_by_hand(model: RecurrentPPO, env: VecEnv, episodes: int, remembers: bool) -> float:
    """Mean return of the next episodes of one environment, deterministic."""
    obs, state, start, returns = env.reset(), None, np.ones(1, dtype=bool), [0.0]
    while len(returns) <= episodes:
        kept: Any = state if remembers else None
        action, state = model.predict(obs, kept, start, deterministic=True)
        obs, reward, start, _ = env.step(action)
        returns[-1] += float(reward[0])
        if start[0]:
            returns.append(0.0)
    return float(np.mean(returns[:-1]))


def test_evaluate_policy_carries_the_state_and_an_agent_that_forgets_acts_otherwise() -> None:
    model = agent(judges())
    perturb(model)
    scores = []
    for remembers in (True, False):
        env = judges(1)
        env.seed(4)
        scores.append(mean_return_by_hand(model, env, 6, remembers))
    env = judges(1)
    env.seed(4)
    score, _ = evaluate_policy(model, env, n_eval_episodes=6)
    assert score == pytest.approx(scores[0], rel=1e-4)
    assert abs(scores[1] - scores[0]) > 0.1


def test_the_eval_callback_scores_the_agent_and_keeps_the_best(tmp_path: Path) -> None:
    callback = EvalCallback(
        judges(1),
        n_eval_episodes=3,
        eval_freq=20,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        verbose=0,
    )
    model = agent(judges())
    model.learn(128, callback)
    with np.load(tmp_path / "evaluations.npz") as evaluations:
        assert evaluations["timesteps"].tolist() == [40, 80, 120]
        assert evaluations["results"].shape == (3, 3)
        assert evaluations["successes"].shape == (3, 3)
    best = RecurrentPPO.load(tmp_path / "best_model.zip", env=judges())
    assert best.learn(32).num_timesteps == 32


def test_the_checkpoint_callback_saves_agents_that_can_be_loaded(tmp_path: Path) -> None:
    env = VecNormalize(judges())
    callback = CheckpointCallback(16, str(tmp_path), name_prefix="agent", save_vecnormalize=True)
    model = agent(env).learn(64, callback)
    assert {path.name for path in tmp_path.iterdir()} >= {"agent_32_steps.zip", "agent_64_steps.zip"}
    loaded = RecurrentPPO.load(tmp_path / "agent_64_steps", env=env)
    assert loaded.num_timesteps == model.num_timesteps == 64


# Seen to fail it: _get_constructor_parameters without ours, without one of them, or with SB3's None.
def test_the_policy_alone_is_saved_and_loaded_with_all_its_options(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        **SMALL,
        "core": "stack",
        "n_blocks": 2,
        "core_kwargs": {"n_frames": 3},
        "critic_core": "separate",
        "dynamics_lr_factor": 0.5,
        "checkpoint_steps": 4,
        "net_arch": [8],
        "share_features_extractor": False,
    }
    model = RecurrentPPO("MlpPolicy", judges(), n_steps=16, seed=0, policy_kwargs=options)
    perturb(model)
    model.policy.save(str(tmp_path / "policy"))
    loaded = RecurrentActorCriticPolicy.load(str(tmp_path / "policy"))
    assert loaded._get_constructor_parameters().items() >= options.items()
    observations = np.array([[1.0, 1.0], [-1.0, 1.0]], dtype=np.float32)
    expected = model.policy.predict(observations, deterministic=True)
    for found, value in zip(loaded.predict(observations, deterministic=True), expected, strict=True):
        np.testing.assert_array_equal(found, value)


def test_a_normalised_environment_is_learned_in_with_normalised_time_outs() -> None:
    env = VecNormalize(judges(), norm_reward=False)
    model = agent(env, n_steps=20).learn(40)
    buffer = model.rollout_buffer
    assert buffer.truncated.any()
    assert buffer.terminated.any()
    statistics: Any = env.obs_rms
    assert statistics.count > 20
    assert buffer.next_values.isfinite().all()


ROLLOUT = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate"}
TIME = {"time/fps", "time/time_elapsed", "time/total_timesteps", "time/iterations"}
TRAIN = {
    "train/approx_kl",
    "train/clip_fraction",
    "train/clip_range",
    "train/entropy_loss",
    "train/explained_variance",
    "train/learning_rate",
    "train/loss",
    "train/n_updates",
    "train/policy_gradient_loss",
    "train/value_loss",
}


def logged(model: Any, folder: Path) -> dict[str, float]:
    model.set_logger(configure(str(folder), ["csv", "tensorboard"]))
    model.learn(128)
    model.logger.close()
    with (folder / "progress.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert list(folder.glob("events.out.tfevents.*"))
    return {key: float(value) for key, value in last.items()}


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,))])
def test_the_log_has_the_keys_of_sb3s_ppo(action_space: spaces.Space[Any], tmp_path: Path) -> None:
    ours = logged(agent(judges(action_space=action_space), clip_range_vf=0.2), tmp_path / "ours")
    theirs = PPO("MlpPolicy", judges(action_space=action_space), n_steps=16, batch_size=32, clip_range_vf=0.2)
    assert set(ours) >= ROLLOUT | TIME | TRAIN
    assert set(ours) - {"train/state_staleness"} == set(logged(theirs, tmp_path / "theirs"))
    assert ours["rollout/ep_len_mean"] == 9
    assert 0 < ours["rollout/success_rate"] < 1
    assert ours["train/n_updates"] == 3 * 4
    assert np.isfinite(list(ours.values())).all()


def test_tensorboard_is_written_where_the_constructor_was_told(tmp_path: Path) -> None:
    agent(judges(), tensorboard_log=str(tmp_path)).learn(32, tb_log_name="run")
    assert list((tmp_path / "run_1").glob("events.out.tfevents.*"))


def test_set_env_swaps_the_environments_and_starts_new_episodes() -> None:
    model = agent(judges()).learn(32)
    model.set_env(judges())
    model.learn(32, reset_num_timesteps=False)
    assert model.num_timesteps == 64
    assert model.rollout_buffer.episode_starts[0].all()
    assert not model.rollout_buffer.states[0].any()


def test_a_monitored_single_environment_reports_its_episodes() -> None:
    model = agent(Monitor(Judge())).learn(64)
    assert model.ep_info_buffer is not None
    assert {info["l"] for info in model.ep_info_buffer} == {9}


def test_the_batched_maze_reports_successes_to_the_log() -> None:
    env = make_vec("s7rl/TMazePassive-v0", n_envs=4, seed=0, env_kwargs={"corridor_length": 2})
    model = agent(env).learn(256)
    assert model.ep_success_buffer is not None
    assert 0 < np.mean(model.ep_success_buffer) < 1


@pytest.mark.filterwarnings("ignore:.*render_mode='rgb_array':UserWarning")
@pytest.mark.parametrize(
    ("env_id", "drawn"), [("s7rl/TMazePassive-v0", None), ("s7rl/CartPolePositionOnly-v0", "rgb_array")]
)
def test_make_vec_env_takes_an_id_whether_it_can_be_drawn_or_not(env_id: str, drawn: str | None) -> None:
    """Seen to fail with a ValueError in place of the TypeError that SB3 looks for."""
    env = make_vec_env(env_id, n_envs=2)
    assert env.render_mode == drawn
    env.close()
