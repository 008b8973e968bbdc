"""Nested observations, flattened: Dict and Tuple spaces in each other become one Dict of named leaves.

The path to a leaf is its key: ``{"sensors": {"camera": ...}}`` has the key "sensors/camera", and the entries of a Tuple
are called "0", "1" and so on.  The separator is a slash because PyTorch forbids the dot in a module's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

SEPARATOR = "/"
LEAVES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
"""What a policy can encode."""


def flatten_space(space: gym.Space[Any]) -> gym.Space[Any]:
    """Return the space of flattened observations: a Dict of leaves in the order of the original.

    A space that is flat already, a leaf or a Dict of leaves with names as keys, comes back as it is.

    Raises:
        ValueError: in one line, if a leaf is not a Box, Discrete, MultiDiscrete or MultiBinary, or if two entries would
            have the same key.
    """
    leaves: dict[str, gym.Space[Any]] = {}
    paths: set[str] = set()
    for path, node in _walk(None, space):
        if path is not None:
            if path in paths:
                raise ValueError(
                    f"the observation space has two entries that would be called {path!r} once it is flat: "
                    "rename one of them."
                )
            paths.add(path)
        if isinstance(node, spaces.Dict | spaces.Tuple):
            continue
        if not isinstance(node, LEAVES):
            where = "is" if path is None else f"has at {path!r}"
            raise ValueError(
                f"the observation space {where} a {type(node).__name__} space, but a policy takes Box, Discrete, "
                "MultiDiscrete and MultiBinary: leave it out or encode it with a gymnasium.ObservationWrapper."
            )
        if path is not None:
            leaves[path] = node
    if not isinstance(space, spaces.Dict | spaces.Tuple) or (
        isinstance(space, spaces.Dict) and list(space.spaces) == list(leaves)
    ):
        return space
    return spaces.Dict(list(leaves.items()))


def flatten_observation(space: gym.Space[Any], observation: Any) -> Any:
    """Return an observation, or a batch of them, as the flat space has it.

    Args:
        space: what :func:`flatten_space` returned; where it is no Dict, there is nothing to do.
        observation: nested mappings and sequences, or flat already; entries that the space does not have are left out.

    Raises:
        ValueError: in one line, if an entry is missing.
    """
    if not isinstance(space, spaces.Dict):
        return observation
    leaves: dict[str, Any] = {}
    _collect(space.spaces, None, observation, leaves)
    for key in space.spaces:
        if key not in leaves:
            raise ValueError(
                f"the observation has no entry {key!r}, which the observation space has: it holds "
                f"{', '.join(map(repr, leaves)) or 'none of the entries'}."
            )
    return {key: leaves[key] for key in space.spaces}


class FlattenNested(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Flatten nested Dict and Tuple observations; flat ones pass unchanged.

    Example:
        >>> from gymnasium import spaces
        >>> flatten_space(spaces.Dict(body=spaces.Dict(broken=spaces.Discrete(2), x=spaces.Box(0, 1))))
        Dict('body/broken': Discrete(2), 'body/x': Box(0.0, 1.0, (1,), float32))

    Raises:
        ValueError: as :func:`flatten_space`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment."""
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        self.observation_space = flatten_space(env.observation_space)

    def observation(self, observation: Any) -> Any:
        """Return the flat observation."""
        return flatten_observation(self.observation_space, observation)


def flatten_env(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return the environment with flat observations: itself where they are flat already.

    Raises:
        ValueError: as :func:`flatten_space`.
    """
    return env if flatten_space(env.observation_space) is env.observation_space else FlattenNested(env)


def _join(path: str | None, name: Any) -> str:
    return str(name) if path is None else f"{path}{SEPARATOR}{name}"


def _walk(path: str | None, space: gym.Space[Any]) -> Iterator[tuple[str | None, gym.Space[Any]]]:
    """Every node of a space with its path, containers before what they hold."""
    yield path, space
    entries: Iterable[tuple[Any, gym.Space[Any]]] = ()
    if isinstance(space, spaces.Dict):
        entries = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        entries = enumerate(space.spaces)
    for name, entry in entries:
        yield from _walk(_join(path, name), entry)


def _collect(known: Mapping[str, Any], path: str | None, part: Any, leaves: dict[str, Any]) -> None:
    if path is not None and path in known:
        leaves[path] = part
        return
    entries: Iterable[tuple[Any, Any]] = ()
    if isinstance(part, Mapping):
        entries = part.items()
    elif isinstance(part, tuple | list) or (isinstance(part, np.ndarray) and part.ndim):
        # Gymnasium takes a list and an array for a Tuple as well.
        entries = enumerate(part)
    for name, entry in entries:
        _collect(known, _join(path, name), entry, leaves)


class FlattenObservation(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Make one vector of any observation; what is discrete becomes one-hot (``gymnasium.spaces.flatten``).

    It is Gymnasium's wrapper of this name, but can be pickled, which a run that is to be resumed needs.

    Args:
        env: any environment whose observations have a fixed size when flattened.

    Raises:
        ValueError: in one line, if they have not.

    Example:
        >>> env = FlattenObservation(gym.make("FrozenLake-v1"))
        >>> env.reset(seed=0)[0].tolist()
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        flat = spaces.flatten_space(env.observation_space)
        if not isinstance(flat, spaces.Box):
            raise ValueError(
                f"the observation space {env.observation_space} has no fixed size when flat: leave the wrapper out."
            )
        self.observation_space = flat

    def observation(self, observation: Any) -> Any:
        """Flatten one observation."""
        return spaces.flatten(self.env.observation_space, observation)
