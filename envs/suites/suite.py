"""What the registry has to know of a collection of environments, and of each task in it.

A suite's module is imported whenever ``s7rl.envs`` is, so it must not import the package behind the suite: that is
named in ``packages`` and imported when one of its ids is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a task with given arguments; None is what is not known."""

    summary: str
    """What is asked of the agent, in one line."""
    episode_length: int | None = None
    """Steps of the longest possible episode."""
    memory_span: int | None = None
    """Steps between what must be remembered and the decision that needs it; 0 where nothing is hidden."""
    optimal_return: float | None = None
    """Mean return of the best agent."""
    memoryless_return: float | None = None
    """Mean return of the best agent without memory."""
    random_return: float | None = None
    """Mean return of uniformly random actions."""
    steps: int = 1_000_000
    """Default training budget in environment steps."""
    shows_numbers: bool | None = None
    """Whether observations are of a ``Box`` space; those of others, symbols or several parts, are not scaled."""


def shows_numbers(space: gym.Space[Any]) -> bool:
    """Return whether observations of a space may be scaled as one array."""
    return isinstance(space, gym.spaces.Box)


def as_it_is(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Change nothing."""
    return env


def nothing_known(env_id: str, kwargs: Mapping[str, Any]) -> Facts | None:
    """Know nothing of a task."""
    return None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A collection of environments."""

    name: str
    """One word; presets of hyper-parameters go by it."""
    summary: str
    """What is in it, in one line."""
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The ids that we register, with the arguments of ``gymnasium.register``; a batched engine is the
    ``vector_entry_point``."""
    prefixes: tuple[str, ...] = ()
    """How the ids of others begin that belong to the suite."""
    packages: tuple[str, ...] = ()
    """What to import so that Gymnasium knows those ids."""
    install: str = ""
    """What to give to ``pip install`` where a package is missing."""
    load: Callable[[str], None] | None = None
    """Imports what one id needs, in place of ``packages``; raises ModuleNotFoundError where it is not installed."""
    make: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of ``gymnasium.make`` for the ids of others."""
    engines: Mapping[str, str] = field(default_factory=dict)
    """Batched engines of ids that others register: entry points of ``gymnasium.vector.VectorEnv`` classes."""
    adapt: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] = as_it_is
    """What stands between ``gymnasium.make`` and a policy."""
    describe: Callable[[str, Mapping[str, Any]], Facts | None] = nothing_known
    """The facts of a task, by its id and keyword arguments, which have been found valid; None where there are none."""
    featured: tuple[str, ...] = ()
    """Ids of others whose scores are known, so that they are listed although their package may not be installed."""

    def has(self, env_id: str) -> bool:
        """Return whether an id belongs to the suite."""
        return env_id in self.own or env_id.startswith(self.prefixes or ("\0",))

    def engine_of(self, env_id: str) -> str | None:
        """Return the entry point of the batched engine of an id, None where there is none."""
        own: str | None = self.own.get(env_id, {}).get("vector_entry_point")
        return own or self.engines.get(env_id)

    def import_for(self, env_id: str) -> None:
        """Import what an id needs, of ours or of others.

        Raises:
            ValueError: in one line, with the command that installs what is missing.
        """
        try:
            if self.load is not None:
                self.load(env_id)
                return
            for package in self.packages:
                importlib.import_module(package)
        except ModuleNotFoundError as error:
            missing = (error.name or "a package").partition(".")[0]
            raise ValueError(f"{env_id} needs {missing}, which is not installed: pip install {self.install}") from error


def registration(
    entry_point: str, time_limit: int, view: str, noise: tuple[float, ...] = (), kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments of ``gymnasium.register`` for an environment of which a part is hidden.

    Args:
        entry_point: class of the whole environment.
        time_limit: steps after which an episode is truncated.
        view: "PositionOnly", "VelocityOnly" or "Noisy".
        noise: standard deviation of the noise on every entry of the observation, for "Noisy".
        kwargs: arguments of the environment.
    """
    # By name: neither the environment's package nor the wrapper is imported before an environment is made.
    if view == "Noisy":
        name = "NoisyObservation"
        wrapper = WrapperSpec(name, f"s7rl.envs.wrappers.noise:{name}", {"standard_deviation": noise})
    else:
        wrapper = WrapperSpec(view, f"s7rl.envs.wrappers.masking:{view}", {})
    return {
        "entry_point": entry_point,
        "max_episode_steps": time_limit,
        "kwargs": dict(kwargs or {}),
        "additional_wrappers": (wrapper,),
    }
