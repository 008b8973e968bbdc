"""How many environment steps a second sb3-contrib's RecurrentPPO makes with S7 and with its own LSTM.

A rollout and an update of each in turn; processor time, one thread; medians and quartiles over the rounds.

    pip install 's7rl[contrib]'
    python examples/sb3_contrib_speed.py
"""

import time
from typing import Any

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.logger import Logger

from s7rl.agents import make_vec
from s7rl.agents.sb3_contrib import S7Policy
from s7rl.experiments.bench.measuring import Spread, interleave, ratio

POLICIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "S7Policy": (S7Policy, {"d_model": 64}),
    "S7Policy, critic_core='separate'": (S7Policy, {"d_model": 64, "critic_core": "separate"}),
    "MlpLstmPolicy": ("MlpLstmPolicy", {"lstm_hidden_size": 64}),
    "MlpLstmPolicy, one LSTM, no hidden layers": (
        "MlpLstmPolicy",
        {"lstm_hidden_size": 64, "shared_lstm": True, "enable_critic_lstm": False, "net_arch": []},
    ),
}


def main(rounds: int = 7, n_steps: int = 128, n_envs: int = 8, corridor_length: int = 49) -> None:
    """Measure and print; episodes last at most twice the corridor and 2 steps."""
    torch.set_num_threads(1)
    thunks = {}
    for name, (policy, policy_kwargs) in POLICIES.items():
        env = make_vec("s7rl/TMazePassive-v0", n_envs, seed=0, env_kwargs={"corridor_length": corridor_length})
        sizes: dict[str, Any] = {"n_steps": n_steps, "batch_size": n_steps * n_envs // 4, "n_epochs": 4}
        # A step size of 0: the same work, and episodes of the same length in every round.
        model = RecurrentPPO(policy, env, learning_rate=0.0, seed=0, policy_kwargs=policy_kwargs, **sizes)
        model.set_logger(Logger(None, []))
        _, callback = model._setup_learn(n_steps * n_envs)

        def one_round(model: RecurrentPPO = model, callback: Any = callback) -> None:
            assert model.env is not None
            model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
            model.train()

        thunks[name] = one_round
    times = interleave(thunks, rounds, clock=time.process_time)
    for name, seconds in times.items():
        rate, over = Spread.of(n_steps * n_envs / seconds), ratio(times["MlpLstmPolicy"], seconds)
        print(f"{name:42} {rate.median:7,.0f} steps/s   {over.median:5.2f} ({over.lower:.2f} to {over.upper:.2f})")


if __name__ == "__main__":
    main()
