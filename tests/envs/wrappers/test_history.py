"""The last observations of an episode: by hand, and against a list that is kept beside the environment.

Mutations tried, each of which fails a test here: the newest observation first; windows not cleared at a reset; the mark
of an observation that there is not; the start of Discrete not taken off; bounds without 0; a gray image without an axis
for its channel, or one without black; a window handed out as a view.  Of the vector version, which
test_vector_wrappers.py holds against this one: windows pushed for rows that a reset leaves out; windows not pushed in a
step.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from s7rl.envs import HistoryWrapper
from tests.envs.wrappers.babbler import OBSERVATIONS, Babbler, assert_same

LENGTH = 3


class Counter(gym.Env[Any, Any]):
    """Observations 1, 2, 3 ... over all episodes, in a space that is given."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Box) -> None:
        self.observation_space, self.number = space, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.number += 1
        return np.full(self.observation_space.shape, self.number, self.observation_space.dtype), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.reset()[0], 0.0, False, False, {}


def test_windows_by_hand() -> None:
    env = HistoryWrapper(Counter(spaces.Box(1, 200, (2,), np.uint8)), LENGTH)
    assert env.observation_space == spaces.Dict(
        [("observation", spaces.Box(0, 200, (LENGTH, 2), np.uint8)), ("valid", spaces.MultiBinary(LENGTH))]
    )
    shown = [env.reset()[0], *(env.step(0)[0] for _ in range(3)), env.reset()[0]]
    expected = [([0, 0, 1], [0, 0, 1]), ([0, 1, 2], [0, 1, 1]), ([1, 2, 3], [1, 1, 1]), ([2, 3, 4], [1, 1, 1])]
    for window, (numbers, valid) in zip(shown, [*expected, ([0, 0, 5], [0, 0, 1])], strict=True):
        assert_same(window["observation"], np.repeat(np.array(numbers, np.uint8)[:, None], 2, axis=1))
        assert_same(window["valid"], np.array(valid, np.int8))


@pytest.mark.parametrize("kind", sorted(set(OBSERVATIONS) - {"tuple"}))
@pytest.mark.parametrize("length", [1, LENGTH])
def test_a_window_is_the_last_observations_of_the_episode_whatever_the_space(kind: str, length: int) -> None:
    env, plain = HistoryWrapper(Babbler(kind), length), Babbler(kind)
    space = plain.observation_space
    leaves = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
    seen = [plain.reset(seed=0)[0]]
    shown = env.reset(seed=0)[0]
    longest = 0
    for _ in range(60):
        assert env.observation_space.contains(shown)
        longest = max(longest, len(seen))
        there = min(len(seen), length)
        np.testing.assert_array_equal(shown["valid"], [0] * (length - there) + [1] * there)
        for key, space in leaves.items():
            entries = [np.asarray(past[key] if kind == "dict" else past) for past in seen[-there:]]
            start: Any = getattr(space, "start", 0)
            expected = np.stack([entry - start if np.any(start) else entry for entry in entries])
            window = shown[key].reshape(length, *expected.shape[1:])
            assert window.dtype == expected.dtype
            np.testing.assert_array_equal(window[length - there :], expected)
            assert not window[: length - there].any()
        (shown, _, *ended, _), (new, *_) = env.step(2), plain.step(2)
        seen.append(new)
        if any(ended):
            shown, seen = env.reset()[0], [plain.reset()[0]]
    assert longest > LENGTH


@pytest.mark.parametrize("darkest", [0, 1])
@pytest.mark.parametrize("shape", [(8, 8), (3, 9), (8, 8, 3), (3, 8, 8)])
def test_sb3_sees_no_image_in_a_window_of_images(shape: tuple[int, ...], darkest: int) -> None:
    env = HistoryWrapper(Counter(spaces.Box(darkest, 255, shape, np.uint8)), LENGTH)
    space = env.observation_space["observation"]  # type: ignore[index]
    assert not is_image_space(space)
    assert space.shape == (LENGTH, *shape) + (1,) * (len(shape) == 2)
    assert space.dtype == np.uint8


def test_a_number_without_axes_has_a_window_of_two() -> None:
    env = HistoryWrapper(Counter(spaces.Box(0, 9, (), np.int32)), LENGTH)
    np.testing.assert_array_equal(env.reset()[0]["observation"], [[0], [0], [1]])


def test_what_was_handed_out_is_not_changed_by_a_later_step() -> None:
    env = HistoryWrapper(Counter(spaces.Box(0, 9, (1,), np.int32)), LENGTH)
    first = env.reset()[0]
    env.step(0)
    assert first["observation"].ravel().tolist() == [0, 0, 1]
    assert first["valid"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("length", "error", "message"),
    [(0, ValueError, r"length is 0, but it is a size: "), (2.0, TypeError, r"length is 2\.0, but it is a size: ")],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_a_length_that_is_none_is_refused_in_one_line(length: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^{message}[^\n]+$"):
        HistoryWrapper(Babbler(), length)


def test_observations_that_have_no_window_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^the observation space has a Tuple[^\n]+FlattenNested\.$"):
        HistoryWrapper(Babbler("tuple"), LENGTH)
    with pytest.raises(ValueError, match=r"^the observation space has an entry 'valid' already[^\n]+$"):
        HistoryWrapper(HistoryWrapper(Babbler(), LENGTH), LENGTH)
