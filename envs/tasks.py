"""What is known about a task: its length, how long it must be remembered, and the scores to compare with.

Each suite tells what is known of its environments; scores of our own tasks are derived in their classes' docstrings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

import gymnasium as gym

from s7rl.envs.registry import OWN_MODULE, SUITES, find_suite, make_env
from s7rl.envs.suites.suite import Facts, shows_numbers
from s7rl.envs.wrappers.by_name import WRAPPERS, parse_wrapper


@dataclass(frozen=True, kw_only=True)
class Task(Facts):
    """An environment with given arguments, and what a trainer and a report need to know of it."""

    env_id: str
    """The id that ``make_env`` takes."""
    suite: str
    """One of "memory", "minigrid", "popgym", "control", "mujoco", "atari", "vision" and "gymnasium"."""
    env_kwargs: Mapping[str, object] = field(default_factory=dict)
    """The keyword arguments that this task was looked up with."""
    wrappers: tuple[str, ...] = ()
    """What stands around the environment, the first innermost."""


def task_ids() -> tuple[str, ...]:
    """Return the ids of the tasks that we know the scores of."""
    return tuple(dict.fromkeys(env_id for suite in SUITES for env_id in (*suite.own, *suite.featured)))


def own_limit(env: gym.Env[Any, Any]) -> int | None:
    """Return after how many steps an environment ends an episode by itself, None where it does not say."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    limit = limit or _limit_of_the_longest_mission(env.unwrapped)
    for name in ("max_steps", "max_episode_length"):
        limit = limit or getattr(env.unwrapped, name, None)
    return limit


def _limit_of_the_longest_mission(level: Any) -> int | None:
    """Of a BabyAI level that draws its mission, and gives each of the ways in it as much time; None for all others.

    Its ``max_steps`` is that of the mission it has at the moment.
    """
    kinds = getattr(level, "instr_kinds", None)
    if kinds is None or getattr(level, "fixed_max_steps", True):
        return None
    # minigrid's LevelGen.rand_instr: a sequence of two, each perhaps two at once; to put a thing somewhere is two ways.
    ways = (1 + ("putnext" in level.action_kinds)) * (1 + ("and" in kinds)) * (1 + ("seq" in kinds))
    return int(level.room_size**2 * level.num_rows * level.num_cols * ways)


class Probe(NamedTuple):
    """What an environment says of itself once it is made."""

    limit: int | None
    """After how many steps it ends an episode by itself, None where it does not say."""
    shows_numbers: bool | None
    """Whether its observations, those of its wrappers, are of a ``Box`` space; None where it could not be asked."""


def probe(env: gym.Env[Any, Any]) -> Probe:
    """Ask an environment what it alone can say."""
    limit = own_limit(env)  # what others' code calls so may be anything
    return Probe(int(limit) if isinstance(limit, Integral) else None, shows_numbers(env.observation_space))


def make_and_probe(env_id: str, env_kwargs: Mapping[str, object], wrappers: Sequence[str]) -> Probe:
    """Make an environment, for its ``probe``, and close it."""
    env = make_env(env_id, env_kwargs, wrappers=wrappers)
    try:
        return probe(env)
    finally:
        env.close()


def find_task(
    env_id: str,
    env_kwargs: Mapping[str, object] | None = None,
    wrappers: Sequence[str] = (),
    probe_of: Callable[[str, Mapping[str, object], Sequence[str]], Probe] = make_and_probe,
) -> Task:
    """Describe an environment; scores and lengths follow its keyword arguments.

    Any id that ``make_env`` can make has a description; scores are None where they are not known.  What can be had
    with and without memory is not known any more where a wrapper stands around a task; what random actions get is, as
    no wrapper of ours changes the sum of the rewards.  Of a task in a wrapper of the user's own no score is known.

    Args:
        env_id: as ``make_env`` takes it.
        env_kwargs: keyword arguments of the environment.
        wrappers: what stands around it, the first innermost.
        probe_of: makes such an environment where that is needed, and asks it.

    Raises:
        ValueError: in one line, as ``make_env``, if the id, a keyword argument or a wrapper is unknown or cannot be
            used.
        TypeError: in one line, as ``make_env``, if a keyword argument has the wrong type.
    """
    env_id = env_id.removeprefix(OWN_MODULE)
    kwargs = dict(env_kwargs or {})
    # Making it is the test of the arguments, and tells what some environments keep to themselves.  A known task without
    # arguments is described without its package being installed.
    made = probe_of(env_id, kwargs, wrappers) if kwargs or wrappers or env_id not in task_ids() else None
    overridden = kwargs.pop("max_episode_steps", None)
    kwargs.pop("disable_env_checker", None)
    facts = {**_describe(env_id, kwargs), "env_kwargs": dict(env_kwargs or {}), "wrappers": tuple(wrappers)}
    if made is not None:
        facts["shows_numbers"] = made.shows_numbers
        facts["episode_length"] = facts["episode_length"] or made.limit
    shorter = isinstance(overridden, int) and overridden < (facts["episode_length"] or math.inf)
    if shorter:
        facts |= {"episode_length": overridden, "memory_span": None, "random_return": None}
    if any(parse_wrapper(text)[0] not in WRAPPERS for text in wrappers):
        facts |= {"memory_span": None, "random_return": None}
    if wrappers and facts["memory_span"] == 0:
        facts["memory_span"] = None  # the wrapper may hide something
    if shorter or wrappers:
        facts |= {"optimal_return": None, "memoryless_return": None}
    return Task(env_id=env_id, **facts)


def _describe(env_id: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    suite = find_suite(env_id)
    facts = None if suite is None else suite.describe(env_id.rpartition(":")[2], kwargs)
    if facts is None:
        facts = Facts(summary=f"{env_id}, as registered with Gymnasium")
    return {"suite": "gymnasium" if suite is None else suite.name, **vars(facts)}
