"""Observations that cannot be relied on: some vanish, or all are noisy.

* ``Flicker``: a whole observation is zeros, with a fixed probability.
* ``NoisyObservation``: Gaussian noise on every entry.

Each has a version for vector environments, with ``Vector`` at the end of its name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from s7rl.checks import number, shown
from s7rl.envs.batched import IntArray
from s7rl.envs.wrappers.randomness import RandomObservation, RandomObservationVector
from s7rl.envs.wrappers.vector import Rows

__all__ = ["Flicker", "FlickerVector", "NoisyObservation", "NoisyObservationVector"]

PROBABILITY = number("it is the chance that an observation vanishes", least=0.0, most=1.0)
Deviation = float | int | Sequence[Any] | NDArray[Any]


class Flicker(RandomObservation, RecordConstructorArgs):
    """Replace the whole observation by zeros, with a fixed probability, independently at every step.

    The first observation of an episode flickers like any other.  This is the flickering screen of Hausknecht & Stone
    (2015, "Deep Recurrent Q-Learning for Partially Observable MDPs", section 5), who use a probability of 0.5.
    Entries of a Dict vanish together.  Bounds are widened to hold zero where they do not.

    Args:
        env: an environment whose observations are a Box of any type and shape, or a Dict of them.  Others are refused,
            since a zero is one of their symbols: with ``gymnasium.wrappers.FlattenObservation`` they are one-hot.
        probability: of zeros, 0 to 1.

    Raises:
        ValueError: in one line, if ``probability`` or the observation space cannot be used.
        TypeError: in one line, if ``probability`` is no number.

    Example:
        >>> import gymnasium as gym
        >>> env = Flicker(gym.make("CartPole-v1"), probability=0.5)
        >>> observation, info = env.reset(seed=0)
        >>> [bool(env.step(0)[0].any()) for _ in range(8)]
        [False, True, True, False, False, False, True, True]
    """

    def __init__(self, env: gym.Env[Any, Any], probability: float | int = 0.5) -> None:
        RecordConstructorArgs.__init__(self, probability=probability)
        RandomObservation.__init__(self, env)
        PROBABILITY.check("probability", probability)
        self._probability = float(probability)
        self.observation_space = _with_zero(env.observation_space)

    def _change(self, observation: Any, generator: np.random.Generator) -> Any:
        if generator.random() >= self._probability:
            return observation
        if isinstance(observation, dict):
            return {key: np.zeros_like(entry) for key, entry in observation.items()}
        return np.zeros_like(observation)


class FlickerVector(RandomObservationVector):
    """:class:`Flicker` for a vector environment; each row flickers by itself."""

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]], probability: float | int = 0.5) -> None:
        super().__init__(envs, "uniform", 1)
        PROBABILITY.check("probability", probability)
        self._probability = float(probability)
        self._hidden = np.zeros(self.num_envs, dtype=np.bool_)
        self._show_in(_with_zero(envs.single_observation_space))

    def _keep(self, numbers: NDArray[np.float64], rows: IntArray) -> None:
        self._hidden[rows] = numbers[:, 0] < self._probability

    def _show(self, observations: Any, rows: Rows) -> Any:
        hidden = self._hidden[rows]
        if isinstance(observations, dict):
            return {key: _blanked(entry, hidden) for key, entry in observations.items()}
        return _blanked(observations, hidden)


class NoisyObservation(RandomObservation, RecordConstructorArgs):
    """Add Gaussian noise to every entry, independent from step to step and from entry to entry.

    It is added in float64 and rounded to the type of the observation.  The bounds of noisy entries become infinite;
    entries with a standard deviation of 0 keep theirs.

    Args:
        env: an environment whose observations are a Box of floats, of any shape.
        standard_deviation: in the unit of the observation, 0 or more: one number for all entries, or one each in the
            shape of the observation.

    Raises:
        ValueError: in one line, if ``standard_deviation`` or the observation space cannot be used.
        TypeError: in one line, if ``standard_deviation`` holds something that is no number.

    Example:
        >>> import gymnasium as gym
        >>> env = NoisyObservation(gym.make("Pendulum-v1"), standard_deviation=[0.1, 0.1, 0.0])
        >>> env.observation_space
        Box([-inf -inf  -8.], [inf inf  8.], (3,), float32)
    """

    def __init__(self, env: gym.Env[Any, Any], standard_deviation: Deviation) -> None:
        RecordConstructorArgs.__init__(self, standard_deviation=standard_deviation)
        RandomObservation.__init__(self, env)
        space = _float_box(env.observation_space)
        self._deviation = _check_deviation(standard_deviation, space.shape)
        self.observation_space = _unbounded(space, self._deviation)

    def _change(self, observation: Any, generator: np.random.Generator) -> Any:
        noise = generator.standard_normal(self._deviation.shape) * self._deviation
        return (observation + noise).astype(self.observation_space.dtype)


class NoisyObservationVector(RandomObservationVector):
    """:class:`NoisyObservation` for a vector environment; each row has noise of its own."""

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]], standard_deviation: Deviation) -> None:
        space = _float_box(envs.single_observation_space)
        super().__init__(envs, "normal", math.prod(space.shape))
        self._deviation = _check_deviation(standard_deviation, space.shape)
        self._noise: NDArray[np.float64] = np.zeros((self.num_envs, *space.shape))
        self._show_in(_unbounded(space, self._deviation))

    def _keep(self, numbers: NDArray[np.float64], rows: IntArray) -> None:
        self._noise[rows] = numbers.reshape(-1, *self._deviation.shape) * self._deviation

    def _show(self, observations: Any, rows: Rows) -> Any:
        noisy: NDArray[Any] = (observations + self._noise[rows]).astype(self.single_observation_space.dtype)
        return noisy


def _blanked(entry: NDArray[Any], hidden: NDArray[np.bool_]) -> NDArray[Any]:
    if not hidden.any():
        return entry
    blanked: NDArray[Any] = entry.copy()
    blanked[hidden] = 0
    return blanked


def _with_zero(space: gym.Space[Any]) -> gym.Space[Any]:
    """The space with zeros in it, in every Box."""
    if isinstance(space, spaces.Dict) and space.spaces:
        return spaces.Dict([(key, _box_with_zero(entry)) for key, entry in space.spaces.items()])
    return _box_with_zero(space)


def _box_with_zero(space: gym.Space[Any]) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"the observation space is or holds a {type(space).__name__} space, but Flicker takes a Box or a Dict of "
            "them, where zeros are no symbol: put FlattenObservation around the environment first."
        )
    if (space.low <= 0).all() and (space.high >= 0).all():
        return space
    kind = space.dtype.type
    return spaces.Box(np.minimum(space.low, kind(0)), np.maximum(space.high, kind(0)), dtype=kind)


def _float_box(space: gym.Space[Any]) -> spaces.Box:
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"the observation space is {shown(space)}, but NoisyObservation adds to floats: choose an environment "
            "with a Box of floats, or encode it with a gymnasium.ObservationWrapper first."
        )
    return space


def _check_deviation(deviation: Deviation, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        array = np.array(deviation, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"standard_deviation ({deviation!r}) is neither a number nor a sequence of numbers; pass one for all "
            f"entries, or one each in the shape {shape}."
        ) from None
    if array.ndim and array.shape != shape:
        raise ValueError(
            f"standard_deviation has the shape {array.shape}, but observations have {shape}; pass one number for all "
            "entries, or one each."
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"standard_deviation ({deviation!r}) must be finite and not negative; pass 0 or more.")
    every: NDArray[np.float64] = np.broadcast_to(array, shape).copy()
    return every


def _unbounded(space: spaces.Box, deviation: NDArray[np.float64]) -> spaces.Box:
    low, high = np.where(deviation > 0, -np.inf, space.low), np.where(deviation > 0, np.inf, space.high)
    kind = space.dtype.type
    return spaces.Box(low.astype(kind), high.astype(kind), dtype=kind)
