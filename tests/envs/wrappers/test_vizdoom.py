"""VizDoom's wrapper, on a stand-in for its environments: VizDoom itself need not be installed.

Mutations tried, each of which fails a test here: rounding instead of cutting in ``average_squares``; labels averaged;
the zeros of the last step passed on; ``terminated`` passed on; the death not asked for; no copy of what was seen.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from s7rl.envs.wrappers.vizdoom import VizDoomObservation, average_squares


class Doom(gym.Env[dict[str, Any], Any]):
    """Three steps of pictures that count; the last step shows zeros, as VizDoom does."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Dict(
        screen=spaces.Box(0, 255, (240, 320, 3), np.uint8),
        labels=spaces.Box(0, 255, (240, 320, 1), np.uint8),
        gamevariables=spaces.Box(-1.0, 1e9, (2,), np.float32),
    )

    def __init__(self, ends: tuple[bool, bool], dead: bool) -> None:
        self.ends, self.steps = ends, 0
        self.game = SimpleNamespace(is_player_dead=lambda: dead)

    def seen(self) -> dict[str, Any]:
        rng = np.random.default_rng(self.steps)
        return {
            "screen": rng.integers(0, 256, (240, 320, 3), dtype=np.uint8),
            "labels": rng.integers(0, 256, (240, 320, 1), dtype=np.uint8),
            "gamevariables": np.full(2, self.steps, dtype=np.float32),
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.steps = 0
        return self.seen(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps < 3:
            return self.seen(), 1.0, False, False, {}
        zeros = {name: np.zeros_like(part) for name, part in self.seen().items()}
        return zeros, 1.0, *self.ends, {}


@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**32)
)
def test_a_square_becomes_its_mean(factor: int, rows: int, columns: int, extra: int, more: int, seed: int) -> None:
    shape = (rows * factor + extra % factor, columns * factor + more % factor, 3)
    picture = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    expected = np.empty((rows, columns, 3))
    for i in range(rows):
        for j in range(columns):
            square = picture[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            expected[i, j] = np.floor(square.astype(np.float64).mean((0, 1)) + 1e-9)
    np.testing.assert_array_equal(average_squares(picture, factor), expected)


def test_pictures_shrink_labels_are_kept_whole_and_other_entries_pass() -> None:
    env = VizDoomObservation(Doom((True, False), dead=True))
    seen, _ = env.reset()
    full = Doom((True, False), dead=True).seen()
    assert env.observation_space.contains(seen)
    assert {name: part.shape for name, part in seen.items()} == {
        "screen": (60, 80, 3),
        "labels": (60, 80, 1),
        "gamevariables": (2,),
    }
    np.testing.assert_array_equal(seen["screen"], average_squares(full["screen"], 4))
    np.testing.assert_array_equal(seen["labels"], full["labels"][::4, ::4])
    np.testing.assert_array_equal(seen["gamevariables"], full["gamevariables"])


@pytest.mark.parametrize(
    ("ends", "dead", "expected"),
    [
        ((True, False), False, (True, False)),  # reached the goal
        ((True, False), True, (True, False)),  # died
        ((True, True), False, (False, True)),  # ran out of time
        ((True, True), True, (True, True)),  # died at the last moment
    ],
)
def test_a_time_out_is_a_truncation_and_the_last_picture_is_the_one_before(
    ends: tuple[bool, bool], dead: bool, expected: tuple[bool, bool]
) -> None:
    env = VizDoomObservation(Doom(ends, dead))
    env.reset()
    before = env.step(0)[0]
    before = env.step(0)[0]
    kept = before["screen"].copy()
    before["screen"][:] = 0  # what was handed out is the caller's
    seen, reward, *ended, info = env.step(0)
    assert (reward, tuple(ended), info) == (1.0, expected, {})
    np.testing.assert_array_equal(seen["screen"], kept)
    assert seen["gamevariables"].tolist() == [2.0, 2.0]


def test_an_environment_without_a_screen_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="not VizDoom's; pass a VizDoom environment"):
        VizDoomObservation(gym.make("CartPole-v1"))
