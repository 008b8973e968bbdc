"""The whole state of vectorised environments as bytes, and back: half-finished episodes, generators, statistics.

A stack of wrappers is walked from the outermost to the environments themselves, and of each object its attributes are
taken, whatever it is; so this needs nothing of an environment but that it pickles.  Functions and classes that have no
importable name are pickled by value.  Environments in processes of their own are asked there, see
:mod:`s7rl.agents.worker_state`, together with the global random generators of their process.

Reading the bytes may run code, as with every pickle: only read what you wrote.
"""

import pickle
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorWrapper
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from s7rl.agents.environment_pickle import EnvironmentStateError, dumps, kind_of, set_state_of, set_vars, state_of
from s7rl.agents.shaped_reward import ShapedRewardVecEnv
from s7rl.agents.vec_env import BatchedVecEnv
from s7rl.agents.worker_state import ask_workers
from s7rl.agents.workers import WorkerVecEnv
from s7rl.checks import error_line

_CONNECTIONS: dict[type, set[str]] = {
    VecEnvWrapper: {"venv", "class_attributes"},
    VecMonitor: {"results_writer", "t_start"},
    DummyVecEnv: {"envs"},
    SubprocVecEnv: {"remotes", "work_remotes", "processes", "waiting", "closed"},
    WorkerVecEnv: WorkerVecEnv.CONNECTIONS,
    BatchedVecEnv: {"vector_env"},
    ShapedRewardVecEnv: {"shaping"},
}
"""What ties an object to its process, its files or its neighbours rather than saying where it stands."""
_PARTS = dict.fromkeys(("kinds", "layers", "environments", "workers"), list)
"""What the state of environments consists of."""


def save_environments(env: VecEnv) -> bytes:
    """The state of the environments and of all wrappers around them.

    Raises:
        EnvironmentStateError: if something in it does not pickle; the text says why.
    """
    layers = list(_layers(env))
    base = layers[-1]
    return dumps(
        {
            "kinds": _kinds(env),
            "layers": [_attributes(layer) for layer in layers],
            "environments": [vars(inner) for inner in _environments(base)],
            "workers": ask_workers(base, state_of, [()] * base.num_envs) if isinstance(base, SubprocVecEnv) else [],
        }
    )


def restore_environments(env: VecEnv, content: bytes) -> None:
    """Put environments and wrappers, made as those were, into the state that :func:`save_environments` returned.

    Raises:
        EnvironmentStateError: if they are others than those that were saved, or the bytes cannot be read here.
        ValueError: if the bytes are none of :func:`save_environments`'s.
    """
    try:
        state = pickle.loads(content)
    except Exception as error:
        raise EnvironmentStateError(f"their state does not unpickle: {error_line(error)}") from error
    if not isinstance(state, dict) or {name: type(part) for name, part in state.items()} != _PARTS:
        raise ValueError("what it holds of the environments is no state that s7rl saved.")
    for ours, theirs in zip_longest(_kinds(env), state["kinds"], fillvalue="none"):
        if ours != theirs:
            raise EnvironmentStateError(f"there is {ours}, where there was {theirs}")
    layers = list(_layers(env))
    base = layers[-1]
    if isinstance(base, SubprocVecEnv):
        ask_workers(base, set_state_of, [(worker,) for worker in state["workers"]])
    for layer, attributes in zip(layers, state["layers"], strict=True):
        vars(layer).update(attributes)
    for environment, attributes in zip(_environments(base), state["environments"], strict=True):
        set_vars(environment, attributes)


def _layers(item: Any) -> Iterator[Any]:
    """A stack of wrappers, from the outermost to what they are all around."""
    yield item
    while isinstance(item, VecEnvWrapper | gym.Wrapper | VectorWrapper):
        item = item.venv if isinstance(item, VecEnvWrapper) else item.env
        yield item


def _kinds(env: VecEnv) -> list[str]:
    """What the vectorised environments are, and then what each environment is, with all of its wrappers."""
    *_, base = _layers(env)
    if isinstance(base, SubprocVecEnv):
        return [_kind(env), *(kind.decode() for kind in ask_workers(base, kind_of, [()] * base.num_envs))]
    return [_kind(env), *map(_kind, _environments(base))]


def _kind(item: Any) -> str:
    return " > ".join(type(layer).__qualname__ for layer in _layers(item))


def _environments(base: VecEnv) -> list[Any]:
    """The environments of a base that can be reached from here."""
    if isinstance(base, DummyVecEnv):
        return list(base.envs)
    return [base.vector_env] if isinstance(base, BatchedVecEnv) else []


def _attributes(layer: VecEnv) -> dict[str, Any]:
    # vars, not pickling the wrapper itself: VecNormalize drops the returns of the episodes under way.
    skipped = {name for kind, names in _CONNECTIONS.items() if isinstance(layer, kind) for name in names}
    return {name: value for name, value in vars(layer).items() if name not in skipped}
