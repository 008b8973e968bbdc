"""What is known about a task: its length, how long it must be remembered, and the scores to compare with.

Scores of our own tasks are derived in their classes' docstrings.  Those of MiniGrid's Memory are exact where they are
optimal (breadth-first search over the task's states); ``memoryless_return`` is there the best policy found by
search; the environments whose memoryless score is high show the cue and the goals in one view.  Each suite tells what
is known of its environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from s7rl.envs.engines.repeat_previous import RepeatPreviousEngine
from s7rl.envs.engines.tmaze import TMazePassiveEngine
from s7rl.envs.registry import MINIGRID_MEMORY_IDS, OWN_MODULE, SUITES, find_suite, make_env


@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment with given arguments, and what a trainer and a report need to know of it."""

    env_id: str
    """The id that ``make_env`` takes."""
    suite: str
    """One of "memory", "minigrid", "popgym", "control", "mujoco", "atari", "vision" and "gymnasium"."""
    summary: str
    """What is asked of the agent, in one line."""
    episode_length: int | None
    """Steps of the longest possible episode; None if not known."""
    memory_span: int | None
    """Steps between what must be remembered and the decision that needs it; None if not known."""
    optimal_return: float | None
    """Mean return of the best agent."""
    memoryless_return: float | None
    """Mean return of the best agent without memory."""
    random_return: float | None
    """Mean return of uniformly random actions."""
    steps: int
    """Default training budget in environment steps."""
    env_kwargs: Mapping[str, object] = field(default_factory=dict)
    """The keyword arguments that this task was looked up with."""


def task_ids() -> tuple[str, ...]:
    """Return the ids of the tasks that we know the scores of."""
    described = [env_id for suite in SUITES for env_id in (*suite.own, *suite.featured)]
    return (*_DESCRIPTIONS, *described)


def find_task(env_id: str, env_kwargs: Mapping[str, object] | None = None) -> Task:
    """Describe an environment; scores and lengths follow its keyword arguments.

    Any id that ``make_env`` can make has a description; scores are None where they are not known.

    Raises:
        ValueError: in one line, as ``make_env``, if the id or a keyword argument is unknown.
        TypeError: in one line, as ``make_env``, if a keyword argument has the wrong type.
    """
    env_id = env_id.removeprefix(OWN_MODULE)
    kwargs = dict(env_kwargs or {})
    # Making it is the test of the arguments, and tells the limit that some environments keep to themselves.  A known
    # task without arguments is described without its package being installed.
    length = None
    if kwargs or env_id not in task_ids():
        env = make_env(env_id, kwargs)
        length = env.spec.max_episode_steps if env.spec is not None else None
        for name in ("max_steps", "max_episode_length"):
            length = length or getattr(env.unwrapped, name, None)
        env.close()
    overridden = kwargs.pop("max_episode_steps", None)
    kwargs.pop("disable_env_checker", None)
    describe = _DESCRIPTIONS.get(env_id, _describe_other)
    facts = {"steps": 1_000_000, "env_kwargs": dict(env_kwargs or {}), "episode_length": length, **_NO_SCORES}
    facts |= describe(env_id, kwargs)
    if facts["episode_length"] is None:
        facts["episode_length"] = length
    if overridden is not None:
        facts |= {**_NO_SCORES, "episode_length": overridden}
    return Task(env_id=env_id, **facts)


_NO_SCORES: Mapping[str, Any] = {
    "memory_span": None,
    "optimal_return": None,
    "memoryless_return": None,
    "random_return": None,
}


