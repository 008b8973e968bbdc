"""Recurrent PPO in one file, as CleanRL writes it, with a core of s7rl for the memory.

    python examples/cleanrl_style_s7.py
    python examples/cleanrl_style_s7.py --core gru --corridor-length 50 --total-steps 1000000

``core.step`` acts, one observation at a time; ``core.scan`` learns, whole rollouts at once.  The rest is PPO as in
Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization"; ``s7rl.agents.RecurrentPPO`` is what
to use where nothing is to be changed in it.
"""

import argparse
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from s7rl import core_names, make_core


class Agent(nn.Module):
    """An embedding of a symbol, a core, and two heads."""

    def __init__(self, symbols: int, actions: int, core: str, d_model: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, d_model)
        self.core = make_core(core, d_model=d_model)
        self.actor, self.critic = nn.Linear(d_model, actions), nn.Linear(d_model, 1)
        nn.init.orthogonal_(self.actor.weight, 0.01)

    def step(self, obs: Tensor, state: Tensor, reset: Tensor) -> tuple[Categorical, Tensor, Tensor]:
        """The distribution of the actions ``[B]``, the values ``[B]`` and the state after one observation."""
        x, state = self.core.step(self.embedding(obs), state, reset)
        return Categorical(logits=self.actor(x)), self.critic(x).squeeze(-1), state

    def scan(self, obs: Tensor, state: Tensor, reset: Tensor) -> tuple[Categorical, Tensor]:
        """The same of sequences: actions ``[T, B]`` and values ``[T, B]``."""
        x, _ = self.core.scan(self.embedding(obs), state, reset)
        return Categorical(logits=self.actor(x)), self.critic(x).squeeze(-1)


def advantages_of(rewards: Tensor, values: Tensor, last: Tensor, ended: Tensor, gamma: float, decay: float) -> Tensor:
    """Generalised advantage estimates ``[T, B]`` (Schulman et al. 2016); nothing goes on where an episode ended."""
    advantages, advantage = torch.zeros_like(rewards), torch.zeros_like(last)
    for t in reversed(range(len(rewards))):
        goes_on = (~ended[t]).float()
        advantage = rewards[t] + gamma * goes_on * last - values[t] + gamma * decay * goes_on * advantage
        advantages[t], last = advantage, values[t]
    return advantages


def main(arguments: Sequence[str] | None = None) -> float:
    """Train, and return the share of the last 100 episodes that found the goal."""
    parser = argparse.ArgumentParser(description="Recurrent PPO in one file, on a T-maze.")
    parser.add_argument("--core", default="s7", choices=core_names())
    parser.add_argument("--corridor-length", type=int, default=20)
    parser.add_argument("--total-steps", type=int, default=200_000)
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--num-steps", type=int, default=128)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    gamma, decay, clip, epochs, minibatches, ent_coef = 0.99, 0.95, 0.2, 4, 4, 0.01
    torch.manual_seed(args.seed)

    envs = gym.make_vec("s7rl.envs:s7rl/TMazePassive-v0", num_envs=args.num_envs, corridor_length=args.corridor_length)
    symbols, actions = envs.single_observation_space.n, envs.single_action_space.n  # type: ignore[attr-defined]
    agent = Agent(int(symbols), int(actions), args.core, args.d_model)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    shape = (args.num_steps, args.num_envs)
    obs, taken = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    reset, ended = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    rewards, values, log_probs = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)

    next_obs = torch.as_tensor(envs.reset(seed=args.seed)[0])
    next_reset = torch.ones(args.num_envs, dtype=torch.bool)
    state = agent.core.initial_state(args.num_envs)
    successes: list[bool] = []
    updates = args.total_steps // (args.num_steps * args.num_envs)
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - update / updates)
        first_state = state  # before the rollout: the scan begins from it, too
        for t in range(args.num_steps):
            obs[t], reset[t] = next_obs, next_reset
            with torch.no_grad():
                policy, values[t], state = agent.step(next_obs, state, next_reset)
                taken[t] = policy.sample()
                log_probs[t] = policy.log_prob(taken[t])
                # Same-step autoreset: next_obs is the first of the next episode where one ended.
                step = envs.step(taken[t].numpy())
                next_obs, rewards[t] = torch.as_tensor(step[0]), torch.as_tensor(step[1])
                next_reset = ended[t] = torch.as_tensor(step[2] | step[3])
                if step[3].any():  # a time-out is no end: what would have followed is worth what its value says
                    final = [last if out else 0 for last, out in zip(step[4]["final_obs"], step[3], strict=True)]
                    later = agent.step(torch.as_tensor(np.array(final)), state, torch.zeros_like(next_reset))[1]
                    rewards[t] += gamma * later * torch.as_tensor(step[3])
            successes += step[4]["is_success"][ended[t].numpy()].tolist() if step[4] else []
        with torch.no_grad():
            last = agent.step(next_obs, state, next_reset)[1]
        advantages = advantages_of(rewards, values, last, ended, gamma, decay)
        returns = advantages + values

        for _ in range(epochs):
            for rows in torch.randperm(args.num_envs).chunk(minibatches):  # whole rows, in the order of time
                policy, value = agent.scan(obs[:, rows], first_state[rows], reset[:, rows])
                ratio = (policy.log_prob(taken[:, rows]) - log_probs[:, rows]).exp()
                gain = advantages[:, rows]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                policy_loss = -torch.min(gain * ratio, gain * ratio.clamp(1 - clip, 1 + clip)).mean()
                value_loss = 0.5 * (value - returns[:, rows]).square().mean()
                loss = policy_loss + 0.5 * value_loss - ent_coef * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        if update % 5 == 4 or update == updates - 1:
            steps = (update + 1) * args.num_steps * args.num_envs
            print(f"{steps:,} steps: {np.mean(successes[-100:]):.2f} of the last 100 episodes found the goal")
    envs.close()
    return float(np.mean(successes[-100:]))


if __name__ == "__main__":
    main()
