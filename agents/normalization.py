"""The running statistics of a ``VecNormalize`` as tensors of a checkpoint, and back."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from s7rl.agents.checkpoint_checks import check_statistics, check_tensors

Tensors = dict[str, Tensor]


def running_statistics(normalizer: VecNormalize) -> dict[str, RunningMeanStd]:
    """The running statistics of a normaliser by name: of observations, where it scales them, and of returns."""
    running = {"ret_rms": normalizer.ret_rms}
    if normalizer.norm_obs:
        of_observations: Any = normalizer.obs_rms
        if isinstance(of_observations, dict):  # a Dict space
            running |= {f"obs_rms.{key}": statistics for key, statistics in of_observations.items()}
        else:
            running["obs_rms"] = of_observations
    return running


def check_alike(normalizer: VecNormalize, normalization: Mapping[str, Any], tensors: Tensors) -> None:
    """Refuse an environment's normaliser that scales anything else than the agent's, and warn of what is replaced.

    Raises:
        ValueError: if it scales anything else.
    """
    for name in ("norm_obs", "norm_obs_keys"):
        here, there = getattr(normalizer, name), normalization[name]
        if here != there:
            raise ValueError(
                f"env's VecNormalize has {name}={here!r}, but the agent's had {there!r}: pass one that is made alike, "
                "or load without env and call set_env, which leaves its statistics as they are."
            )
    for name, running in running_statistics(normalizer).items():
        mean, count = (tensors.get(f"{name}.{part}") for part in ("mean", "count"))
        if mean is not None and mean.shape != np.shape(running.mean):
            raise ValueError(
                f"a VecNormalize around these observations has {name} of shape {np.shape(running.mean)}, the agent's "
                f"was {tuple(mean.shape)}, perhaps inside of a VecFrameStack: nest them as in the training. An export "
                "takes VecNormalize(VecFrameStack(env)) only."
            )
        if running.count >= 1 and count is not None and running.count != count:
            warnings.warn(
                f"the statistics of env's VecNormalize, {name} of {running.count:,.0f} numbers, are replaced by the "
                f"checkpoint's of {float(count):,.0f}: to keep them, load without env and call set_env.",
                stacklevel=3,
            )


def set_statistics(normalizer: VecNormalize, tensors: Tensors) -> None:
    """Put the tensors of a checkpoint in place of the running statistics.

    Raises:
        ValueError: if they are others than those of this normaliser, or are none.
    """
    check_tensors(statistics_of(normalizer), tensors)
    check_statistics(tensors)
    for name, running in running_statistics(normalizer).items():
        running.mean, running.var = tensors[f"{name}.mean"].numpy(), tensors[f"{name}.var"].numpy()
        running.count = float(tensors[f"{name}.count"])


def statistics_of(normalizer: VecNormalize) -> Tensors:
    """The running statistics as a checkpoint has them."""
    return {
        f"{name}.{part}": torch.as_tensor(np.asarray(getattr(running, part), dtype=np.float64))
        for name, running in running_statistics(normalizer).items()
        for part in ("mean", "var", "count")
    }
