"""What the tests of all suites do: train for a moment, hide a package."""

from __future__ import annotations

import os
import subprocess
import sys

from s7rl.agents import RecurrentPPO, make_vec


def check_training(env_id: str, policy: str) -> None:
    """Train on two environments for a few steps."""
    env = make_vec(env_id, 2, seed=0)
    model = RecurrentPPO(
        policy,
        env,
        n_steps=4,
        n_epochs=1,
        device="cpu",
        policy_kwargs={"d_model": 8, "d_state": 4},
    )
    model.learn(16)
    assert model.num_timesteps == 16
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    env.close()


def error_without(package: str, env_id: str) -> str:
    """Return what ``make_env`` says in a process that has no such package: the error's type and text."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from s7rl.envs import make_env\n"
        f"try: make_env({env_id!r})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    # Warnings stay warnings there: what is tested is the message.
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    return done.stdout.strip()
