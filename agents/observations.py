"""Batches of observations: one tensor, or a dict of tensors for a Dict space."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor

Observations: TypeAlias = Shaped[Tensor, "..."] | dict[str, Shaped[Tensor, "..."]]
"""One tensor, or one per key of a Dict space; leading dimensions are time and environments."""


def map_observations(function: Callable[[Tensor], Tensor], observations: Observations) -> Observations:
    """Apply a function to the tensor, or to the tensor of each key."""
    if isinstance(observations, dict):
        return {key: function(tensor) for key, tensor in observations.items()}
    return function(observations)


def to_tensors(observations: Any, device: torch.device) -> Observations:
    """What an environment shows, as tensors on a device; on the CPU they share its memory."""
    if isinstance(observations, dict):
        return {key: torch.as_tensor(array, device=device) for key, array in observations.items()}
    return torch.as_tensor(observations, device=device)
