"""The whole state of one environment as bytes, and back, without torch: this also runs in worker processes.

Of the environment and its wrappers the attributes are taken, whatever they are, and the global random generators of
the process.  Functions and classes that have no importable name are pickled by value.
"""

import copyreg
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium.utils import EzPickle

from s7rl.agents.random_states import random_states, set_random_states
from s7rl.checks import error_line


class EnvironmentStateError(Exception):
    """The state of an environment cannot be taken or put back; the text says in one line why."""


def kind_of(env: Any) -> bytes:
    """What an environment is, with all of its wrappers."""
    return " > ".join(type(layer).__qualname__ for layer in _layers(env)).encode()


def state_of(env: Any) -> bytes:
    """The state of an environment that has a process to itself.

    Raises:
        EnvironmentStateError: if something in it does not pickle; the text says why.
    """
    return dumps({"random_states": random_states(), "environment": vars(env)})


def set_state_of(env: Any, content: bytes) -> bytes:
    """Put an environment and its process into the state that :func:`state_of` returned; returns nothing of note."""
    state = pickle.loads(content)
    set_vars(env, state["environment"])
    set_random_states(state["random_states"])
    return b""


def answer(function: Callable[..., Any], env: Any, arguments: tuple[Any, ...]) -> Any:
    """What a function makes of an environment; where it failed a text, in one line, that says why."""
    try:
        return function(env, *arguments)
    except EnvironmentStateError as error:
        return str(error)
    except Exception as error:
        return error_line(error)


def dumps(value: Any) -> bytes:
    """Pickle environments and their parts.

    Raises:
        EnvironmentStateError: if something in them does not pickle; the text says why.
    """
    content = io.BytesIO()
    try:
        _Pickler(content).dump(value)
    except Exception as error:
        raise EnvironmentStateError(f"they do not pickle: {error_line(error)}") from error
    return content.getvalue()


def set_vars(target: object, attributes: dict[str, Any]) -> None:
    """Give an object these attributes and no others."""
    vars(target).clear()
    vars(target).update(attributes)


def _layers(env: Any) -> Iterator[Any]:
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles by reference what has an importable name, functions and classes without one by value."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, EzPickle):
            # Its own pickle holds the arguments of its constructor and forgets the episode.
            return copyreg.__newobj__, (type(obj),), vars(obj), None, None, set_vars  # type: ignore[attr-defined]
        if isinstance(obj, type | FunctionType) and _has_importable_name(obj):
            return NotImplemented
        return super().reducer_override(obj)


def _has_importable_name(item: type | FunctionType) -> bool:
    found: Any = sys.modules.get(item.__module__)
    for name in item.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is item
