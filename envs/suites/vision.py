"""What is seen through a camera: MiniWorld's rooms and VizDoom's levels.

MiniWorld draws 60 by 80 pixels; without a display it must be told so before it is imported, and then draws through
EGL.  VizDoom's 240 by 320 pixels are reduced to 60 by 80, and its time-outs become truncations
(``VizDoomObservation``).  Both keep their limits to themselves: Gymnasium's ``max_episode_steps`` is None.
MiniWorld-RoomObjects never ends by itself; give it ``max_episode_steps``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from s7rl.envs.suites.suite import Facts, Suite

# Steps of the longest episode (None: no limit), mean return of random actions, its standard error, number of episodes.
SCORES: Mapping[str, tuple[int | None, float, float, int]] = {
    "MiniWorld-FourRooms-v0": (250, 0.077, 0.030, 72),
    "MiniWorld-Hallway-v0": (250, 0.24, 0.04, 104),
    "MiniWorld-MazeS3-v0": (216, 0.056, 0.027, 68),
    "MiniWorld-OneRoom-v0": (180, 0.12, 0.03, 137),
    "MiniWorld-TMaze-v0": (280, 0.034, 0.019, 77),
    "MiniWorld-TMazeLeft-v0": (280, 0.045, 0.022, 77),
    "MiniWorld-YMaze-v0": (280, 0.012, 0.012, 72),
    "VizdoomBasic-v1": (300, -218.0, 17.0, 144),
    "VizdoomHealthGathering-v1": (2100, 370.0, 11.0, 73),
    "VizdoomMyWayHome-v1": (2100, -0.21, 0.0, 18),
    "VizdoomPredictPosition-v1": (300, 0.017, 0.019, 200),
    "VizdoomTakeCover-v1": (None, 225.0, 9.0, 141),
}


def load(env_id: str) -> None:
    """Import MiniWorld or VizDoom, whichever the id belongs to."""
    if env_id.startswith("Vizdoom"):
        importlib.import_module("vizdoom.gymnasium_wrapper")
        return
    # Mesa draws by means of LLVM, and Triton brings an LLVM of its own: loaded second, it ends the process with a
    # segmentation fault (Mesa 22.3 and Triton 3.7).  The other order is safe, and training would load it anyhow.
    if importlib.util.find_spec("triton") is not None:
        importlib.import_module("triton")
    if not os.environ.get("DISPLAY"):
        importlib.import_module("pyglet").options["headless"] = True
    importlib.import_module("miniworld")


def adapt(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Reduce VizDoom's screen; MiniWorld's is small already."""
    if env.spec is not None and env.spec.id.startswith("MiniWorld-"):
        return env
    from s7rl.envs.wrappers.vizdoom import VizDoomObservation

    return VizDoomObservation(env)


def describe(env_id: str, kwargs: Mapping[str, Any]) -> Facts | None:
    """Return what is known about an id: no more than its length and the return of random actions."""
    if kwargs or env_id not in SCORES:
        return None
    length, random_return, *_ = SCORES[env_id]
    name = env_id.removeprefix("MiniWorld-").partition("-")[0]
    return Facts(
        summary=f"{name}, seen through a camera",
        episode_length=length,
        random_return=random_return,
        steps=5_000_000,
    )


SUITE = Suite(
    name="vision",
    summary="MiniWorld and VizDoom",
    prefixes=("MiniWorld-", "Vizdoom"),
    install="'s7rl[vision]'",
    make={"disable_env_checker": True},  # it complains of TMaze's and YMaze's infos, which share an array
    load=load,
    adapt=adapt,
    describe=describe,
    featured=tuple(SCORES),
)
