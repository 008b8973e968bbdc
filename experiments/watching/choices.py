"""What an agent thought of an observation: a choice is the distribution that an action came from, and the action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from stable_baselines3.common.distributions import Distribution
from torch import Tensor

from s7rl.agents.distributions import MaskableBernoulli, MaskableCategorical, MaskableMultiCategorical
from s7rl.agents.policies import RecurrentActorCriticPolicy


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    """Of discrete actions, or for MultiBinary of each bit being 1."""

    labels: tuple[str, ...]
    """What each column stands for: an action; ``part:value`` for MultiDiscrete; a bit."""
    probabilities: Float[np.ndarray, " columns"]
    """From 0 to 1; those of each part of a MultiDiscrete add up to 1."""
    taken: Bool[np.ndarray, " columns"]
    """Whether it was chosen."""


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Of continuous actions, in the units of the environment."""

    low: Float[np.ndarray, " columns"]
    """One standard deviation below the mean, or the bound where that lies within."""
    mean: Float[np.ndarray, " columns"]
    """The most likely action."""
    high: Float[np.ndarray, " columns"]
    """One standard deviation above the mean, or the bound where that lies within."""
    taken: Float[np.ndarray, " columns"]
    """The action."""


Choice: TypeAlias = Probabilities | Intervals


def describe_choice(policy: RecurrentActorCriticPolicy, distribution: Distribution, action: NDArray[Any]) -> Choice:
    """Puts the distribution of the only row of a batch, and the action that came of it, into numbers.

    Args:
        policy: whose it is.
        distribution: of one row.
        action: as the environment takes it, without the batch's axis.
    """
    space = policy.action_space
    match distribution:
        case MaskableCategorical():
            start = int(space.start) if isinstance(space, spaces.Discrete) else 0
            numbers = start + np.arange(distribution.log_probabilities.shape[-1])
            return Probabilities(
                labels=tuple(map(str, numbers)),
                probabilities=_row(distribution.log_probabilities.exp()),
                taken=numbers == int(action),
            )
        case MaskableMultiCategorical():
            assert isinstance(space, spaces.MultiDiscrete)
            parts = list(zip(space.start.flatten(), space.nvec.flatten(), action.flatten(), strict=True))
            return Probabilities(
                labels=tuple(f"{part}:{start + k}" for part, (start, n, _) in enumerate(parts) for k in range(n)),
                probabilities=np.concatenate([_row(part.log_probabilities.exp()) for part in distribution.parts]),
                taken=np.concatenate([start + np.arange(n) == chosen for start, n, chosen in parts]),
            )
        case MaskableBernoulli():
            probabilities = _row(distribution.logits.sigmoid())
            return Probabilities(
                labels=tuple(map(str, range(len(probabilities)))),
                probabilities=probabilities,
                taken=action.flatten().astype(bool),
            )
    normal: Any = distribution.distribution  # of a Gaussian, with gSDE or without
    ends = [normal.mean - normal.stddev, normal.mean, normal.mean + normal.stddev]
    low, mean, high = (_executed(policy, end) for end in ends)
    return Intervals(low=low, mean=mean, high=high, taken=action.flatten())


def _executed(policy: RecurrentActorCriticPolicy, actions: Float[Tensor, "1 A"]) -> NDArray[np.floating[Any]]:
    """An action as it is when it reaches the environment: squashed, clipped and in its units."""
    squashed = torch.tanh(actions) if policy.squash_output else actions
    shaped = squashed.cpu().numpy().reshape(-1, *(policy.action_space.shape or ()))
    executed: NDArray[np.floating[Any]] = policy.to_action_space(shaped)[0].flatten()
    return executed


def _row(tensor: Float[Tensor, "1 n"]) -> NDArray[np.floating[Any]]:
    row: NDArray[np.floating[Any]] = tensor[0].cpu().numpy()
    return row
