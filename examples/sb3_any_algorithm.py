"""A memory for an algorithm of Stable-Baselines3 that has none: SAC on a pendulum whose velocity is hidden.

HistoryWrapper shows the last observations, S7HistoryExtractor runs S7 over them.  PPO, A2C, DQN and TD3, and TQC, QRDQN
and MaskablePPO of sb3-contrib take both in the same way.

    pip install 's7rl[control]'
    python examples/sb3_any_algorithm.py
"""

import gymnasium as gym
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from s7rl.agents import S7HistoryExtractor
from s7rl.envs import HistoryWrapper, wrap


def pendulum() -> gym.Env:
    """The angle of a pendulum, its last 8 observations at each step."""
    return HistoryWrapper(wrap(gym.make("Pendulum-v1"), ["PositionOnly"]), length=8)


def main(total_timesteps: int = 5_000) -> float:
    """Train and evaluate; return the mean return, 0 at best."""
    memory = {
        "features_extractor_class": S7HistoryExtractor,
        "features_extractor_kwargs": {"core": "s7", "d_model": 32, "d_state": 32},
    }
    env = make_vec_env(pendulum, n_envs=1, seed=0)
    model = SAC("MultiInputPolicy", env, policy_kwargs=memory, learning_rate=1e-3, seed=0)
    model.learn(total_timesteps)
    mean, _ = evaluate_policy(model, make_vec_env(pendulum, n_envs=10, seed=10_000), n_eval_episodes=20)
    assert isinstance(mean, float)
    print(f"mean return after {total_timesteps:,} steps: {mean:.0f}")
    return mean


if __name__ == "__main__":
    main()
