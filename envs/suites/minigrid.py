"""MiniGrid and BabyAI: what we add to them, and what is known of the Memory environments.

Importing this module imports neither: lists of environments stay cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from s7rl.envs.suites.minigrid_scores import MEMORY_SCORES
from s7rl.envs.suites.suite import Facts, Suite

_ENGINE = "s7rl.envs.engines.minigrid_memory:MemoryVector"
NATIVE_MEMORY = ("S7", "S9", "S11", "S13", "S13Random", "S17Random")
"""The mazes that MiniGrid 3.2 registers itself."""
OWN: Mapping[str, dict[str, Any]] = {
    f"MiniGrid-Memory{name}-v0": {
        "entry_point": "minigrid.envs:MemoryEnv",
        "vector_entry_point": _ENGINE,
        "kwargs": {"size": scores.size, "random_length": scores.random_length},
    }
    for name, scores in MEMORY_SCORES.items()
    if name not in NATIVE_MEMORY
}
"""Ids of larger mazes and the arguments that ``gymnasium.register`` takes for them."""
_NATIVE = tuple(f"MiniGrid-Memory{name}-v0" for name in NATIVE_MEMORY)

_Returns = tuple[float | None, float | None, float | None]  # optimal, memoryless, random

# What may take longer than about a second to compute is left unknown for arguments of the user's own.
_LARGEST_SOLVED = {False: 61, True: 17}  # by random_length
_MOST_FOLLOWED = 100_000  # steps of random actions, for all lengths of the hallway together


def adapt(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return the environment with observations that a policy takes.

    Raises:
        ValueError: in one line, if the mission cannot be encoded, or the environment needs files that MiniGrid's
            package on PyPI does not bring.
        Exception: of MiniGrid's, if it cannot build a maze with its arguments.
    """
    from s7rl.envs.wrappers.minigrid import MiniGridVectorObservation

    if type(env.unwrapped).__module__.startswith("minigrid.envs.wfc"):
        _check_patterns(env)
    env = MiniGridVectorObservation(env)
    env.reset()  # MiniGrid checks some arguments, such as the parity of a size, only when it builds its first maze
    return env


def _check_patterns(env: gym.Env[Any, Any]) -> None:
    from minigrid.envs.wfc.config import PATTERN_PATH

    if not PATTERN_PATH.is_dir():
        name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        raise ValueError(
            f"{name} needs pictures of patterns, which the package of MiniGrid on PyPI lacks: clone "
            "https://github.com/Farama-Foundation/Minigrid and run pip install -e '.[wfc]' there."
        )


def describe(env_id: str, kwargs: Mapping[str, Any]) -> Facts | None:
    """Return the facts about a Memory environment, or None if the id is another one's.

    They follow the keyword arguments, which are those of MiniGrid's ``MemoryEnv`` and must be valid.  Scores are exact
    except the four of ``memoryless_return`` that a search found (S7, S9, S13Random, S17Random); None is not known.

    The memory span is 2 size: an upper bound on the longest episode of the best agent (to the cue, back, to the end of
    the hallway), and what an agent that is still learning has to bridge.  The best agent bridges less: it sees the cue
    from afar, turns, and is between the arms ``size - agent_view_size`` steps later where the length is fixed.
    """
    scores = MEMORY_SCORES.get(env_id.removeprefix("MiniGrid-Memory").removesuffix("-v0"))
    if scores is None or not env_id.startswith("MiniGrid-Memory"):
        return None
    size = int(kwargs.get("size", scores.size))
    random_length = bool(kwargs.get("random_length", scores.random_length))
    given = kwargs.get("max_steps")
    limit = 5 * size**2 if given is None else int(given)
    view_size = int(kwargs.get("agent_view_size", 7))
    if (size, random_length, limit, view_size) == (scores.size, scores.random_length, 5 * scores.size**2, 7):
        returns: _Returns = (scores.optimal, scores.memoryless, scores.random)
    else:
        returns = _returns(size, random_length, limit, view_size)
    optimal, memoryless, at_random = returns
    return Facts(
        summary="look at an object, walk down a hallway, go to the matching one",
        episode_length=limit,
        memory_span=2 * size,
        optimal_return=optimal,
        memoryless_return=memoryless,
        random_return=at_random,
        steps=3_000_000 * max(size, 17) // 17,
    )


def _returns(size: int, random_length: bool, limit: int, view_size: int) -> _Returns:
    from s7rl.envs.engines.minigrid_memory_maze import hallway_ends
    from s7rl.envs.engines.minigrid_memory_scores import (
        best_steps,
        cue_shows_between_the_arms,
        guess_steps,
        random_return,
    )

    optimal = memoryless = at_random = None
    # With a tighter limit it may be better to guess than to look, and some ways are too long.
    if limit >= 4 * size + 20:
        if size <= _LARGEST_SOLVED[random_length]:
            optimal = 1 - 0.9 * best_steps(size, random_length, view_size) / limit
        if not cue_shows_between_the_arms(size, random_length, view_size):
            memoryless = 0.5 * (1 - 0.9 * guess_steps(size, random_length) / limit)
    if limit * len(hallway_ends(size, random_length)) <= _MOST_FOLLOWED:
        at_random = random_return(size, random_length, limit)
    return optimal, memoryless, at_random


SUITE = Suite(
    name="minigrid",
    summary="MiniGrid and BabyAI, missions included; Memory mazes of any size, batched",
    own=OWN,
    prefixes=("MiniGrid-", "BabyAI-"),
    packages=("minigrid",),
    install="minigrid",
    engines=dict.fromkeys(_NATIVE, _ENGINE),
    adapt=adapt,
    describe=describe,
    featured=_NATIVE,
)
