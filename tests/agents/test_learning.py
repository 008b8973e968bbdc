"""The whole thing on the smallest task that needs memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s7rl.agents import RecurrentPPO, make_vec

CORRIDOR = 10
BUDGET = 32_768
"""Environment steps.  Nobody without memory exceeds a success rate of 0.5 on average: the cue is a coin."""


def success_rate(core: str) -> float:
    """Of the last 100 episodes of a short training."""
    env = make_vec("s7rl/TMazePassive-v0", n_envs=32, seed=0, env_kwargs={"corridor_length": CORRIDOR})
    model = RecurrentPPO(
        "MlpPolicy",
        env,
        learning_rate=3e-3,
        n_steps=32,
        batch_size=256,
        seed=0,
        policy_kwargs={"core": core, "d_model": 24, "d_state": 24},
    )
    model.learn(BUDGET)
    assert model.ep_success_buffer is not None
    assert len(model.ep_success_buffer) == 100
    return float(np.mean(model.ep_success_buffer))


@pytest.mark.parametrize(
    ("core", "at_least", "at_most"), [("s7", 0.95, 1.0), pytest.param("none", 0.0, 0.7, marks=pytest.mark.slow)]
)
def test_only_an_agent_with_memory_learns_which_arm_the_cue_named(core: str, at_least: float, at_most: float) -> None:
    assert at_least <= success_rate(core) <= at_most


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler speaks of itself
@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("core", ["s7", "gru", "lru"])
def test_a_compiled_policy_learns_the_same(core: str) -> None:
    # Slow since the compiler takes up to half a minute.  Fails where it compiles a network of other weights.
    weights = []
    for compiled in (False, True):
        env = make_vec("s7rl/TMazePassive-v0", n_envs=4, seed=0, env_kwargs={"corridor_length": CORRIDOR})
        model = RecurrentPPO(
            "MlpPolicy", env, n_steps=32, seed=0, policy_kwargs={"core": core, "d_model": 8}, compile_policy=compiled
        )
        model.learn(256)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.policy.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)
