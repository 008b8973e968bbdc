"""S7 in RLlib's PPO: a T-maze with a cue at its start, played by workers of Ray's.

For more of them, on more machines: a larger num_env_runners, and ray.init(address=...).  Start it where no folder is
named s7rl: Ray's workers would take that for the package.

    pip install 's7rl[rllib]'
    cd examples && python rllib_s7.py
"""

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from s7rl.agents.rllib import S7RLModule


def main(iterations: int = 25, corridor_length: int = 10, num_env_runners: int = 1, batch_size: int = 4096) -> float:
    """Train and evaluate; return the mean return: 1 at most, 0.5 without memory."""
    ray.init(num_cpus=num_env_runners + 1, include_dashboard=False)
    # A sequence to learn from has the length of an episode: 2 * corridor_length + 2 steps at most.
    options = {"core": "s7", "d_model": 64, "max_seq_len": 2 * corridor_length + 2}
    config = (
        PPOConfig()
        .environment("s7rl.envs:s7rl/TMazePassive-v0", env_config={"corridor_length": corridor_length})
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=32, create_env_on_local_worker=True)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=S7RLModule, model_config=options))
        .training(train_batch_size_per_learner=batch_size, minibatch_size=1024, num_epochs=4, lr=1e-3)
        .training(lambda_=0.95, entropy_coeff=0.01, use_kl_loss=False, clip_param=0.2, grad_clip=0.5)
        .evaluation(evaluation_duration=100, evaluation_config={"explore": False})
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for _ in range(iterations):
        result = algorithm.train()
        runners = result["env_runners"]
        print(f"{runners['num_env_steps_sampled_lifetime']:9,.0f} steps: {runners['episode_return_mean']:5.2f}")
    mean: float = algorithm.evaluate()["env_runners"]["episode_return_mean"]
    print(f"mean return of 100 episodes: {mean:.2f}")
    algorithm.stop()
    ray.shutdown()
    return mean


if __name__ == "__main__":
    main()
