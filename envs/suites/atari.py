"""Atari games behind a flickering screen: half of all frames are black, so that no single one can be relied on.

The idea and the games are those of Hausknecht and Stone (2015, "Deep Recurrent Q-Learning for Partially Observable
MDPs", arXiv 1507.06527): Pong, and the nine of their Table 1.  The rest follows Machado et al. (2018), as in
Gymnasium's ``ALE/...-v5``, and so differs from the paper: an action is kept with probability 0.25 instead of the new
one, and one frame in four is shown.  Scores cannot be compared with the paper's.

The screen is 84 by 84, grey, with an axis for its one channel.  The frame limit, 108,000 frames or 27,000 steps,
truncates.  ``ALE/...`` ids are left as they are.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from gymnasium.envs.registration import WrapperSpec

from s7rl.envs.suites.suite import Facts, Suite

FRAME_SKIP = 4
FRAME_LIMIT = 108_000
SCREEN_SIZE = 84
BLANK_PROBABILITY = 0.5

# The game as ale-py calls it, then random return, its standard error and the number of episodes.  Whether the screen
# flickers makes no difference to random actions.
GAMES: Mapping[str, tuple[str, float, float, int]] = {
    "Asteroids": ("asteroids", 898.0, 59.0, 59),
    "BeamRider": ("beam_rider", 401.0, 28.0, 37),
    "Bowling": ("bowling", 24.1, 1.0, 33),
    "Centipede": ("centipede", 1978.0, 112.0, 73),
    "ChopperCommand": ("chopper_command", 764.0, 47.0, 59),
    "DoubleDunk": ("double_dunk", -18.4, 0.4, 31),
    "Frostbite": ("frostbite", 70.0, 4.0, 93),
    "IceHockey": ("ice_hockey", -8.6, 0.7, 16),
    "MsPacman": ("ms_pacman", 236.0, 12.0, 93),
    "Pong": ("pong", -20.5, 0.1, 39),
}


def _registration(game: str) -> dict[str, Any]:
    return {
        "entry_point": "ale_py.env:AtariEnv",
        "kwargs": {
            "game": game,
            "frameskip": 1,  # AtariPreprocessing skips frames
            "repeat_action_probability": 0.25,
            "full_action_space": False,
            "max_num_frames_per_episode": FRAME_LIMIT,
        },
        "additional_wrappers": (
            # By name, because importing gymnasium.wrappers takes a tenth of a second.
            WrapperSpec(
                "AtariPreprocessing",
                "gymnasium.wrappers:AtariPreprocessing",
                {"frame_skip": FRAME_SKIP, "screen_size": SCREEN_SIZE, "grayscale_newaxis": True},
            ),
            WrapperSpec("Flicker", "s7rl.envs.wrappers.noise:Flicker", {"probability": BLANK_PROBABILITY}),
        ),
    }


def load(env_id: str) -> None:
    """Import ale-py, which prints a banner for every game otherwise, and OpenCV, which reduces the screen."""
    ale_py = importlib.import_module("ale_py")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    importlib.import_module("cv2")


def describe(env_id: str, kwargs: Mapping[str, Any]) -> Facts | None:
    """Return what is known about one of the flickering games; nobody knows their optima."""
    name = env_id.removeprefix("s7rl/").removesuffix("Flickering-v0")
    if name not in GAMES:
        return None
    return Facts(
        summary=f"{name} on a screen that is black half of the time",
        episode_length=int(kwargs.get("max_num_frames_per_episode", FRAME_LIMIT)) // FRAME_SKIP,
        random_return=None if kwargs else GAMES[name][1],
        steps=10_000_000,
    )


SUITE = Suite(
    name="atari",
    summary="Atari games on a flickering screen",
    own={f"s7rl/{name}Flickering-v0": _registration(game) for name, (game, *_) in GAMES.items()},
    prefixes=("ALE/",),
    install="'s7rl[atari]'",
    load=load,
    describe=describe,
)
