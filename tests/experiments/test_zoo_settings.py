"""Our settings for RL Baselines3 Zoo, which need no rl_zoo3 to be compared with what `s7rl train` chooses."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from s7rl.envs import find_task
from s7rl.envs.suites import memory
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.settings import settings_for

FILE = Path(__file__).parents[2] / "experiments" / "zoo" / "ppo_s7.yml"
SETTINGS: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())


@pytest.mark.parametrize("env_id", [name for name in SETTINGS if name != "default"])
def test_the_settings_are_those_that_s7rl_train_chooses(env_id: str) -> None:
    # Seen to fail it: any number of the file changed.
    chosen = settings_for(find_task(env_id), AGENTS["s7"], TrainConfig(env=env_id))
    given = dict(SETTINGS[env_id])
    sizes = ("n_envs", "n_steps", "batch_size", "n_epochs")
    for name in (*sizes, "gamma", "gae_lambda", "clip_range", "ent_coef", "vf_coef", "max_grad_norm"):
        assert given[name] == getattr(chosen, name), name
    assert given["n_timesteps"] == chosen.steps
    assert given["learning_rate"] == f"lin_{chosen.learning_rate}"
    normalize = given["normalize"] if isinstance(given["normalize"], str) else "dict(norm_obs=True, norm_reward=True)"
    # The zoo makes a VecNormalize of it, where `s7rl train` may make a VecScale.
    assert eval(normalize) == {"norm_obs": bool(chosen.normalize_observations), "norm_reward": chosen.normalize_rewards}
    policy = eval(given["policy_kwargs"])
    assert policy.get("d_model", 64) == chosen.d_model
    assert policy["core_kwargs"] == dict(chosen.core_kwargs)


def test_every_memory_task_has_settings() -> None:
    # Seen to fail it: one of them left out.
    assert set(memory.SUITE.own) <= set(SETTINGS)
    assert set(SETTINGS["default"]) >= {"n_timesteps", "policy", "n_steps", "batch_size"}
