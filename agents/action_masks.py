"""Action masks as environments give them, by sb3-contrib's convention: a method ``action_masks()``."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorWrapper
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents.distributions import mask_parts
from s7rl.agents.vec_env import BatchedVecEnv
from s7rl.checks import EnvironmentMistake

METHOD = "action_masks"


def is_masking_supported(env: gym.Env[Any, Any] | VecEnv) -> bool:
    """Whether the environment, or each of a vectorised one, says which of its actions are allowed."""
    if not isinstance(env, VecEnv):
        return env.has_wrapper_attr(METHOD)
    method = _batched_method(env)
    if isinstance(method, partial):
        return all(method.func("has_wrapper_attr", METHOD))
    return method is not None or env.has_attr(METHOD)


def get_action_masks(env: gym.Env[Any, Any] | VecEnv) -> NDArray[np.bool_]:
    """Which actions are allowed now, ``[n_envs, M]``; see :mod:`s7rl.agents.distributions` for the columns.

    Args:
        env: for which :func:`is_masking_supported` is true; a single environment counts as one of a batch of 1.

    Raises:
        ValueError: if the masks do not fit the action space, or forbid all that an environment could do.
    """
    if not isinstance(env, VecEnv):
        return check_action_masks(env.get_wrapper_attr(METHOD)(), 1, env.action_space)
    masks_of_all = _batched_method(env)
    masks: Any = env.env_method(METHOD) if masks_of_all is None else list(masks_of_all())
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
        raise ValueError(
            f"action_masks have different lengths: return one flat array of {sum(parts)} entries per environment."
        ) from None
    if found.dtype != np.bool_ and not np.isin(found, (0, 1)).all():
        raise ValueError(f"action_masks are of {found.dtype}, not true and false: return a boolean array.")
    # One environment's may come without the axis of environments; that of several comes first, or rows were mixed up.
    if found.size != n_envs * sum(parts) or (n_envs > 1 and len(found) != n_envs):
        raise ValueError(
            f"action_masks have shape {found.shape}, but {n_envs} environment(s) with the action space {action_space} "
            f"need {(n_envs, sum(parts))}: return one entry per action."
        )
    allowed: NDArray[np.bool_] = found.reshape(n_envs, -1).astype(np.bool_)
    possible = np.logical_or.reduceat(allowed, np.cumsum([0, *parts[:-1]]), axis=1)
    if not possible.all():
        env, part = np.argwhere(~possible)[0]
        which = "" if len(parts) == 1 else f" for part {part} of it"
        raise EnvironmentMistake(
            f"action_masks of environment {env} allow no action{which}: allow at least one, or end the episode."
        )
    return allowed


def _batched_method(env: VecEnv) -> Callable[[], Any] | None:
    """What gives the masks of all rows of a Gymnasium vector environment; None where there is none.

    Of Gymnasium's loops over single environments it is not known whether those have masks: they are not asked here,
    at every step, but in :func:`is_masking_supported`.
    """
    if not isinstance(env.unwrapped, BatchedVecEnv):
        return None
    layer = env.unwrapped.vector_env
    # Gymnasium's vector wrappers forward no methods.
    while isinstance(layer, VectorWrapper) and not hasattr(layer, METHOD):
        layer = layer.env
    method: Callable[[], Any] | None = getattr(layer, METHOD, None)
    if method is None and isinstance(layer, SyncVectorEnv | AsyncVectorEnv):
        return partial(layer.call, METHOD)
    return method
