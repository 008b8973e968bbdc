"""The whole state of vectorised environments as bytes, and back: half-finished episodes, generators, statistics.

A stack of wrappers is walked from the outermost to the environments themselves, and of each object its attributes are
taken, whatever it is; so this needs nothing of an environment but that it pickles.  Functions and classes that have no
importable name are pickled by value.  Environments in processes of their own are asked there, together with the global
random generators of their process.

Reading the bytes may run code, as with every pickle: only read what you wrote.
"""

import copyreg
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType
from typing import Any

import cloudpickle
from gymnasium.utils import EzPickle
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper, VecMonitor
from stable_baselines3.common.vec_env.subproc_vec_env import _worker

from s7rl.agents.random_states import random_states, set_random_states
from s7rl.agents.vec_env import BatchedVecEnv
from s7rl.checks import error_line

_CONNECTIONS: dict[type, set[str]] = {
    VecEnvWrapper: {"venv", "class_attributes"},
    VecMonitor: {"results_writer", "t_start"},
    DummyVecEnv: {"envs"},
    SubprocVecEnv: {"remotes", "work_remotes", "processes", "waiting", "closed"},
    BatchedVecEnv: {"vector_env"},
}
"""What ties an object to its process, its files or its neighbours rather than saying where it stands."""
_MAILBOX = "s7rl_mailbox"
"""Attribute of an environment in another process through which it is asked and answers."""


class EnvironmentStateError(Exception):
    """The state of an environment cannot be taken or put back; the text says in one line why."""


def save_environments(env: VecEnv) -> bytes:
    """The state of the environments and of all wrappers around them.

    Raises:
        EnvironmentStateError: if something in it does not pickle; the text says why.
    """
    layers = list(_layers(env))
    base = layers[-1]
    return _dumps(
        {
            "layers": {_label(layer, i): _attributes(layer) for i, layer in enumerate(layers)},
            "environments": {_label(inner, i): vars(inner) for i, inner in enumerate(_environments(base))},
            "workers": _ask_workers(base, _state_of, [()] * base.num_envs) if isinstance(base, SubprocVecEnv) else [],
        }
    )


def restore_environments(env: VecEnv, content: bytes) -> None:
    """Put environments and wrappers, made as those were, into the state that :func:`save_environments` returned.

    Raises:
        EnvironmentStateError: if they are others than those that were saved, or the bytes cannot be read here.
    """
    try:
        state = pickle.loads(content)
    except Exception as error:
        raise EnvironmentStateError(f"their state does not unpickle: {error_line(error)}") from error
    layers = list(_layers(env))
    base = layers[-1]
    environments = _environments(base)
    for kind, found in {"layers": layers, "environments": environments}.items():
        labels = [_label(item, i) for i, item in enumerate(found)]
        if labels != list(state[kind]):
            raise EnvironmentStateError(f"they are {labels}, and those that were saved were {list(state[kind])}")
    if isinstance(base, SubprocVecEnv):
        _ask_workers(base, _set_state_of, [(worker,) for worker in state["workers"]])
    for layer, attributes in zip(layers, state["layers"].values(), strict=True):
        vars(layer).update(attributes)
    for environment, attributes in zip(environments, state["environments"].values(), strict=True):
        _set_vars(environment, attributes)


def _layers(env: VecEnv) -> Iterator[VecEnv]:
    yield env
    while isinstance(env, VecEnvWrapper):
        env = env.venv
        yield env


def _environments(base: VecEnv) -> list[Any]:
    """The environments of a base that can be reached from here."""
    if isinstance(base, DummyVecEnv):
        return list(base.envs)
    return [base.vector_env] if isinstance(base, BatchedVecEnv) else []


def _label(item: object, index: int) -> str:
    return f"{index}: {type(item).__qualname__}"


def _attributes(layer: VecEnv) -> dict[str, Any]:
    # vars, not pickling the wrapper itself: VecNormalize drops the returns of the episodes under way.
    skipped = {name for kind, names in _CONNECTIONS.items() if isinstance(layer, kind) for name in names}
    return {name: value for name, value in vars(layer).items() if name not in skipped}


def _set_vars(target: object, attributes: dict[str, Any]) -> None:
    vars(target).clear()
    vars(target).update(attributes)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles by reference what has an importable name, functions and classes without one by value."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, EzPickle):
            # Its own pickle holds the arguments of its constructor and forgets the episode.
            return copyreg.__newobj__, (type(obj),), vars(obj), None, None, _set_vars  # type: ignore[attr-defined]
        if isinstance(obj, type | FunctionType) and _has_importable_name(obj):
            return NotImplemented
        return super().reducer_override(obj)


def _has_importable_name(item: type | FunctionType) -> bool:
    found: Any = sys.modules.get(item.__module__)
    for name in item.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is item


def _dumps(value: Any) -> bytes:
    content = io.BytesIO()
    try:
        _Pickler(content).dump(value)
    except Exception as error:
        raise EnvironmentStateError(f"they do not pickle: {error_line(error)}") from error
    return content.getvalue()


class _InWorker:
    """Unpickles, in a process of ``SubprocVecEnv``, to what a function makes of the environment there.

    The worker's own commands only read and set attributes, and it dies of a reply that does not pickle; so this is
    sent as the value of an attribute, and what becomes of it is always bytes or a text.
    """

    def __init__(self, function: Callable[..., bytes], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return _call_in_worker, (self.function, self.arguments)


def _call_in_worker(function: Callable[..., bytes], arguments: tuple[Any, ...]) -> bytes | str:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not _worker.__code__:
        frame = frame.f_back
    if frame is None:
        return "their processes are none of SubprocVecEnv's"
    try:
        return function(frame.f_locals["env"], *arguments)
    except EnvironmentStateError as error:
        return str(error)
    except Exception as error:
        return error_line(error)


def _state_of(env: Any) -> bytes:
    return _dumps({"random_states": random_states(), "environment": vars(env)})


def _set_state_of(env: Any, content: bytes) -> bytes:
    state = pickle.loads(content)
    _set_vars(env, state["environment"])
    set_random_states(state["random_states"])
    return b""


def _ask_workers(base: SubprocVecEnv, function: Callable[..., bytes], arguments: list[tuple[Any, ...]]) -> list[bytes]:
    """Calls the function with the environment in each process, and returns the answers."""
    for i, those in enumerate(arguments):
        base.set_attr(_MAILBOX, _InWorker(function, those), indices=i)
    answers: list[bytes | str] = base.get_attr(_MAILBOX)
    base.env_method("__delattr__", _MAILBOX)
    for i, answer in enumerate(answers):
        if isinstance(answer, str):
            raise EnvironmentStateError(f"in process {i}: {answer}")
    return [answer for answer in answers if isinstance(answer, bytes)]
