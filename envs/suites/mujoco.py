"""MuJoCo's walkers with half of their state hidden: positions alone, or velocities alone.

The protocol of Ni et al. (2022, "Recurrent Model-Free RL Can Be a Strong Baseline for Many POMDPs", ICML), on
Gymnasium's v5 environments: what is a position and what a velocity is read from ``observation_structure``.  Ant's
contact forces are hidden in both.  Dynamics, rewards and time limits are Gymnasium's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s7rl.envs.suites.suite import Facts, Suite, registration

TIME_LIMIT = 1000

# Gymnasium's class, then random return, its standard error and the number of episodes.
ROBOTS: Mapping[str, tuple[str, float, float, int]] = {
    "Ant": ("ant_v5:AntEnv", -52.6, 6.0, 213),
    "HalfCheetah": ("half_cheetah_v5:HalfCheetahEnv", -277.7, 4.4, 272),
    "Hopper": ("hopper_v5:HopperEnv", 17.6, 0.6, 1000),
    "InvertedPendulum": ("inverted_pendulum_v5:InvertedPendulumEnv", 5.1, 0.1, 1000),
    "Swimmer": ("swimmer_v5:SwimmerEnv", 1.4, 1.0, 103),
    "Walker2d": ("walker2d_v5:Walker2dEnv", 1.8, 0.2, 1000),
}
VIEWS: Mapping[str, str] = {"PositionOnly": "positions", "VelocityOnly": "velocities"}


def describe(env_id: str, kwargs: Mapping[str, Any]) -> Facts | None:
    """Return what is known about one of our ids."""
    for view, seen in VIEWS.items():
        name = env_id.removeprefix("s7rl/").removesuffix(f"{view}-v0")
        if name in ROBOTS:
            return Facts(
                summary=f"{name} from {seen} alone",
                episode_length=TIME_LIMIT,
                # The default arguments' score; other rewards and dynamics have others.
                random_return=None if kwargs else ROBOTS[name][1],
                steps=1_000_000,
            )
    return None


SUITE = Suite(
    name="mujoco",
    summary="MuJoCo's walkers with positions or velocities hidden",
    own={
        f"s7rl/{name}{view}-v0": registration(f"gymnasium.envs.mujoco.{entry_point}", TIME_LIMIT, view)
        for name, (entry_point, *_) in ROBOTS.items()
        for view in VIEWS
    },
    packages=("mujoco",),
    install="'s7rl[mujoco]'",
    describe=describe,
)
