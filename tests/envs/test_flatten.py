"""Nested observation spaces and one Dict of leaves: the same numbers under the path as their name.

Mutations seen to fail: joining paths without the container's name; sorting the leaves; dropping the check of paths;
treating every Mapping in an observation as a container; a wrapper that leaves ``step`` alone.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from s7rl import envs
from s7rl.envs import FlattenNested, flatten_observation, flatten_space
from s7rl.envs.wrappers.flatten import flatten_env

NESTED = spaces.Dict(
    {
        "goal": spaces.Discrete(4, start=1),
        "sensors": spaces.Dict(
            {
                "camera": spaces.Box(0, 255, (7, 7, 3), np.uint8),
                "joints": spaces.Tuple([spaces.Box(-1.0, 1.0, (2,)), spaces.MultiBinary(3)]),
            }
        ),
    }
)


class Nested(gym.Env[Any, Any]):
    """Shows a random sample of a space; ends after five steps."""

    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, observation_space: spaces.Space[Any] = NESTED) -> None:
        self.observation_space = observation_space
        self.clock = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.clock = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.clock += 1
        return self.observation_space.sample(), 0.0, self.clock == 5, False, {}


Leaves: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    st.builds(lambda shape: spaces.Box(-1.0, 1.0, shape), st.lists(st.integers(1, 3), max_size=3).map(tuple)),
    st.builds(lambda n: spaces.Discrete(n), st.integers(1, 5)),
    st.builds(lambda n: spaces.MultiBinary(n), st.integers(1, 5)),
    st.builds(lambda nvec: spaces.MultiDiscrete(nvec), st.lists(st.integers(1, 5), min_size=1, max_size=3)),
)
Trees = st.recursive(
    Leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=12).map(spaces.Tuple),
        st.lists(
            st.tuples(st.text("ab.", min_size=1, max_size=3), inner), min_size=1, max_size=3, unique_by=lambda x: x[0]
        )
        .map(dict)
        .map(spaces.Dict),
    ),
    max_leaves=14,
)


def slow_leaves(space: spaces.Space[Any], sample: Any) -> list[tuple[list[str], spaces.Space[Any], Any]]:
    """Path, space and value of every leaf, in order."""
    if isinstance(space, spaces.Dict):
        entries = [(key, entry, sample[key]) for key, entry in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        entries = [(str(i), entry, sample[i]) for i, entry in enumerate(space.spaces)]
    else:
        return [([], space, sample)]
    return [
        ([key, *path], leaf, value) for key, entry, part in entries for path, leaf, value in slow_leaves(entry, part)
    ]


@given(space=Trees)
def test_every_leaf_of_a_tree_is_under_its_path_in_the_order_of_the_tree(space: spaces.Space[Any]) -> None:
    space.seed(0)
    sample = space.sample()
    flat = flatten_space(space)
    flattened = flatten_observation(flat, sample)
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        assert flat is space
        assert flattened is sample
        return
    assert isinstance(flat, spaces.Dict)
    expected = slow_leaves(space, sample)
    assert list(flat.spaces) == list(flattened) == ["/".join(path) for path, _, _ in expected]
    for (_, leaf, value), key in zip(expected, flat.spaces, strict=True):
        assert flat.spaces[key] is leaf
        assert flattened[key] is value
    assert flat.contains(flattened)
    assert flatten_space(flat) is flat
    assert list(flatten_observation(flat, flattened)) == list(flattened)


def test_the_paths_of_an_example_are_those_that_the_documentation_names() -> None:
    flat = flatten_space(NESTED)
    assert isinstance(flat, spaces.Dict)
    assert list(flat.spaces) == ["goal", "sensors/camera", "sensors/joints/0", "sensors/joints/1"]
    assert list(flatten_space(spaces.Tuple([spaces.Discrete(2)] * 11)).spaces) == [str(i) for i in range(11)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("sequence", [tuple, list, np.array])
def test_whatever_gymnasium_takes_for_a_tuple_is_one(sequence: Any) -> None:
    flat = flatten_space(spaces.Tuple([spaces.Discrete(2), spaces.Discrete(4)]))
    assert flatten_observation(flat, sequence([1, 3])) == {"0": 1, "1": 3}


def test_entries_that_the_space_does_not_have_are_left_out_and_missing_ones_are_named() -> None:
    flat = flatten_space(spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2), "c": spaces.Discrete(2)})}))
    assert flatten_observation(flat, {"a": {"b": 0, "c": 1, "d": 2}, "debug": "x"}) == {"a/b": 0, "a/c": 1}
    with pytest.raises(ValueError, match=r"^the observation has no entry 'a/c', [^\n]+: it holds 'a/b'\.$"):
        flatten_observation(flat, {"a": {"b": 0}})
    with pytest.raises(ValueError, match=r"^the observation has no entry 'a/b', [^\n]+ holds none of the entries\.$"):
        flatten_observation(flat, 3)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)}), "a/b": spaces.Discrete(2)}),
        # No leaves collide here, but "x/y" is a leaf and a container.
        spaces.Dict({"x": spaces.Dict({"y": spaces.Dict({"z": spaces.Discrete(2)})}), "x/y": spaces.Discrete(2)}),
    ],
)
def test_two_entries_of_the_same_name_are_refused_in_one_line(space: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match=r"^the observation space has two entries [^\n]+'(a/b|x/y)'[^\n]+rename"):
        flatten_space(space)


@pytest.mark.parametrize(
    "leaf",
    [
        spaces.Text(4),
        spaces.Graph(spaces.Box(0, 1), None),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)]),
    ],
)
def test_what_a_policy_cannot_encode_is_refused_in_one_line_that_names_the_key(leaf: spaces.Space[Any]) -> None:
    kind = type(leaf).__name__
    with pytest.raises(ValueError, match=rf"^the observation space has at 'a/1' a {kind} space, [^\n]+leave it out"):
        flatten_space(spaces.Dict({"a": spaces.Tuple([spaces.Discrete(2), leaf])}))
    with pytest.raises(ValueError, match=rf"^the observation space is a {kind} space, [^\n]+$"):
        flatten_space(leaf)


def test_a_wrapped_environment_shows_the_same_numbers_under_their_paths() -> None:
    wrapped, plain = FlattenNested(Nested(copy.deepcopy(NESTED))), Nested(copy.deepcopy(NESTED))
    shown, nested = wrapped.reset(seed=3)[0], plain.reset(seed=3)[0]
    for _ in range(5):
        for (path, _, value), (key, found) in zip(slow_leaves(NESTED, nested), shown.items(), strict=True):
            assert key == "/".join(path)
            np.testing.assert_array_equal(found, value)
        assert wrapped.observation_space.contains(shown)
        shown, nested = wrapped.step(0)[0], plain.step(0)[0]


def test_a_flat_environment_needs_no_wrapper_and_passes_one_unchanged() -> None:
    env = gym.make("CartPole-v1")
    assert flatten_env(env) is env
    wrapped = FlattenNested(env)
    assert wrapped.observation_space is env.observation_space
    observation, _ = wrapped.reset(seed=0)
    np.testing.assert_array_equal(observation, env.reset(seed=0)[0])


def test_a_suites_tuple_observations_come_flat_from_make_env() -> None:
    env = envs.make_env("popgym-AutoencodeEasy-v0")
    assert list(env.observation_space.spaces) == ["0", "1"]  # type: ignore[attr-defined]
    assert env.observation_space.contains(env.reset(seed=0)[0])
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])
