"""Wrappers by name, as text: ``"Flicker(probability=0.5)"``, for command lines and configuration files.

What wraps an environment is a sequence of such texts; the first is the innermost.  A wrapper of the user's own goes by
module and class: ``"my_package.wrappers:Blinkers(angle=30)"``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from s7rl.checks import instead
from s7rl.envs.wrappers.delayed_reward import DelayedReward, DelayedRewardVector
from s7rl.envs.wrappers.flatten import FlattenNested, FlattenObservation
from s7rl.envs.wrappers.history import HistoryVector, HistoryWrapper
from s7rl.envs.wrappers.masking import (
    MaskObservation,
    MaskObservationVector,
    PositionOnly,
    PositionOnlyVector,
    VelocityOnly,
    VelocityOnlyVector,
)
from s7rl.envs.wrappers.noise import Flicker, FlickerVector, NoisyObservation, NoisyObservationVector
from s7rl.envs.wrappers.previous_action import PreviousActionReward, PreviousActionRewardVector
from s7rl.envs.wrappers.timeout import TimeoutAsTruncation

__all__ = ["WRAPPERS", "Versions", "has_vector_wrappers", "parse_wrapper", "parse_wrappers", "wrap", "wrap_vector"]

AnyVectorEnv = VectorEnv[Any, Any, Any]


@dataclass(frozen=True)
class Versions:
    """The versions of a wrapper."""

    single: Callable[..., gym.Env[Any, Any]]
    """For a single environment."""
    vector: Callable[..., AnyVectorEnv] | None = None
    """For a vector environment with same-step autoreset; None where there is none."""


WRAPPERS: Mapping[str, Versions] = {
    "MaskObservation": Versions(MaskObservation, MaskObservationVector),
    "PositionOnly": Versions(PositionOnly, PositionOnlyVector),
    "VelocityOnly": Versions(VelocityOnly, VelocityOnlyVector),
    "Flicker": Versions(Flicker, FlickerVector),
    "NoisyObservation": Versions(NoisyObservation, NoisyObservationVector),
    "DelayedReward": Versions(DelayedReward, DelayedRewardVector),
    "PreviousActionReward": Versions(PreviousActionReward, PreviousActionRewardVector),
    "HistoryWrapper": Versions(HistoryWrapper, HistoryVector),
    "TimeoutAsTruncation": Versions(TimeoutAsTruncation),
    "FlattenNested": Versions(FlattenNested),
    "FlattenObservation": Versions(FlattenObservation),
}
"""Every wrapper that has a name."""
_OF_A_MODULE = re.compile(r"([\w.]+):(\w.*)", re.DOTALL)


def module_of(text: str) -> str:
    """Return the module that the text of a wrapper names before its colon; empty for one of ``WRAPPERS``."""
    of_a_module = _OF_A_MODULE.fullmatch(text.strip())
    return of_a_module[1] if of_a_module else ""


def parse_wrapper(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the keyword arguments of a wrapper.

    Arguments are Python literals: numbers, texts in quotes, lists, True, False, None.  Nothing is evaluated, but the
    module of a wrapper that is none of ``WRAPPERS`` is imported.

    Args:
        text: such as ``"Flicker(probability=0.5)"`` or, without arguments, ``"PositionOnly"``; or ``"module:Class"``,
            with arguments or without.

    Raises:
        ValueError: in one line, if the text cannot be read, or there is no such wrapper or argument.

    Example:
        >>> parse_wrapper("MaskObservation(keep=[0, 2])")
        ('MaskObservation', {'keep': [0, 2]})
    """
    if not isinstance(text, str):
        raise _unreadable(text)
    of_a_module = _OF_A_MODULE.fullmatch(text.strip())
    try:
        node = ast.parse(of_a_module[2] if of_a_module else text.strip(), mode="eval").body
    except (SyntaxError, ValueError, TypeError, AttributeError, MemoryError, RecursionError):
        raise _unreadable(text) from None
    call = node if isinstance(node, ast.Call) else None
    function = node if call is None else call.func
    if not isinstance(function, ast.Name):
        raise _unreadable(text)
    name = f"{of_a_module[1]}:{function.id}" if of_a_module else function.id
    _find(name)
    arguments = _arguments(name)
    kwargs: dict[str, Any] = {}
    if call is not None:
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError(f"{text!r} has an argument without a name: write {_usage(name)}.")
        for keyword in call.keywords:
            assert keyword.arg is not None
            if keyword.arg not in arguments:
                what = instead(keyword.arg, arguments) if arguments else "it takes none."
                raise ValueError(f"{name} has no argument {keyword.arg!r}: {what}")
            if keyword.arg in kwargs:
                raise ValueError(f"{text!r} has the argument {keyword.arg!r} twice: write it once.")
            kwargs[keyword.arg] = _literal(name, keyword.arg, keyword.value)
    required = [key for key, parameter in arguments.items() if parameter.default is parameter.empty]
    missing = next((key for key in required if key not in kwargs), None)
    if missing is not None:
        raise ValueError(f"{name} needs the argument {missing!r}: write {_usage(name)}.")
    return name, kwargs


