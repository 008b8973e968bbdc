"""Classic control and lunar landing: with velocities or positions hidden, with noise on everything, or as they are.

Positions alone do not say where a system is going, velocities alone do not say where it is, and one noisy reading is
worth little: what is missing must be put together from many observations.  Dynamics, rewards and time limits are
Gymnasium's, and so are the infos; CartPole alone reports ``is_success``, from an engine of its own.

The noise is Gaussian and drawn for every entry at every step.  Its standard deviation is 5 % of what the entry
typically reaches (``System.noise``); the contacts of the lander's legs are noisy, too.

Gymnasium's own ids, which show everything, belong to the suite as well, to compare with.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s7rl.envs.suites.suite import Facts, Suite, registration

_CLASSIC = "gymnasium.envs.classic_control"
_LANDER = "gymnasium.envs.box2d.lunar_lander:LunarLander"
_CARTPOLE = "s7rl.envs.engines.cartpole:CartPole"


@dataclass(frozen=True, kw_only=True)
class System:
    """One of Gymnasium's systems."""

    entry_point: str
    time_limit: int
    noise: tuple[float, ...]
    """Standard deviation of the noise on every entry, in the entry's unit."""
    random_return: float
    """Mean return of uniformly random actions; ``experiments/results/bench/envs.csv`` has another measurement."""
    kwargs: Mapping[str, Any] | None = None


_LANDER_NOISE = (0.05, 0.05, 0.05, 0.05, 0.05, 0.1, 0.05, 0.05)
SYSTEMS: Mapping[str, System] = {
    "Acrobot": System(
        entry_point=f"{_CLASSIC}.acrobot:AcrobotEnv",
        time_limit=500,
        noise=(0.05, 0.05, 0.05, 0.05, 0.6, 1.4),
        random_return=-499.1,
    ),
    "LunarLander": System(
        entry_point=_LANDER,
        time_limit=1000,
        noise=_LANDER_NOISE,
        random_return=-181.7,
    ),
    "LunarLanderContinuous": System(
        entry_point=_LANDER,
        time_limit=1000,
        noise=_LANDER_NOISE,
        random_return=-209.8,
        kwargs={"continuous": True},
    ),
    "MountainCar": System(
        entry_point=f"{_CLASSIC}.mountain_car:MountainCarEnv",
        time_limit=200,
        noise=(0.045, 0.0035),
        random_return=-200.0,
    ),
    "MountainCarContinuous": System(
        entry_point=f"{_CLASSIC}.continuous_mountain_car:Continuous_MountainCarEnv",
        time_limit=999,
        noise=(0.045, 0.0035),
        random_return=-33.25,
    ),
    "Pendulum": System(
        entry_point=f"{_CLASSIC}.pendulum:PendulumEnv",
        time_limit=200,
        noise=(0.05, 0.05, 0.4),
        random_return=-1231.0,
    ),
}
VIEWS: Mapping[str, str] = {
    "PositionOnly": "from positions alone: velocities are hidden",
    "VelocityOnly": "from velocities alone: positions are hidden",
    "Noisy": "from noisy positions and velocities",
}
FULLY_OBSERVABLE = (
    "Acrobot-v1",
    "CartPole-v1",
    "LunarLander-v3",
    "LunarLanderContinuous-v3",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
)
"""Gymnasium's ids of the same systems."""
_SPANS: Mapping[str, int] = {"": 0, "PositionOnly": 10}
"""Memory spans by view, where one is known: nothing is hidden; a few positions tell the velocities (chosen)."""
_GOALS: Mapping[str, str] = {
    "Acrobot": "swing the tip up",
    "CartPole": "balance a pole",
    "LunarLander": "land between the flags",
    "LunarLanderContinuous": "land between the flags, with throttled engines,",
    "MountainCar": "rock a car out of a valley",
    "MountainCarContinuous": "rock a car out of a valley with little force",
    "Pendulum": "swing up and hold a pendulum",
}


def _cartpole_registration(view: str) -> dict[str, Any]:
    return {"entry_point": f"{_CARTPOLE}{view}", "vector_entry_point": f"{_CARTPOLE}{view}Vector"}


def load(env_id: str) -> None:
    """Import Box2D for the lander; the others need nothing."""
    if "LunarLander" in env_id:
        importlib.import_module("Box2D")


def describe(env_id: str, kwargs: Mapping[str, Any]) -> Facts | None:
    """Return what is known about one of the ids.

    CartPole's memoryless score is that of the best linear-logistic policy of position and angle (cross-entropy
    method, 49.8 over 2,000 episodes); a richer class of policies found none better.
    """
    if env_id in FULLY_OBSERVABLE:
        return _facts(env_id.rpartition("-v")[0], "", "from positions and velocities", bool(kwargs))
    for view, seen in VIEWS.items():
        name = env_id.removeprefix("s7rl/").removesuffix(f"{view}-v0")
        if env_id == f"s7rl/{name}{view}-v0" and name in _GOALS:
            return _facts(name, view, seen, bool(kwargs))
    return None


def _facts(name: str, view: str, seen: str, is_changed: bool) -> Facts:
    summary = f"{_GOALS[name]} {seen}"
    span = _SPANS.get(view)
    if name == "CartPole":
        return Facts(
            summary=summary,
            episode_length=500,
            memory_span=span,
            optimal_return=None if span is None or is_changed else 500.0,
            memoryless_return=50.0 if view == "PositionOnly" else None,
            random_return=None if is_changed else 22.3,
            steps=200_000 if span is None else 50_000,
        )
    system = SYSTEMS[name]
    return Facts(
        summary=summary,
        episode_length=system.time_limit,
        memory_span=span,
        # That of the default arguments; another gravity or wind has another.
        random_return=None if is_changed else system.random_return,
        steps=1_000_000,
    )


SUITE = Suite(
    name="control",
    summary="classic control and lunar landing: velocities or positions hidden, behind noise, or all to be seen",
    own={f"s7rl/CartPole{view}-v0": _cartpole_registration(view) for view in VIEWS}
    | {
        f"s7rl/{name}{view}-v0": registration(system.entry_point, system.time_limit, view, system.noise, system.kwargs)
        for name, system in SYSTEMS.items()
        for view in VIEWS
    },
    prefixes=tuple(f"{env_id.rpartition('-v')[0]}-v" for env_id in FULLY_OBSERVABLE),
    install="'s7rl[control]'",
    load=load,
    describe=describe,
    featured=FULLY_OBSERVABLE,
)
