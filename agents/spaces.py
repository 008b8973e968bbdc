"""Which spaces an agent takes, and how its actions are counted inside and outside."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.envs.wrappers.flatten import LEAVES, flatten_space

_FLATTEN = "wrap the environment in s7rl.envs.FlattenNested"
_MAP = "map it to one of these with a gymnasium.ActionWrapper"


def check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Refuse spaces that the policy cannot handle, in one line that names the space and what to do.

    Args:
        observation_space: Box, Discrete, MultiDiscrete or MultiBinary of any shape, or a flat Dict of these.
        action_space: Discrete, MultiDiscrete, MultiBinary or a Box of floats with finite bounds, of any shape.

    Raises:
        ValueError: if a space is not one of these.
    """
    # What is in no policy's reach says so; what only needs flattening says that.
    if flatten_space(observation_space) is not observation_space:
        raise ValueError(f"the observation space is a nested {type(observation_space).__name__}: {_FLATTEN}.")
    if isinstance(observation_space, spaces.Dict):
        if not observation_space.spaces:
            raise ValueError("the observation space is a Dict without entries: give it one, such as a Box.")
        for key, space in observation_space.spaces.items():
            _check_size(f"the observation space has at {key!r}", space)
    else:
        _check_size("the observation space is", observation_space)
    _check_actions(action_space)


def flat_actions(action_space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The action space as SB3's distributions take it: counted from 0, and MultiDiscrete and MultiBinary as vectors."""
    if isinstance(action_space, spaces.Discrete):
        return spaces.Discrete(int(action_space.n))
    if isinstance(action_space, spaces.MultiDiscrete):
        # Of 64 bits, as nothing else is said: the distribution adds the counts up, which a small dtype cannot hold.
        return spaces.MultiDiscrete(action_space.nvec.flatten())
    if isinstance(action_space, spaces.MultiBinary):
        return spaces.MultiBinary(math.prod(action_space.shape))
    return action_space


def to_action_space(actions: NDArray[Any], action_space: spaces.Space[Any]) -> NDArray[Any]:
    """Actions as the environment takes them: in the space's dtype, counted from its start, and clipped to a Box.

    Args:
        actions: a batch of actions as the policy counts them, of shape ``[B, *action]``.
        action_space: of one environment.
    """
    if isinstance(action_space, spaces.Box):
        # The Gaussian is unbounded.
        actions = np.clip(actions, action_space.low, action_space.high)
    elif isinstance(action_space, spaces.MultiDiscrete) or (
        isinstance(action_space, spaces.Discrete) and action_space.start != 0
    ):
        actions = actions + action_space.start
    return actions.astype(action_space.dtype, copy=False)


def _check_size(where: str, space: spaces.Space[Any]) -> None:
    if 0 in (space.shape or ()):
        raise ValueError(f"{where} a {type(space).__name__} of shape {space.shape}, which holds nothing: leave it out.")


def _check_actions(space: spaces.Space[Any]) -> None:
    kind = type(space).__name__
    if not isinstance(space, LEAVES):
        raise ValueError(
            f"the action space is a {kind}, but the policy takes Discrete, Box, MultiDiscrete and MultiBinary: {_MAP}."
        )
    _check_size("the action space is", space)
    if not isinstance(space, spaces.Box):
        return
    if not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"the action space is a Box of {space.dtype}, but the policy's Box actions have fractions: "
            "use MultiDiscrete for whole numbers."
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError(
            "the action space is a Box with infinite bounds, but Stable-Baselines3 needs finite ones: give it those "
            "that make a difference, and leave out gymnasium.wrappers.ClipAction, as actions are clipped anyway."
        )
