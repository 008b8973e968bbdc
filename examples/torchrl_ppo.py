"""TorchRL's PPO with S7 for the memory, on a cart-pole that shows positions and no velocities.

    pip install -c constraints.txt -e '.[torchrl]'
    python examples/torchrl_ppo.py

TorchRL collects, estimates advantages and computes the loss; ``S7Module`` stands where ``GRUModule`` would.
"""

import argparse
from collections.abc import Sequence

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.envs import Compose, GymEnv, InitTracker, RewardSum, TransformedEnv
from torchrl.modules import ProbabilisticActor, ValueOperator, set_recurrent_mode
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from s7rl.agents.torchrl import S7Module


def main(arguments: Sequence[str] | None = None) -> float:
    """Train, and return the mean return of the episodes that ended in the last batch."""
    parser = argparse.ArgumentParser(description="TorchRL's PPO with a memory.")
    parser.add_argument("--frames", type=int, default=40_000, help="environment steps")
    parser.add_argument("--frames-per-batch", type=int, default=1024)
    parser.add_argument("--sequence", type=int, default=128, help="steps that the gradient reaches back")
    parser.add_argument("--d-model", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)

    width = options.d_model
    memory = S7Module(2, width, in_key="observation", out_key="features", horizon=(2.0, 100.0))
    env = GymEnv("s7rl.envs:s7rl/CartPolePositionOnly-v0", categorical_action_encoding=True)
    env = TransformedEnv(env, Compose(InitTracker(), memory.make_tensordict_primer(), RewardSum()))
    env.set_seed(options.seed)
    policy = TensorDictSequential(memory, TensorDictModule(nn.Linear(width, 2), ["features"], ["logits"]))
    actor = ProbabilisticActor(policy, in_keys=["logits"], distribution_class=Categorical, return_log_prob=True)
    critic = TensorDictSequential(memory, ValueOperator(nn.Linear(width, 1), in_keys=["features"]))
    # Our kernels know nothing of vmap, which GAE would use for the values before and after a step.
    estimate = GAE(gamma=0.98, lmbda=0.95, value_network=critic, deactivate_vmap=True)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.0, normalize_advantage=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=2e-3)

    batches = Collector(env, actor, frames_per_batch=options.frames_per_batch, total_frames=options.frames)
    mean, frames = 0.0, 0
    for batch in batches:
        with set_recurrent_mode(True):
            with torch.no_grad():
                estimate(batch)
            sequences = batch.reshape(-1, options.sequence)  # each begins with the state that acting left
            for _ in range(8):
                for rows in torch.randperm(len(sequences)).chunk(2):
                    parts = loss(sequences[rows])
                    optimizer.zero_grad()
                    (parts["loss_objective"] + parts["loss_critic"]).backward()
                    nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                    optimizer.step()
        frames += batch.numel()
        done = batch["next", "done"]
        mean = batch["next", "episode_reward"][done].mean().item() if done.any() else float("nan")
        print(f"{frames:,} steps: mean return {mean:.0f}")
    batches.shutdown()
    return mean


if __name__ == "__main__":
    main()
