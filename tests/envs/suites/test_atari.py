"""Flickering Atari games: against the same games without flickering.

Mutations tried, each of which fails a test here: ``probability`` of 0.4; grey instead of black; no axis for the
channel; no frame limit; OpenCV not asked for.
"""

from __future__ import annotations

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import AtariPreprocessing

from s7rl.envs import find_task, make_env
from s7rl.envs.suites.atari import GAMES, SUITE
from tests.envs.suites.rollouts import check_training, error_without

IDS = tuple(SUITE.own)


def test_they_are_pong_and_the_nine_games_of_the_drqn_papers_first_table() -> None:
    names = ["Asteroids", "BeamRider", "Bowling", "Centipede", "ChopperCommand", "DoubleDunk", "Frostbite"]
    names += ["IceHockey", "MsPacman", "Pong"]
    assert [f"s7rl/{name}Flickering-v0" for name in names] == list(IDS)
    gym.register_envs(ale_py)
    assert all(gym.spec(f"ALE/{name}-v5").kwargs["game"] == GAMES[name][0] for name in names)


def test_half_of_the_frames_are_black_and_the_others_are_the_games() -> None:
    gym.register_envs(ale_py)
    env = make_env("s7rl/PongFlickering-v0")
    game = AtariPreprocessing(gym.make("ALE/Pong-v5", frameskip=1), grayscale_newaxis=True)
    assert env.observation_space == spaces.Box(0, 255, (84, 84, 1), np.uint8) == game.observation_space
    (seen, _), (frame, _) = env.reset(seed=0), game.reset(seed=0)
    game.action_space.seed(0)
    black = 0
    for _ in range(400):
        assert frame.any()
        if seen.any():
            np.testing.assert_array_equal(seen, frame)
        else:
            black += 1
        action = game.action_space.sample()
        seen, *rest, _ = env.step(action)
        frame, *expected, _ = game.step(action)
        assert rest == expected
    # One standard deviation is 10.
    assert 180 < black < 220


def test_the_frame_limit_truncates() -> None:
    env = make_env("s7rl/PongFlickering-v0", {"max_num_frames_per_episode": 200})
    env.reset(seed=0)
    steps, terminated, truncated = 0, False, False
    while not (terminated or truncated):
        *_, terminated, truncated, _ = env.step(0)
        steps += 1
    # Up to 30 frames go by before the first step.
    assert (terminated, truncated) == (False, True)
    assert 42 <= steps <= 50
    assert find_task("s7rl/PongFlickering-v0").episode_length == 108_000 / 4
    assert gym.spec("s7rl/PongFlickering-v0").kwargs["max_num_frames_per_episode"] == 108_000


def test_an_agent_trains_on_it() -> None:
    check_training("s7rl/PongFlickering-v0", "CnnPolicy")


@pytest.mark.parametrize("package", ["ale_py", "cv2"])
def test_a_missing_package_is_an_error_of_one_line_with_the_command_that_installs_it(package: str) -> None:
    message = error_without(package, "s7rl/PongFlickering-v0")
    assert (
        message
        == f"ValueError s7rl/PongFlickering-v0 needs {package}, which is not installed: pip install 's7rl[atari]'"
    )


def test_arguments_void_the_random_return_and_may_shorten_the_game() -> None:
    task = find_task("s7rl/PongFlickering-v0", {"max_num_frames_per_episode": 400})
    assert (task.episode_length, task.random_return) == (100, None)
