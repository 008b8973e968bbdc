"""What the entries of an observation are: their names, and which of them are positions and which velocities.

Known are Gymnasium's classic control and Box2D environments and its MuJoCo environments of version 5.  Those of the
latter that have an ``observation_structure`` describe themselves; the tables below are read off the functions that make
the observations (Gymnasium 1.4, ``envs/classic_control/``, ``envs/box2d/``, ``envs/mujoco/``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
from gymnasium.vector import VectorEnv

Kind = Literal["position", "velocity", "other"]
P: Kind = "position"
V: Kind = "velocity"
O: Kind = "other"  # noqa: E741 (it stands in a table)


@dataclass(frozen=True)
class Entries:
    """The entries of an observation, which is a vector."""

    names: Mapping[str, tuple[int, ...]]
    """Which entries a name stands for; a group such as "qpos" stands for several, "qpos[0]" for the first of them."""
    positions: tuple[int, ...]
    """Positions and angles, and what says as much: distances, contacts, targets."""
    velocities: tuple[int, ...]
    """Velocities and angular velocities."""


_CART = (("cart_position", 1, P), ("cart_velocity", 1, V))
_CARTPOLE = (*_CART, ("pole_angle", 1, P), ("pole_angular_velocity", 1, V))
_CAR = (("position", 1, P), ("velocity", 1, V))
_PENDULUM = (("cos_angle", 1, P), ("sin_angle", 1, P), ("angular_velocity", 1, V))
_ACROBOT = (
    *((f"{function}_angle_{joint}", 1, P) for joint in (1, 2) for function in ("cos", "sin")),
    *((f"angular_velocity_{joint}", 1, V) for joint in (1, 2)),
)
_LANDER = (
    *(("x", 1, P), ("y", 1, P), ("x_velocity", 1, V), ("y_velocity", 1, V), ("angle", 1, P)),
    *(("angular_velocity", 1, V), ("left_contact", 1, P), ("right_contact", 1, P)),
)
_WALKER = (
    *(("hull_angle", 1, P), ("hull_angular_velocity", 1, V), ("x_velocity", 1, V), ("y_velocity", 1, V)),
    *(
        group
        for leg in (1, 2)
        for group in (
            *((f"hip_{leg}_angle", 1, P), (f"hip_{leg}_speed", 1, V), (f"knee_{leg}_angle", 1, P)),
            *((f"knee_{leg}_speed", 1, V), (f"leg_{leg}_contact", 1, P)),
        )
    ),
    ("lidar", 10, P),
)
_DOUBLE_PENDULUM = (
    *(("cart_position", 1, P), ("sin_angles", 2, P), ("cos_angles", 2, P), ("qvel", 3, V)),
    ("constraint_force", 1, O),
)
_REACHER = (
    *(("cos_angles", 2, P), ("sin_angles", 2, P), ("target", 2, P), ("qvel", 2, V)),
    ("fingertip_to_target", 2, P),
)
_PUSHER = (("qpos", 7, P), ("qvel", 7, V), ("fingertip", 3, P), ("object", 3, P), ("goal", 3, P))

Group = tuple[str, int, Kind]
_KNOWN: Mapping[str, tuple[Group, ...]] = {
    "gymnasium.envs.classic_control.acrobot.AcrobotEnv": _ACROBOT,
    "gymnasium.envs.classic_control.cartpole.CartPoleEnv": _CARTPOLE,
    "gymnasium.envs.classic_control.continuous_mountain_car.Continuous_MountainCarEnv": _CAR,
    "gymnasium.envs.classic_control.mountain_car.MountainCarEnv": _CAR,
    "gymnasium.envs.classic_control.pendulum.PendulumEnv": _PENDULUM,
    "gymnasium.envs.box2d.bipedal_walker.BipedalWalker": _WALKER,
    "gymnasium.envs.box2d.lunar_lander.LunarLander": _LANDER,
    "gymnasium.envs.mujoco.inverted_double_pendulum_v5.InvertedDoublePendulumEnv": _DOUBLE_PENDULUM,
    "gymnasium.envs.mujoco.pusher_v5.PusherEnv": _PUSHER,
    "gymnasium.envs.mujoco.reacher_v5.ReacherEnv": _REACHER,
}
_STRUCTURE: Mapping[str, Kind] = {"qpos": P, "qvel": V}


def known_entries(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> Entries | None:
    """Return what the entries of an environment's observations are, or None where we do not know.

    A subclass of a known class counts as one.  Nothing is known where a wrapper has given the observations another
    shape.

    Args:
        env: a single environment, or a vector environment that holds its single ones as ``envs``.
    """
    single = isinstance(env, gym.Env)
    shape = env.observation_space.shape if single else env.single_observation_space.shape  # type: ignore[union-attr]
    base: Any = env.unwrapped
    if not single:
        singles = getattr(base, "envs", None)
        if not singles:
            return None
        base = singles[0].unwrapped
    structure: Mapping[str, int] | None = getattr(base, "observation_structure", None)
    groups: Iterable[Group] | None = None
    if structure is not None:
        # What was left out of the observation stands there, too, as "skipped_qpos".
        shown = [(name, int(size)) for name, size in structure.items() if not name.startswith("skipped_")]
        groups = [(name, size, _STRUCTURE.get(name, O)) for name, size in shown]
    else:
        classes = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(base).__mro__]
        groups = next((_KNOWN[name] for name in classes if name in _KNOWN), None)
    if groups is None or shape != (sum(size for _, size, _ in groups),):
        return None
    return _entries(groups)


def _entries(groups: Iterable[Group]) -> Entries:
    names: dict[str, tuple[int, ...]] = {}
    of_kind: dict[Kind, list[int]] = {P: [], V: [], O: []}
    start = 0
    for name, size, kind in groups:
        if not size:
            continue
        names[name] = tuple(range(start, start + size))
        of_kind[kind] += names[name]
        if size > 1:
            names |= {f"{name}[{i}]": (start + i,) for i in range(size)}
        start += size
    return Entries(names, tuple(of_kind[P]), tuple(of_kind[V]))
