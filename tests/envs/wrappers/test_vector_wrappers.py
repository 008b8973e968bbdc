"""Row i of a wrapped vector environment is the wrapped single environment of the row's seed, step for step.

Mutations tried, each of which fails a test here: one generator for all rows; the first observation drawn before the
last of the old episode; the last observation not transformed; ``_begin`` left out of ``step`` or of ``reset``; a tape
whose blocks hold parts of observations; two Flickers of one stream; ring and totals of delayed rewards not cleared;
rows outside a reset mask drawn anew; the past of an action handed out as a view.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import flatdim
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import iterate
from hypothesis import given, settings
from hypothesis import strategies as st

from s7rl.envs import make_batched, make_env
from s7rl.envs.wrappers.by_name import wrap, wrap_vector
from tests.envs.wrappers.babbler import Babbler, assert_same, babblers

ANYWHERE = ["DelayedReward()", "DelayedReward(steps=1)", "DelayedReward(steps=3)"]
PAST = [
    "PreviousActionReward()",
    "PreviousActionReward(reward=False)",
    "PreviousActionReward(action=False, start=False)",
]
HISTORY = ["HistoryWrapper(length=1)", "HistoryWrapper(length=3)"]
FLICKER = ["Flicker()", "Flicker(probability=0.2)", "Flicker(probability=0)", "Flicker(probability=1)"]
FITTING = {
    "box": [
        *("MaskObservation(keep=[0, 2])", "MaskObservation(hide=[1])", *FLICKER, *PAST, *HISTORY),
        *("NoisyObservation(standard_deviation=0.3)", "NoisyObservation(standard_deviation=[0, 1, 2.5])"),
    ],
    "matrix": [*FLICKER, *PAST, *HISTORY, "NoisyObservation(standard_deviation=0.3)"],
    "image": [*FLICKER, *PAST, *HISTORY],
    "discrete": [*PAST, *HISTORY],
    "multidiscrete": [*PAST, *HISTORY],
    "multibinary": [*PAST, *HISTORY],
    "dict": [*FLICKER, *PAST, *HISTORY, "MaskObservation(keep=['b'])", "MaskObservation(hide=['b'])"],
    "tuple": ["MaskObservation(keep=[0, 2])", "MaskObservation(hide=[0])"],
}


@st.composite
def chains(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A kind of observations and some wrappers around them."""
    kind = draw(st.sampled_from(sorted(FITTING)))
    wrappers = draw(st.lists(st.sampled_from([*FITTING[kind], *ANYWHERE]), min_size=1, max_size=2, unique=True))
    # What masks or encodes must stand outside: others would not fit any more.
    last = ("Mask", "Previous", "History")
    wrappers.sort(key=lambda text: text.startswith(last))
    if sum(text.startswith(last) for text in wrappers) > 1:
        wrappers.pop()
    return kind, wrappers


def check_rows(envs: Any, singles: Sequence[gym.Env[Any, Any]], seed: int, steps: int, successes: bool = False) -> int:
    """Play both and compare all that comes back; return the number of episodes that ended."""
    assert envs.single_observation_space == singles[0].observation_space
    rng = np.random.default_rng(seed)
    rows, infos = envs.reset(seed=seed)
    firsts = [single.reset(seed=seed + i)[0] for i, single in enumerate(singles)]
    for row, first in zip(iterate(envs.observation_space, rows), firsts, strict=True):
        assert_same(as_single(row), as_single(first))
    envs.single_action_space.seed(seed)
    ended = 0
    for _ in range(steps):
        actions = [envs.single_action_space.sample() for _ in singles]
        rows, rewards, terminated, truncated, infos = envs.step(np.stack(actions))
        assert envs.observation_space.contains(rows)
        kept = copy.deepcopy(rows)
        for i, (single, row) in enumerate(zip(singles, iterate(envs.observation_space, rows), strict=True)):
            observation, *rest, info = single.step(actions[i])
            assert rest == [rewards[i], terminated[i], truncated[i]]
            if rest[1] or rest[2]:
                ended += 1
                assert single.observation_space.contains(observation)
                assert_same(as_single(infos["final_obs"][i]), as_single(observation))
                assert infos["_final_obs"][i]
                if successes:
                    assert infos["is_success"][i] == info["is_success"]
                observation, _ = single.reset()
            elif "final_obs" in infos:
                assert infos["final_obs"][i] is None
            assert_same(as_single(row), as_single(observation))
        if rng.random() < 0.3:
            deface(rows)  # a user may write into what was handed out
        else:
            assert_same(rows, kept)
    return ended


