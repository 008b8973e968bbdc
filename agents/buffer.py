"""What one rollout leaves behind, time-major and on the learner's device."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from s7rl.agents.advantages import generalized_advantages

MINIBATCH_STEPS = 2048
"""Steps of a minibatch where the user names no ``batch_size`` and rows are short enough."""


class Sequences(NamedTuple):
    """Whole rows of a rollout: what one gradient step learns from."""

    observations: Shaped[Tensor, "T B *observation"]
    actions: Shaped[Tensor, "T B *action"]
    log_probs: Float[Tensor, "T B"]
    values: Float[Tensor, "T B"]
    advantages: Float[Tensor, "T B"]
    returns: Float[Tensor, "T B"]
    episode_starts: Bool[Tensor, "T B"]
    initial_state: Float[Tensor, "B S"]
    """The core's state before the first step, as it was while acting."""


class SequenceBuffer:
    """A rollout of ``n_steps`` steps of ``n_envs`` environments.

    A minibatch is a set of whole rows: a row is all steps of one environment, in order, with a flag where an episode
    starts.  Nothing is padded, masked or shuffled in time.
    """

    def __init__(
        self,
        n_steps: int,
        n_envs: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        state_size: int,
        device: torch.device,
    ) -> None:
        shape = (n_steps, n_envs)

        def like(space: spaces.Space[Any]) -> Tensor:
            # float32 for whatever has a fraction; also for the bits of an action, which their distribution multiplies.
            fractional = isinstance(space, spaces.MultiBinary) or np.issubdtype(space.dtype, np.floating)
            dtype = torch.float32 if fractional else torch.from_numpy(np.empty(0, space.dtype)).dtype
            return torch.zeros(*shape, *(space.shape or ()), dtype=dtype, device=device)

        self.n_steps, self.n_envs = shape
        self.observations = like(observation_space)
        self.actions = like(action_space)
        self.rewards = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.next_values = torch.zeros(shape, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.advantages = torch.zeros(shape, device=device)
        self.returns = torch.zeros(shape, device=device)
        self.episode_starts = torch.zeros(shape, dtype=torch.bool, device=device)
        self.terminated = torch.zeros(shape, dtype=torch.bool, device=device)
        self.truncated = torch.zeros(shape, dtype=torch.bool, device=device)
        self.initial_state = torch.zeros(n_envs, state_size, device=device)

    def finish(
        self,
        last_values: Float[Tensor, " B"],
        time_outs: Int[Tensor, "K 2"],
        time_out_values: Float[Tensor, " K"],
        *,
        gamma: float,
        gae_lambda: float,
    ) -> None:
        """Compute advantages and returns once all steps are in.

        Args:
            last_values: value of the observation that follows the last step.
            time_outs: (step, environment) of every episode that was truncated.
            time_out_values: value of the last observation of each of those episodes.
            gamma: discount.
            gae_lambda: trace decay.
        """
        self.next_values[:-1] = self.values[1:]
        self.next_values[-1] = last_values
        self.next_values[time_outs[:, 0], time_outs[:, 1]] = time_out_values
        self.advantages = generalized_advantages(
            self.rewards,
            self.values,
            self.next_values,
            self.terminated,
            self.truncated,
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        self.returns = self.advantages + self.values

    def minibatches(self, rows: int) -> Iterator[Sequences]:
        """All rows in random order, ``rows`` at a time; ``n_envs`` is a multiple of it."""
        for index in torch.randperm(self.n_envs, device=self.rewards.device).split(rows):
            yield self.rows(index)

    def rows(self, index: Int[Tensor, " rows"]) -> Sequences:
        """The rows of these environments."""
        return Sequences(
            observations=self.observations[:, index],
            actions=self.actions[:, index],
            log_probs=self.log_probs[:, index],
            values=self.values[:, index],
            advantages=self.advantages[:, index],
            returns=self.returns[:, index],
            episode_starts=self.episode_starts[:, index],
            initial_state=self.initial_state[index],
        )


def rows_per_minibatch(n_envs: int, n_steps: int, batch_size: int | None) -> int:
    """How many rows of ``n_steps`` steps a minibatch holds.

    Raises:
        ValueError: if ``batch_size`` is no multiple of ``n_steps``, or its rows do not divide ``n_envs``.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps is {n_steps}, but a rollout needs at least one step: pass a positive number.")
    if n_envs * n_steps < 2:
        raise ValueError("n_steps is 1 with one environment, but one advantage has no spread: pass n_steps=2.")
    # The advantages of a single step have no spread to be normalised by.
    divisors = [rows for rows in range(1, n_envs + 1) if n_envs % rows == 0 and rows * n_steps > 1]
    if batch_size is None:
        return max((rows for rows in divisors if rows * n_steps <= MINIBATCH_STEPS), default=divisors[0])
    if batch_size % n_steps == 0 and batch_size // n_steps in divisors:
        return batch_size // n_steps
    valid = [rows * n_steps for rows in divisors]
    nearest = sorted(sorted(valid, key=lambda size: abs(size - batch_size))[:2])
    raise ValueError(
        f"batch_size is {batch_size}, but a minibatch is whole rows of n_steps = {n_steps} steps, and their number "
        f"divides n_envs = {n_envs}: the nearest that fit are {' and '.join(map(str, nearest))}."
    )