def _describe_tmaze(env_id: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    length = TMazePassiveEngine(1, **kwargs).corridor_length
    return {
        "suite": "memory",
        "summary": f"remember a cue for {length} steps, then take the arm it named",
        "episode_length": 2 * length + 2,
        "memory_span": length,
        "optimal_return": 1.0,
        "memoryless_return": 0.5,
        "random_return": _tmaze_random_return(length),
        "steps": _tmaze_budget(length),
    }


def _tmaze_random_return(corridor_length: int) -> float:
    """Return the mean return of uniformly random actions, exact but for rounding.

    The probabilities of all places are followed through an episode.  Above 100 places nobody reaches the junction in
    time (probability below 1e-23), and 3/4 of the 2 L + 2 steps cost 1/L each.
    """
    if corridor_length > 100:
        return -1.5 - 1.5 / corridor_length
    at = np.zeros(corridor_length + 1)  # probability of being at x, the episode not being over
    at[0] = 1.0
    total = 0.0
    for _ in range(2 * corridor_length + 2):
        goals, losses = at[-1] / 4, 3 / 4 * at[:-1].sum() + at[-1] / 2
        total += goals - losses / corridor_length
        quarter, at = at / 4, at / 2  # up and down stay ...
        at[-1] = 0.0  # ... except at the junction, where they end the episode
        at += np.append(quarter[1:], quarter[-1])  # left, and right at the junction
        at += np.insert(quarter[:-1], 0, quarter[0])  # right, and left at the start
    return float(total)


def _tmaze_budget(corridor_length: int) -> int:
    """Return a budget that grows with the corridor: 0.4M steps up to 100, 3M at 500, 5000 a place from 1,000 on."""
    if corridor_length > 1000:
        return 5000 * corridor_length
    return round(np.interp(corridor_length, [100, 500, 1000], [400_000, 3_000_000, 5_000_000]))


def _describe_repeat_previous(env_id: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    engine = RepeatPreviousEngine(1, **kwargs)
    num_cards, k = engine.num_cards, engine.k
    return {
        "suite": "memory",
        "summary": f"name the suit of the card shown {k - 1} steps ago, at every step",
        "episode_length": num_cards - 1,
        "memory_span": k - 1,
        "optimal_return": 1.0,
        "memoryless_return": 1.0 if k == 1 else num_cards / (2 * (num_cards - 1)) - 1,
        "random_return": -0.5,
        "steps": 2_000_000,
    }


# size in cells, then optimal, best memoryless found and random return (mean of 4,000 episodes, standard error 0.006)
_MINIGRID_MEMORY = {
    "S7": (7, 0.978, 0.905, 0.163),
    "S9": (9, 0.984, 0.931, 0.189),
    "S11": (11, 0.986, 0.50, 0.199),
    "S13": (13, 0.988, 0.50, 0.206),
    "S13Random": (13, 0.991, 0.677, 0.240),
    "S17Random": (17, 0.993, 0.622, 0.281),
}


def _describe_minigrid_memory(env_id: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    size, *scores = _MINIGRID_MEMORY[env_id.removeprefix("MiniGrid-Memory").removesuffix("-v0")]
    size = int(kwargs.get("size", size))
    facts: dict[str, Any] = {
        "suite": "minigrid",
        "summary": "look at an object, walk down a hallway, go to the matching one",
        "memory_span": 2 * size,  # chosen: to the cue, back, and to the end of the hallway
        "steps": 3_000_000,
    }
    if not kwargs:
        facts["episode_length"] = 5 * size**2
        facts |= dict(zip(("optimal_return", "memoryless_return", "random_return"), scores, strict=True))
    return facts


def _describe_other(env_id: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    suite = find_suite(env_id)
    if suite is None:
        return {"suite": "gymnasium", "summary": f"{env_id}, as registered with Gymnasium"}
    facts = suite.describe(env_id.rpartition(":")[2], kwargs)
    if facts is None:
        return {"suite": suite.name, "summary": f"{env_id}, as registered with Gymnasium"}
    return {"suite": suite.name, **vars(facts)}


_DESCRIPTIONS: Mapping[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
    "s7rl/TMazePassive-v0": _describe_tmaze,
    "s7rl/RepeatPrevious-v0": _describe_repeat_previous,
    **dict.fromkeys(MINIGRID_MEMORY_IDS, _describe_minigrid_memory),
}
