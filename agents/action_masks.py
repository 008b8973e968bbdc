"""Action masks as environments give them, by sb3-contrib's convention: a method ``action_masks()``."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents.distributions import mask_parts
from s7rl.agents.vec_env import BatchedVecEnv

METHOD = "action_masks"


def is_masking_supported(env: VecEnv) -> bool:
    """Whether the environments say which of their actions are allowed."""
    return env.has_attr(METHOD)


def get_action_masks(env: VecEnv) -> NDArray[np.bool_]:
    """Which actions are allowed now, ``[n_envs, M]``; see :mod:`s7rl.agents.distributions` for the columns.

    Raises:
        ValueError: if the masks do not fit the action space, or forbid all that an environment could do.
    """
    # A batched environment gives those of all its rows at once.
    unwrapped = env.unwrapped
    batched = unwrapped.vector_env if isinstance(unwrapped, BatchedVecEnv) else None
    masks = env.env_method(METHOD) if batched is None else getattr(batched, METHOD)()
    return check_action_masks(masks, env.num_envs, env.action_space)


def check_action_masks(masks: ArrayLike, n_envs: int, action_space: spaces.Space[Any]) -> NDArray[np.bool_]:
    """The masks as ``[n_envs, M]`` booleans, found to fit the action space and to allow something.

    Args:
        masks: one per environment, of booleans, or 0 and 1.
        n_envs: how many environments.
        action_space: of one environment.

    Raises:
        ValueError: if they do not fit, or forbid all that an environment could do.
    """
    parts = mask_parts(action_space)
    try:
        found = np.asarray(masks)
    except ValueError:
        raise ValueError("action_masks have different lengths, but all environments have the same actions.") from None
    if found.dtype != np.bool_ and not np.isin(found, (0, 1)).all():
        raise ValueError(f"action_masks are of {found.dtype}, not true and false: return a boolean array.")
    if found.size != n_envs * sum(parts):
        raise ValueError(
            f"action_masks have shape {found.shape}, but {n_envs} environment(s) with the action space {action_space} "
            f"need {(n_envs, sum(parts))}: return one entry per action."
        )
    allowed: NDArray[np.bool_] = found.reshape(n_envs, -1).astype(np.bool_)
    possible = np.logical_or.reduceat(allowed, np.cumsum([0, *parts[:-1]]), axis=1)
    if not possible.all():
        env, part = np.argwhere(~possible)[0]
        which = "" if len(parts) == 1 else f" for part {part} of it"
        raise ValueError(
            f"action_masks of environment {env} allow no action{which}: allow at least one, or end the episode."
        )
    return allowed