def parse_wrappers(wrappers: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return what :func:`parse_wrapper` does for each.

    Raises:
        ValueError: as :func:`parse_wrapper`.
        TypeError: in one line, if it is one text instead of several.
    """
    if isinstance(wrappers, str):
        raise TypeError(f"wrappers ({wrappers!r}) is a text; pass a list of them, [{wrappers!r}].")
    return [parse_wrapper(text) for text in wrappers]


def wrap(env: gym.Env[Any, Any], wrappers: Sequence[str]) -> gym.Env[Any, Any]:
    """Return a single environment in wrappers, the first innermost.

    Raises:
        ValueError: as :func:`parse_wrapper`, and in one line if a wrapper does not fit the environment.
        TypeError: in one line, if an argument is of the wrong type.
    """
    for name, kwargs in parse_wrappers(wrappers):
        env = _find(name).single(env, **kwargs)
    return env


def wrap_vector(envs: AnyVectorEnv, wrappers: Sequence[str]) -> AnyVectorEnv:
    """Return a vector environment in wrappers, the first innermost; row i is the single one, wrapped.

    Raises:
        ValueError: as :func:`wrap`, and in one line if a wrapper has no version for vector environments.
        TypeError: in one line, if an argument is of the wrong type.
    """
    for name, kwargs in parse_wrappers(wrappers):
        vector = _find(name).vector
        if vector is None:
            having = ", ".join(key for key, versions in WRAPPERS.items() if versions.vector is not None)
            raise ValueError(f"{name} has no version for vector environments: wrap single ones, or use {having}.")
        envs = vector(envs, **kwargs)
    return envs


def has_vector_wrappers(wrappers: Sequence[str]) -> bool:
    """Return whether :func:`wrap_vector` has a version of each.

    Raises:
        ValueError: as :func:`parse_wrapper`.
    """
    return all(_find(name).vector is not None for name, _ in parse_wrappers(wrappers))


def _find(name: str) -> Versions:
    """Return the versions of a wrapper by its name, or by module and class."""
    module, colon, cls = name.partition(":")
    if not colon:
        if name not in WRAPPERS:
            raise ValueError(f"unknown wrapper {name!r}: {instead(name, WRAPPERS)}")
        return WRAPPERS[name]
    try:
        found = getattr(importlib.import_module(module), cls, None)
    except ImportError as error:
        raise ValueError(f"wrapper {name!r} cannot be imported ({error}): check the part before the colon.") from error
    if not (isinstance(found, type) and issubclass(found, gym.Wrapper)):
        raise ValueError(f"wrapper {name!r} is no gymnasium.Wrapper of {module}: check the part behind the colon.")
    return Versions(found)


def _arguments(name: str) -> dict[str, inspect.Parameter]:
    _, *parameters = inspect.signature(_find(name).single).parameters.items()  # the first is the environment
    return dict(parameters)


def _literal(wrapper: str, argument: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(
            f"{argument} of {wrapper} is {ast.unparse(node)}, which is no number, text in quotes, list, True, False or "
            "None: write one of these."
        ) from None


def _usage(name: str) -> str:
    arguments = _arguments(name)
    shown = (
        f"{key}=..." if parameter.default is parameter.empty else f"{key}={parameter.default!r}"
        for key, parameter in arguments.items()
    )
    return f"{name}({', '.join(shown)})"


def _unreadable(text: object) -> ValueError:
    return ValueError(
        f"wrapper {text!r} cannot be read: write a name and keyword arguments, such as Flicker(probability=0.5), or "
        "module:Class for one of your own."
    )
