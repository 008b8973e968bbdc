"""The ``VecNormalize`` around an agent's environments in its checkpoints: running statistics as tensors, and back."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from s7rl.agents.checkpoint_checks import NORMALIZATION, check_statistics
from s7rl.agents.checkpoint_files import FORMAT_VERSION, Tensors, naming_the_file, read_checkpoint
from s7rl.checks import check_arguments, instance

MANY = instance(
    "statistics go around many environments",
    "pass an SB3 VecEnv, from make_vec or DummyVecEnv([lambda: env])",
    VecEnv,
)


class RunningMeanSquare(RunningMeanStd):
    """The running mean square of numbers: their variance around a ``mean`` that stays 0."""

    def update(self, arr: np.ndarray) -> None:
        """Take in a batch, the first dimension of an array."""
        # Both are another's where a VecNormalize has left its statistics in a checkpoint.
        self.var, self.mean = self.var + np.square(self.mean), np.zeros_like(self.mean)
        self.update_from_moments(np.zeros_like(self.mean), np.mean(np.square(arr, dtype=np.float64), axis=0), len(arr))


class VecScale(VecNormalize):
    """A ``VecNormalize`` that divides observations by their root mean square, and leaves their mean where it is.

    What is rare stands out as in a ``VecNormalize``.  But where most entries keep their values and noise lies on them,
    that takes the values away, and blows up the noise.  Its arguments are those of ``VecNormalize``, and so is what a
    checkpoint holds of it: to learn on, put a ``VecScale`` around the environments again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.norm_obs:
            own: Any = self.obs_rms
            self.obs_rms: Any = (
                {key: RunningMeanSquare(shape=statistics.mean.shape) for key, statistics in own.items()}
                if isinstance(own, dict)
                else RunningMeanSquare(shape=own.mean.shape)
            )


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


def restore_statistics(normalizer: VecNormalize, tensors: Tensors) -> str | None:
    """Put the statistics of a checkpoint, which are checked, into the normaliser of an environment.

    Returns:
        What is to be said of statistics that it had collected itself; None: it had none, or the same.

    Raises:
        ValueError: if it scales anything else than the agent's.
    """
    running, lost = running_statistics(normalizer), []
    names = {name.rpartition(".")[0] for name in tensors}
    if names != running.keys():
        raise ValueError(
            f"env's VecNormalize keeps {' and '.join(sorted(running))}, but the agent's kept "
            f"{' and '.join(sorted(names))}: pass one that is made alike, or load without env and call set_env."
        )
    for name, own in running.items():
        mean, count = tensors[f"{name}.mean"].numpy(), float(tensors[f"{name}.count"])
        if mean.shape != np.shape(own.mean):
            raise ValueError(
                f"a VecNormalize around these observations has {name} of shape {np.shape(own.mean)}, the agent's was "
                f"{mean.shape}, perhaps inside of a VecFrameStack: nest them as in the training. An export takes "
                "VecNormalize(VecFrameStack(env)) only."
            )
        # A first reset shows it one observation of each environment.
        if own.count > normalizer.num_envs + 1 and not (own.count == count and np.array_equal(own.mean, mean)):
            lost.append(name)
    for name, own in running.items():
        own.mean, own.var = tensors[f"{name}.mean"].numpy(), tensors[f"{name}.var"].numpy()
        own.count = float(tensors[f"{name}.count"])
    if not lost:
        return None
    return (
        f"{' and '.join(lost)} of env's VecNormalize, which it had collected itself, {'are' if lost[1:] else 'is'} "
        "replaced by the checkpoint's: to keep them, load without env and call set_env."
    )


def statistics_of(normalizer: VecNormalize) -> Tensors:
    """The running statistics as a checkpoint has them."""
    return {
        f"{name}.{part}": torch.as_tensor(np.asarray(getattr(running, part), dtype=np.float64))
        for name, running in running_statistics(normalizer).items()
        for part in ("mean", "var", "count")
    }


def load_normalization(path: str | Path | io.BufferedIOBase, env: VecEnv) -> VecEnv:
    """The environment, normalised as it was when the checkpoint was written.

    Returns:
        ``env`` in a ``VecNormalize`` that no longer learns and leaves rewards alone; ``env`` itself if the agent was
        trained without one.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: if ``env`` is not an SB3 ``VecEnv``.
        ValueError: if the file is not a checkpoint of s7rl, or the agent saw observations of another shape.
    """
    check_arguments(locals(), env=MANY)
    options, statistics = read_normalization(path, *read_checkpoint(path))
    if options is None:
        return env
    with naming_the_file(path):
        normalizer = VecNormalize(env, training=False, **options)
    restore_statistics(normalizer, statistics)
    normalizer.norm_reward = False
    return normalizer


def read_normalization(
    path: str | Path | io.BufferedIOBase, config: Mapping[str, Any], tensors: Mapping[str, Tensors]
) -> tuple[dict[str, Any] | None, Tensors]:
    """The arguments of the ``VecNormalize`` of the training, None if there was none; and its statistics.

    Raises:
        ValueError: if they are damaged.
    """
    with naming_the_file(path):
        options = config["normalization"]
        if options is None:
            return None, {}
        if set(options) != set(NORMALIZATION):
            raise ValueError(f"its normalisation is not that of version {FORMAT_VERSION}.")
        check_arguments(options, **NORMALIZATION)
        statistics = tensors["normalization"]
        check_statistics(statistics, of_observations=options["norm_obs"])
        return options, statistics
