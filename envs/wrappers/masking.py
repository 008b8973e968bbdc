"""Observations of which a part is hidden.

* ``MaskObservation``: some entries of a vector, or of a Dict or Tuple, by index or name.
* ``PositionOnly``, ``VelocityOnly``: what environments of known kinds show of positions, or of velocities.

Each has a version for vector environments, with ``Vector`` at the end of its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from s7rl.checks import shown
from s7rl.envs.wrappers.entries import Entries, known_entries
from s7rl.envs.wrappers.vector import Rows, SameStepWrapper

__all__ = [
    "MaskObservation",
    "MaskObservationVector",
    "PositionOnly",
    "PositionOnlyVector",
    "VelocityOnly",
    "VelocityOnlyVector",
]

Selection = Sequence[int | str | np.integer[Any]]
AnyEnv = gym.Env[Any, Any] | VectorEnv[Any, Any, NDArray[Any]]


class MaskObservation(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Show a part of each observation.

    What is shown keeps its order, its bounds and its type.  Pass either ``keep`` or ``hide``:

    * for a vector (a Box of one axis), indices; or names, where the environment is of a known kind: "cart_velocity"
      and its like in classic control, LunarLander and BipedalWalker; "qpos", "qvel" and so on in MuJoCo of version 5,
      where "qpos" is a whole group and "qpos[0]" its first entry.  A name that does not exist is answered by a list.
    * for a Dict, keys; the result is a Dict.
    * for a Tuple, indices; the result is a Tuple.

    Args:
        env: an environment with such observations.
        keep: the entries to show.
        hide: the entries to hide; all others are shown.

    Raises:
        ValueError: in one line, if there is no such entry, one is named twice, or none would be left.
        TypeError: in one line, if both or neither of ``keep`` and ``hide`` are given, or one is no sequence.

    Example:
        >>> import gymnasium as gym
        >>> env = MaskObservation(gym.make("CartPole-v1"), hide=["cart_velocity", "pole_angular_velocity"])
        >>> env.observation_space.high.round(2)
        array([4.8 , 0.42], dtype=float32)
    """

    def __init__(self, env: gym.Env[Any, Any], keep: Selection | None = None, hide: Selection | None = None) -> None:
        RecordConstructorArgs.__init__(self, keep=keep, hide=hide)
        gym.ObservationWrapper.__init__(self, env)
        self._kept = _selected(env, env.observation_space, keep, hide)
        self.observation_space = _masked_space(env.observation_space, self._kept)

    def observation(self, observation: Any) -> Any:
        """Return the part to show."""
        if isinstance(observation, dict):
            return {key: observation[key] for key in self._kept}
        if isinstance(observation, tuple):
            return tuple(observation[index] for index in self._kept)
        return observation[self._kept]


class MaskObservationVector(SameStepWrapper):
    """:class:`MaskObservation` for a vector environment."""

    def __init__(
        self,
        envs: VectorEnv[Any, Any, NDArray[Any]],
        keep: Selection | None = None,
        hide: Selection | None = None,
    ) -> None:
        super().__init__(envs)
        space = envs.single_observation_space
        self._kept = _selected(envs, space, keep, hide)
        self._show_in(_masked_space(space, self._kept))

    def _show(self, observations: Any, rows: Rows) -> Any:
        if isinstance(observations, dict):
            return {key: observations[key] for key in self._kept}
        if isinstance(observations, tuple):
            return tuple(observations[index] for index in self._kept)
        return observations.take(self._kept, axis=1)


class PositionOnly(MaskObservation):
    """Hide velocities, so that an agent must compare what it sees with what it saw.

    Known are Gymnasium's classic control, LunarLander and BipedalWalker, where contacts and distances stay in view,
    and its MuJoCo environments of version 5, where the positions are ``qpos`` and contact forces are hidden, as in Ni
    et al. (2022, "Recurrent Model-Free RL Can Be a Strong Baseline for Many POMDPs").

    Args:
        env: an environment of a known kind.

    Raises:
        ValueError: in one line, if nothing is known about the environment.

    Example:
        >>> import gymnasium as gym
        >>> PositionOnly(gym.make("Pendulum-v1")).observation_space
        Box(-1.0, 1.0, (2,), float32)
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        MaskObservation.__init__(self, env, keep=_known("PositionOnly", env).positions)


class PositionOnlyVector(MaskObservationVector):
    """:class:`PositionOnly` for a vector environment."""

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]]) -> None:
        super().__init__(envs, keep=_known("PositionOnly", envs).positions)


class VelocityOnly(MaskObservation):
    """Show velocities and nothing else, so that an agent must add up what it saw.

    The known environments are those of :class:`PositionOnly`.

    Args:
        env: an environment of a known kind.

    Raises:
        ValueError: in one line, if nothing is known about the environment.

    Example:
        >>> import gymnasium as gym
        >>> VelocityOnly(gym.make("Pendulum-v1")).observation_space
        Box(-8.0, 8.0, (1,), float32)
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        MaskObservation.__init__(self, env, keep=_known("VelocityOnly", env).velocities)


