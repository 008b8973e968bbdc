"""Batches of observations: one tensor, or a dict of tensors for a Dict space."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Shaped
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import maybe_transpose
from torch import Tensor

from s7rl.envs.wrappers.flatten import flatten_observation

Observations: TypeAlias = Shaped[Tensor, "..."] | dict[str, Shaped[Tensor, "..."]]
"""One tensor, or one per key of a Dict space; leading dimensions are time and environments."""


def map_observations(function: Callable[[Tensor], Tensor], observations: Observations) -> Observations:
    """Apply a function to the tensor, or to the tensor of each key."""
    if isinstance(observations, dict):
        return {key: function(tensor) for key, tensor in observations.items()}
    return function(observations)


def with_padding_in(space: spaces.Space[Any], observations: Observations) -> Observations:
    """Observations of which some are zeros that a trainer pads with: those are symbols of a space without 0, too."""
    if isinstance(observations, dict):
        assert isinstance(space, spaces.Dict)
        return {key: _with_padding_in(space[key], x) for key, x in observations.items()}
    return _with_padding_in(space, observations)


def to_tensors(observations: Any, device: torch.device) -> Observations:
    """What an environment shows, as tensors on a device, in memory of their own.

    All are copied, so that they lie there as their shapes say, whatever views they were, such as images whose channels
    SB3 moved first: torch refuses negative strides, and its convolutions round differently by the strides, even by
    those of an axis of length 1, for which numpy does not care; a resumed run no longer has them.
    """
    if isinstance(observations, dict):
        return {key: _to_tensor(array, device) for key, array in observations.items()}
    return _to_tensor(observations, device)


def to_batch(observation: Any, space: spaces.Space[Any]) -> tuple[NDArray[Any] | dict[str, NDArray[Any]], bool]:
    """What a user shows to an agent, as a batch of arrays.

    Args:
        observation: one observation or one per environment, as the environment gives it: it may be nested where the
            space is flat, and its images may have their channels last where the space has them first.
        space: the agent's observation space.

    Returns:
        The batch, and whether it was one before: a single observation gets a leading axis.

    Raises:
        ValueError: in one line, if a shape is not that of the space, or entries differ in their number of environments.
    """
    if not isinstance(space, spaces.Dict):
        return _leaf_batch("the observation", observation, space)
    leaves = flatten_observation(space, observation)
    batches: dict[str, NDArray[Any]] = {}
    sizes: dict[str, int | None] = {}
    for key, subspace in space.spaces.items():
        batches[key], batched = _leaf_batch(f"the observation's entry {key!r}", leaves[key], subspace)
        sizes[key] = len(batches[key]) if batched else None
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{key!r} {'is single' if size is None else f'is {size}'}" for key, size in sizes.items())
        raise ValueError(
            f"the observation's entries differ in their number of environments ({found}): pass one of each, or one per "
            "environment."
        )
    return batches, None not in sizes.values()


def check_shape(name: str, value: Any, shape: tuple[int, ...], hint: str) -> None:
    """Raise ValueError where what goes with a batch of observations, the first axis of ``shape``, is of another one."""
    if np.shape(value) != shape:
        raise ValueError(
            f"{name} has shape {np.shape(value)}, but {shape[0]} observation(s) need {shape}: {hint}, or None at the "
            "start."
        )


def _leaf_batch(name: str, value: Any, space: spaces.Space[Any]) -> tuple[NDArray[Any], bool]:
    array, shape = maybe_transpose(np.asarray(value), space), space.shape or ()
    if array.shape == shape:
        return array[np.newaxis], False
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return array, True
    raise ValueError(
        f"{name} has shape {array.shape}, but its space has {shape}: pass that, or {('n_envs', *shape)} for a batch."
    )


def _to_tensor(array: Any, device: torch.device) -> Shaped[Tensor, "..."]:
    return torch.as_tensor(np.array(array, order="C"), device=device)


def _with_padding_in(space: spaces.Space[Any], x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and np.any(space.start):
        first = torch.as_tensor(space.start, dtype=x.dtype, device=x.device)
        count = space.n if isinstance(space, spaces.Discrete) else space.nvec
        after = first + torch.as_tensor(count, dtype=x.dtype, device=x.device)
        return torch.where((x == 0) & ((first > 0) | (after <= 0)), first, x)
    return x
