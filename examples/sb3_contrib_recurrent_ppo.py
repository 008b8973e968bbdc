"""S7 in place of the LSTM in a script for sb3-contrib's RecurrentPPO: a T-maze with a cue at its start.

pip install 's7rl[contrib]'
python examples/sb3_contrib_recurrent_ppo.py
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from s7rl.agents.sb3_contrib import S7Policy


def main(total_timesteps: int = 100_000, corridor_length: int = 10) -> float:
    """Train, save, load and evaluate; return the mean return: 1 at most, 0.5 without memory."""
    arguments = {"corridor_length": corridor_length, "render_mode": None}  # SB3 would ask for pictures: it has none
    maze = partial(make_vec_env, "s7rl.envs:s7rl/TMazePassive-v0", env_kwargs=arguments)
    env = maze(n_envs=32, seed=0)
    memory = {"core": "s7", "d_model": 64}  # before: "MlpLstmPolicy", {"lstm_hidden_size": 64}
    options: dict[str, Any] = {"n_steps": 128, "batch_size": 1024, "n_epochs": 4, "learning_rate": 1e-3}
    model = RecurrentPPO(S7Policy, env, ent_coef=0.01, policy_kwargs=memory, seed=0, **options)
    model.learn(total_timesteps)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "t_maze")
        model = RecurrentPPO.load(Path(folder) / "t_maze")
    mean, _ = evaluate_policy(model, maze(n_envs=8, seed=10_000), n_eval_episodes=100)
    assert isinstance(mean, float)
    print(f"mean return after {total_timesteps:,} steps: {mean:.2f}")
    return mean


if __name__ == "__main__":
    main()
