"""Wrappers that hide a part of what an environment shows, or add what an agent did last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class MaskObservation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Show some entries of a vector.

    Args:
        env: an environment whose observations are vectors.
        keep: the entries to show, in order.
    """

    def __init__(self, env: gym.Env[Any, Any], keep: Sequence[int]) -> None:
        """Wrap an environment."""
        gym.utils.RecordConstructorArgs.__init__(self, keep=keep)
        gym.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        assert isinstance(space, spaces.Box)
        self._keep = np.array(keep, dtype=np.int64)
        self.observation_space = spaces.Box(space.low[self._keep], space.high[self._keep], dtype=space.dtype.type)

    def observation(self, observation: NDArray[Any]) -> NDArray[Any]:
        """Return the entries to show."""
        shown: NDArray[Any] = observation[self._keep]
        return shown


class PositionOnly(MaskObservation):
    """Show what ``observation_structure`` calls positions (MuJoCo v5)."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment."""
        structure = env.unwrapped.observation_structure  # type: ignore[attr-defined]
        MaskObservation.__init__(self, env, range(structure["qpos"]))


class VelocityOnly(MaskObservation):
    """Show what ``observation_structure`` calls velocities (MuJoCo v5)."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment."""
        structure = env.unwrapped.observation_structure  # type: ignore[attr-defined]
        MaskObservation.__init__(self, env, range(structure["qpos"], structure["qpos"] + structure["qvel"]))


class _RandomObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Change observations at random, with a generator that the seed of ``reset`` sets, apart from the environment's.

    The dynamics are thus the same with and without the wrapper.
    """

    _generator: np.random.Generator | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None or self._generator is None:
            # A stream of its own: the environment's generator has the seed itself.
            self._generator = np.random.default_rng(
                None if seed is None else np.random.SeedSequence(seed, spawn_key=(1,))
            )
        return self._change(observation, self._generator), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        assert self._generator is not None, "Gymnasium's order is reset, then step"
        return self._change(observation, self._generator), reward, terminated, truncated, info

    def _change(self, observation: Any, generator: np.random.Generator) -> Any:
        raise NotImplementedError


class Flicker(_RandomObservation, gym.utils.RecordConstructorArgs):
    """Show zeros instead of the observation, with a fixed probability at every step.

    Args:
        env: any environment whose observations are arrays.
        probability: of zeros, 0 to 1.

    Raises:
        ValueError: if ``probability`` is none.
    """

    def __init__(self, env: gym.Env[Any, Any], probability: float = 0.5) -> None:
        """Wrap an environment."""
        if not 0 <= probability <= 1:
            raise ValueError(
                f"probability ({probability}) is not between 0 and 1; pass 0.5 for every other observation."
            )
        gym.utils.RecordConstructorArgs.__init__(self, probability=probability)
        gym.Wrapper.__init__(self, env)
        self._probability = probability

    def _change(self, observation: Any, generator: np.random.Generator) -> Any:
        return np.zeros_like(observation) if generator.random() < self._probability else observation


class NoisyObservation(_RandomObservation, gym.utils.RecordConstructorArgs):
    """Add Gaussian noise to every entry at every step; the space of observations becomes unbounded.

    Args:
        env: an environment whose observations are float vectors.
        standard_deviation: one number for each entry, in its unit.
    """

    def __init__(self, env: gym.Env[Any, Any], standard_deviation: Sequence[float]) -> None:
        """Wrap an environment."""
        gym.utils.RecordConstructorArgs.__init__(self, standard_deviation=standard_deviation)
        gym.Wrapper.__init__(self, env)
        shape = env.observation_space.shape
        self._scale = np.array(standard_deviation)
        if shape != self._scale.shape:
            raise ValueError(
                f"standard_deviation has shape {self._scale.shape}, but observations have {shape}; pass one each."
            )
        self.observation_space = spaces.Box(-np.inf, np.inf, shape, np.float32)

    def _change(self, observation: Any, generator: np.random.Generator) -> Any:
        return (observation + self._scale * generator.standard_normal(self._scale.shape)).astype(np.float32)


class PreviousAction(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Show the previous action as well: the observation becomes a Dict.

    Its entries are "observation" (as before), "previous_action" (a float32 vector, one-hot where actions are discrete;
    zeros at the first step) and "first_step" (1 at the first step, else 0).
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment."""
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        flat = spaces.flatten_space(env.action_space)
        assert isinstance(flat, spaces.Box)
        discrete = not isinstance(env.action_space, spaces.Box)
        low, high = (np.zeros(flat.shape), np.ones(flat.shape)) if discrete else (flat.low, flat.high)
        self._none = np.zeros(flat.shape, dtype=np.float32)
        self.observation_space = spaces.Dict(
            observation=env.observation_space,
            previous_action=spaces.Box(np.minimum(low, 0).astype(np.float32), np.maximum(high, 0).astype(np.float32)),
            first_step=spaces.Box(0.0, 1.0, (1,), np.float32),
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._seen(observation, self._none.copy(), 1.0), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, *rest = self.env.step(action)
        encoded = spaces.flatten(self.env.action_space, action)
        return (self._seen(observation, np.asarray(encoded, dtype=np.float32), 0.0), *rest)  # type: ignore[return-value]

    def _seen(self, observation: Any, previous: NDArray[np.float32], first: float) -> dict[str, Any]:
        return {
            "observation": observation,
            "previous_action": previous,
            "first_step": np.full(1, first, dtype=np.float32),
        }