def as_single(row: Any) -> Any:
    """Numbers as arrays: a row of a batch of symbols is a numpy integer, and so is a symbol, of whichever width."""
    if isinstance(row, dict):
        return {key: as_single(entry) for key, entry in row.items()}
    if isinstance(row, tuple):
        return tuple(as_single(entry) for entry in row)
    return np.asarray(row)


def row_of(rows: Any, i: int) -> Any:
    return {key: entries[i] for key, entries in rows.items()} if isinstance(rows, dict) else rows[i]


def deface(rows: Any) -> None:
    for entry in rows.values() if isinstance(rows, dict) else rows if isinstance(rows, tuple) else [rows]:
        entry[:] = 0


@settings(max_examples=80)
@given(
    chains(),
    st.sampled_from(["discrete", "box", "multidiscrete", "multibinary"]),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
def test_a_row_is_the_single_environment_whatever_the_spaces_and_wrappers(
    chain: tuple[str, list[str]], actions: str, num_envs: int, seed: int
) -> None:
    kind, wrappers = chain
    envs = wrap_vector(babblers(num_envs, kind, actions), wrappers)
    singles = [wrap(Babbler(kind, actions), wrappers) for _ in range(num_envs)]
    assert check_rows(envs, singles, seed, 30) >= num_envs


@pytest.mark.parametrize(
    ("env_id", "kwargs", "wrappers"),
    [
        ("s7rl/TMazePassive-v0", {"corridor_length": 2}, ["DelayedReward()", "PreviousActionReward()"]),
        ("s7rl/TMazePassive-v0", {"corridor_length": 1}, ["PreviousActionReward()", "Flicker()"]),
        ("s7rl/TMazePassive-v0", {"corridor_length": 2}, ["PreviousActionReward()", "HistoryWrapper(length=3)"]),
        ("s7rl/RepeatPrevious-v0", {}, ["DelayedReward(steps=5)", "PreviousActionReward(reward=False)", "Flicker()"]),
    ],
)
def test_a_row_of_an_engine_is_the_single_environment_and_success_is_still_told(
    env_id: str, kwargs: dict[str, Any], wrappers: list[str]
) -> None:
    envs = wrap_vector(make_batched(env_id, 5, kwargs), wrappers)
    singles = [wrap(make_env(env_id, kwargs), wrappers) for _ in range(5)]
    assert check_rows(envs, singles, 3, 250, successes=True) >= 10


def test_noise_and_flicker_go_on_over_many_blocks_of_numbers() -> None:
    wrappers = ["NoisyObservation(standard_deviation=1)", "Flicker()"]
    envs = wrap_vector(babblers(2, "box", "discrete"), wrappers)
    assert check_rows(envs, [wrap(Babbler(), wrappers) for _ in range(2)], 0, 1200) > 300


@pytest.mark.parametrize("name", ["PositionOnly", "VelocityOnly"])
@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Acrobot-v1"])
def test_positions_and_velocities_of_a_vector_environment_are_those_of_single_ones(env_id: str, name: str) -> None:
    envs = wrap_vector(SyncVectorEnv([lambda: gym.make(env_id)] * 2, autoreset_mode=AutoresetMode.SAME_STEP), [name])
    assert check_rows(envs, [wrap(gym.make(env_id), [name]) for _ in range(2)], 1, 20) == 0
    assert flatdim(envs.single_observation_space) < flatdim(gym.make(env_id).observation_space)


@pytest.mark.parametrize(
    "wrappers",
    [
        ["Flicker()"],
        ["NoisyObservation(standard_deviation=1)"],
        ["PreviousActionReward()"],
        ["DelayedReward(steps=2)"],
        ["HistoryWrapper(length=3)"],
    ],
)
def test_rows_that_are_not_reset_show_what_they_showed_and_play_on(wrappers: list[str]) -> None:
    envs = wrap_vector(babblers(3, "box", "discrete"), wrappers)
    singles = [wrap(Babbler(), wrappers) for _ in range(3)]
    envs.reset(seed=0)
    for i, single in enumerate(singles):
        single.reset(seed=i)
    masks = 0
    for step in range(60):
        actions = envs.action_space.sample()
        rows, *_ = envs.step(actions)
        for i, single in enumerate(singles):
            observation, _, terminated, truncated, _ = single.step(actions[i])
            observation = single.reset()[0] if terminated or truncated else observation
            assert_same(row_of(rows, i), observation)
        if step % 5 == 0:
            again, _ = envs.reset(options={"reset_mask": np.array([False, True, False])})
            for i in (0, 2):
                assert_same(row_of(again, i), row_of(rows, i))
            assert_same(row_of(again, 1), singles[1].reset()[0])
            masks += 1
    assert masks == 12


def test_what_was_handed_out_is_not_changed_by_a_later_reset() -> None:
    envs = wrap_vector(babblers(3, "image", "discrete"), ["PreviousActionReward()"])
    envs.reset(seed=0)
    rows, *_ = envs.step(np.full(3, 2))
    kept = copy.deepcopy(rows)
    envs.reset()
    assert_same(rows, kept)


@pytest.mark.parametrize("seeds", [7, [7, 3, 7]])
def test_each_row_follows_its_own_seed_and_goes_on_without_one(seeds: Any) -> None:
    wrappers = ["NoisyObservation(standard_deviation=1)"]
    envs, again = (wrap_vector(babblers(3, "box", "discrete"), wrappers) for _ in range(2))
    rows, _ = envs.reset(seed=seeds)
    single = wrap(Babbler(), wrappers)
    expected = [7, 8, 9] if seeds == 7 else seeds
    for row, seed in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row, single.reset(seed=seed)[0])
    second, _ = envs.reset()
    assert not np.array_equal(rows, second)
    again.reset(seed=seeds)
    np.testing.assert_array_equal(again.reset()[0], second)
    # A row without a seed goes on; the others begin anew.
    third, _ = envs.reset(seed=[7, None, 8])  # type: ignore[arg-type]
    assert not np.array_equal(third[1], second[1])
    np.testing.assert_array_equal(third[0], single.reset(seed=7)[0])


def test_a_pickled_vector_environment_goes_on_as_the_original() -> None:
    wrappers = [
        "NoisyObservation(standard_deviation=1)",
        "Flicker()",
        "DelayedReward(steps=2)",
        "PreviousActionReward()",
    ]
    envs = wrap_vector(make_batched("s7rl/CartPolePositionOnly-v0", 3), wrappers)
    envs.reset(seed=0)
    for _ in range(10):
        envs.step(np.ones(3, dtype=np.int64))
    other = pickle.loads(pickle.dumps(envs))
    for _ in range(30):
        for left, right in zip(
            envs.step(np.ones(3, dtype=np.int64))[:4], other.step(np.ones(3, dtype=np.int64))[:4], strict=True
        ):
            np.testing.assert_array_equal(left, right)


def test_a_vector_environment_that_resets_otherwise_is_refused_in_one_line() -> None:
    envs = SyncVectorEnv([Babbler] * 2)
    with pytest.raises(
        ValueError, match=r"^envs has the autoreset_mode [^\n]+, but FlickerVector needs [^\n]+SAME_STEP"
    ):
        wrap_vector(envs, ["Flicker()"])
