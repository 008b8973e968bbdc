"""What an agent learned on a GPU serves on the CPU, and training goes on.

That every configuration learns on one, and its files give back what was saved, is in test_random_configurations.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s7rl.agents import RecurrentPPO, make_vec

pytestmark = pytest.mark.gpu
ENV, N_ENVS, N_STEPS = "s7rl/TMazePassive-v0", 8, 64


def learned(n_rollouts: int) -> RecurrentPPO:
    model = RecurrentPPO(
        "MlpPolicy", make_vec(ENV, N_ENVS, seed=3), n_steps=N_STEPS, batch_size=256, seed=3, device="cuda"
    )
    return model.learn(n_rollouts * N_ENVS * N_STEPS)


def test_an_agent_trained_on_a_gpu_has_the_same_memory_on_the_cpu(tmp_path: Path) -> None:
    trained = learned(4)
    assert trained.device.type == "cuda"
    trained.save(tmp_path / "agent")
    on_cpu = RecurrentPPO.load(tmp_path / "agent", device="cpu")
    weights = on_cpu.policy.state_dict()
    for name, weight in trained.policy.state_dict().items():
        assert torch.equal(weight.cpu(), weights[name]), name
    env = make_vec(ENV, 4, seed=9)
    obs: Any = env.reset()
    state = expected = None
    starts = np.ones(4, dtype=bool)
    for _ in range(60):
        actions, state = on_cpu.predict(obs, state, starts, deterministic=True)
        _, expected = trained.predict(obs, expected, starts, deterministic=True)
        np.testing.assert_allclose(state, expected, rtol=1e-3, atol=1e-3)
        obs, _, starts, _ = env.step(actions)


def test_a_resumed_run_goes_on_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    whole = learned(4)
    learned(2).save(tmp_path / "agent", resumable=True)
    torch.manual_seed(99)
    resumed = RecurrentPPO.resume(tmp_path / "agent", make_vec(ENV, N_ENVS, seed=3), device="cuda")
    resumed.learn(2 * N_ENVS * N_STEPS, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    # Not bit for bit: a GPU adds some gradients up in no fixed order.
    for got, expected in zip(resumed.policy.parameters(), whole.policy.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