class VelocityOnlyVector(MaskObservationVector):
    """:class:`VelocityOnly` for a vector environment."""

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]]) -> None:
        super().__init__(envs, keep=_known("VelocityOnly", envs).velocities)


def _known(wrapper: str, env: AnyEnv) -> Entries:
    entries = known_entries(env)
    if entries is None:
        raise ValueError(
            f"{wrapper} does not know which entries of {_name(env)} are positions and which velocities: use "
            "MaskObservation(env, keep=[...]) with their indices."
        )
    return entries


def _name(env: AnyEnv) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _selected(env: AnyEnv, space: gym.Space[Any], keep: Selection | None, hide: Selection | None) -> list[Any]:
    """Return the indices or keys that are shown, in the order of the space."""
    if (keep is None) == (hide is None):
        given = "neither of keep and hide is" if keep is None else "keep and hide are both"
        raise TypeError(f"{given} given, but one of them says what is shown; pass exactly one.")
    argument, selection = ("keep", keep) if keep is not None else ("hide", hide)
    if isinstance(selection, str) or not isinstance(selection, Iterable):
        raise TypeError(f"{argument} ({selection!r}) is not a list; pass a list of indices or names.")
    places = _places(env, space)
    chosen: list[Any] = []
    for entry in selection:
        # True is no index, and an array of one number none either.
        key: Any = entry.item() if isinstance(entry, np.generic) else entry
        if isinstance(key, bool) or not isinstance(key, (int, str)) or key not in places:
            raise ValueError(_no_such_entry(argument, entry, env, places))
        chosen += places[key]
    twice = next((entry for entry in chosen if chosen.count(entry) > 1), None)
    if twice is not None:
        raise ValueError(f"{argument} ({list(selection)!r}) has the entry {twice!r} twice; name each once.")
    every = dict.fromkeys(place for group in places.values() for place in group)
    left = [place for place in every if (place in chosen) == (keep is not None)]
    if not left:
        raise ValueError(f"{argument} ({list(selection)!r}) leaves nothing to see; show at least one entry.")
    return left


def _places(env: AnyEnv, space: gym.Space[Any]) -> dict[int | str, tuple[Any, ...]]:
    """Return what indices and names stand for."""
    if isinstance(space, spaces.Dict):
        return {key: (key,) for key in space.spaces}
    if isinstance(space, spaces.Tuple):
        return {index: (index,) for index in range(len(space.spaces))}
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"the observation space is {shown(space)}, but MaskObservation takes a vector (a Box of one axis), a "
            "Dict or a Tuple: put FlattenObservation around the environment first."
        )
    entries = known_entries(env)
    places: dict[int | str, tuple[Any, ...]] = {index: (index,) for index in range(space.shape[0])}
    if entries is not None:
        places.update(entries.names)
    return places


def _no_such_entry(argument: str, entry: object, env: AnyEnv, places: Iterable[int | str]) -> str:
    names = [place for place in places if isinstance(place, str)]
    count = sum(isinstance(place, int) for place in places)
    # "qpos[0]" and so on are understood, but need no room in a message.
    listed = ", ".join(repr(name) for name in names if not name.endswith("]"))
    known = " or ".join([*([f"0 to {count - 1}"] if count else []), *([listed] if names else [])])
    close = difflib.get_close_matches(entry, names, n=1) if isinstance(entry, str) else []
    guess = f"did you mean {close[0]!r}?  " if close else ""
    return f"{argument} has {entry!r}, which is no entry of {_name(env)}'s observation: {guess}there are {known}."


def _masked_space(space: gym.Space[Any], kept: list[Any]) -> gym.Space[Any]:
    if isinstance(space, spaces.Dict):
        return spaces.Dict([(key, space.spaces[key]) for key in kept])
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([space.spaces[index] for index in kept])
    assert isinstance(space, spaces.Box)
    return spaces.Box(space.low[kept], space.high[kept], dtype=space.dtype.type)
