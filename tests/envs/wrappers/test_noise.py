"""Flicker and noise: against the undisturbed environment and the laws of the distributions.

Mutations tried, each of which fails a test here: zeros with probability 1 - p; one draw per entry, or per episode; the
first observation never hidden; entries of a Dict hidden one by one; bounds left as they are; the environment's own
generator used; the same key for the second wrapper; the standard deviation as a variance; noise on a copy in float32.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from s7rl.envs.wrappers.noise import Flicker, NoisyObservation
from s7rl.envs.wrappers.randomness import wrapper_generator
from tests.envs.wrappers.babbler import BOX, Babbler, assert_same


def observations(env: gym.Env[Any, Any], seed: int, steps: int) -> list[Any]:
    """Everything that is shown, first observations included."""
    shown = [env.reset(seed=seed)[0]]
    env.action_space.seed(seed)
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        shown.append(observation)
        if terminated or truncated:
            shown.append(env.reset()[0])
    return shown


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_observations_are_whole_or_zeros_with_the_probability_given(probability: float) -> None:
    plain, shown = observations(Babbler(), 0, 2000), observations(Flicker(Babbler(), probability), 0, 2000)
    assert len(plain) == len(shown) > 2300
    hidden = np.array([not row.any() for row in shown])
    for row, original, zero in zip(shown, plain, hidden, strict=True):
        assert_same(row, np.zeros_like(original) if zero else original)
    # Within 4 standard errors, and independent from step to step.
    assert abs(hidden.mean() - probability) <= 4 * np.sqrt(probability * (1 - probability) / len(hidden))
    if 0 < probability < 1:
        assert abs(np.corrcoef(hidden[1:], hidden[:-1])[0, 1]) < 4 / np.sqrt(len(hidden))


def test_the_first_observation_flickers_too() -> None:
    env = Flicker(Babbler(), 0.5)
    firsts = [bool(env.reset(seed=seed)[0].any()) for seed in range(40)]
    assert 10 < sum(firsts) < 30


def test_which_observations_are_hidden_is_what_the_generator_says() -> None:
    draws = wrapper_generator(5, 0).random(31)
    shown = observations(Flicker(Babbler(mean_length=1e9), 0.3), 5, 30)
    assert [not row.any() for row in shown] == (draws < 0.3).tolist()


def test_entries_of_a_dict_vanish_together_and_images_go_black() -> None:
    shown = observations(Flicker(Babbler("dict")), 1, 60)
    hidden = [(not row["a"].any(), not row["b"].any()) for row in shown]
    assert {pair[0] for pair in hidden} == {True, False}
    assert sum(a != b for a, b in hidden) <= 3  # two small integers can be zeros by chance
    images = observations(Flicker(Babbler("image")), 1, 20)
    assert {image.dtype.name for image in images} == {"uint8"}
    assert {bool(image.any()) for image in images} == {True, False}


def test_bounds_are_widened_to_hold_zero_and_no_further() -> None:
    env = Flicker(Babbler())
    low, high = BOX.low.copy(), BOX.high.copy()
    low[1] = 0.0
    assert env.observation_space == spaces.Box(low, high)
    image = Babbler("image")
    assert Flicker(image).observation_space is image.observation_space


@pytest.mark.parametrize("kind", ["discrete", "multidiscrete", "multibinary", "tuple"])
def test_symbols_do_not_flicker_before_they_are_one_hot(kind: str) -> None:
    name = type(Babbler(kind).observation_space).__name__
    with pytest.raises(
        ValueError, match=rf"^the observation space is or holds a {name} space, [^\n]+FlattenObservation"
    ):
        Flicker(Babbler(kind))
    flat = Flicker(gym.wrappers.FlattenObservation(Babbler(kind)), 1.0)
    assert not flat.reset(seed=0)[0].any()


@pytest.mark.parametrize("kind", ["box", "matrix"])
def test_noise_is_what_the_generator_says_times_the_standard_deviation(kind: str) -> None:
    shape = Babbler(kind).observation_space.shape
    assert shape is not None
    deviation = np.linspace(0, 2, int(np.prod(shape))).reshape(shape).tolist()
    plain = observations(Babbler(kind, mean_length=1e9), 3, 50)
    shown = observations(NoisyObservation(Babbler(kind, mean_length=1e9), deviation), 3, 50)
    noise = wrapper_generator(3, 0).standard_normal((51, *shape)) * deviation
    for row, original, change in zip(shown, plain, noise, strict=True):
        assert_same(row, (original.astype(np.float64) + change).astype(original.dtype))


def test_noise_has_the_deviation_given_and_is_independent() -> None:
    plain, shown = (
        np.array(observations(env, 0, 4000)) for env in (Babbler(), NoisyObservation(Babbler(), [0, 0.5, 3]))
    )
    noise = shown.astype(np.float64) - plain
    assert (noise[:, 0] == 0).all()
    # The standard error of a deviation over n numbers is 1/sqrt(2 n): 1 % here.
    np.testing.assert_allclose(noise[:, 1:].std(axis=0), [0.5, 3], rtol=0.05)
    np.testing.assert_allclose(noise[:, 1:].mean(axis=0) / [0.5, 3], 0, atol=0.06)
    assert abs(np.corrcoef(noise[:, 1], noise[:, 2])[0, 1]) < 0.06
    assert abs(np.corrcoef(noise[1:, 1], noise[:-1, 1])[0, 1]) < 0.06


def test_noisy_entries_are_unbounded_and_others_keep_their_bounds() -> None:
    env = NoisyObservation(Babbler(), [0, 0.5, 3])
    assert env.observation_space == spaces.Box(
        np.array([-1, -np.inf, -np.inf], np.float32), np.array([1, np.inf, np.inf], np.float32)
    )
    assert NoisyObservation(Babbler("matrix"), 1.0).observation_space == spaces.Box(-np.inf, np.inf, (2, 2), np.float64)
    assert NoisyObservation(Babbler("matrix"), 0).observation_space == Babbler("matrix").observation_space


def test_the_environments_own_randomness_is_the_same_with_and_without_wrappers() -> None:
    plain, wrapped = Babbler(), Flicker(NoisyObservation(Flicker(Babbler()), 1.0))
    observations(plain, 9, 100)
    observations(wrapped, 9, 100)
    assert plain.np_random.bit_generator.state == wrapped.unwrapped.np_random.bit_generator.state


def test_two_flickers_do_not_blink_together() -> None:
    env = Flicker(Flicker(Babbler()))
    hidden = np.mean([not row.any() for row in observations(env, 0, 500)])
    assert 0.65 < hidden < 0.85  # 3/4, and 1/2 if they did


def test_a_seed_repeats_another_differs_and_without_one_the_stream_goes_on() -> None:
    env = NoisyObservation(Babbler(), 1.0)
    first, second, other = (observations(env, seed, 20) for seed in (1, 1, 2))
    assert_same(first[0], second[0])
    np.testing.assert_array_equal(np.array(first), np.array(second))
    assert not np.array_equal(first[0], other[0])
    noise = [env.reset(seed=1)[0], env.reset()[0], env.reset()[0]]
    assert len({row.tobytes() for row in noise}) == 3
    assert not np.array_equal(NoisyObservation(Babbler(), 1.0).reset()[0], NoisyObservation(Babbler(), 1.0).reset()[0])


@pytest.mark.parametrize(
    ("wrapper", "kind", "argument", "message"),
    [
        (Flicker, "box", 1.5, r"^probability is 1\.5, but it is the chance [^\n]+: pass a number from 0 to 1"),
        (
            Flicker,
            "box",
            float("nan"),
            r"^probability is nan, but it is the chance [^\n]+: pass a number from 0 to 1",
        ),
        (
            NoisyObservation,
            "box",
            -1.0,
            r"^standard_deviation \(-1\.0\) must be finite and not negative; pass 0 or more",
        ),
        (NoisyObservation, "box", [0.0, np.inf, 1.0], r"^standard_deviation \(.+\) must be finite"),
        (
            NoisyObservation,
            "box",
            [1.0, 2.0],
            r"^standard_deviation has the shape \(2,\), but observations have \(3,\)",
        ),
        (
            NoisyObservation,
            "image",
            1.0,
            r"^the observation space is Box.+ uint8\), but NoisyObservation adds to floats",
        ),
        (NoisyObservation, "dict", 1.0, r"^the observation space is Dict.+, but NoisyObservation adds to floats"),
    ],
)
def test_what_cannot_be_disturbed_is_refused_in_one_line(wrapper: Any, kind: str, argument: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        wrapper(Babbler(kind), argument)
    assert "\n" not in str(caught.value)
