"""Settings and spaces as JSON: whatever goes in comes back, and whatever else is refused."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s7rl.agents.encoding import decode, decode_space, encode, encode_space


def shapes(largest: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, largest), min_size=1, max_size=3).map(tuple)


def boxes() -> st.SearchStrategy[spaces.Space[Any]]:
    def make(shape: tuple[int, ...], dtype: Any, seed: int, uniform: bool, unbounded: bool) -> spaces.Space[Any]:
        rng = np.random.default_rng(seed)
        size = (1,) * len(shape) if uniform else shape
        low: NDArray[Any]
        high: NDArray[Any]
        if dtype is np.uint8:
            low, high = rng.integers(0, 100, size), rng.integers(101, 255, size)
        else:
            low, high = -rng.random(size), rng.random(size)
            if unbounded:
                low, high = (
                    np.where(rng.random(size) < 0.5, -np.inf, low),
                    np.where(rng.random(size) < 0.5, np.inf, high),
                )
        return spaces.Box(
            np.broadcast_to(low, shape).astype(dtype), np.broadcast_to(high, shape).astype(dtype), dtype=dtype
        )

    kinds = st.sampled_from([np.float32, np.float64, np.uint8])
    return st.builds(make, shapes(), kinds, st.integers(0, 2**31), st.booleans(), st.booleans())


Spaces: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    boxes(),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-3, 3)),
    st.builds(lambda nvec: spaces.MultiDiscrete(nvec), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
    st.builds(
        lambda nvec: spaces.MultiDiscrete(nvec, start=[1, 2]), st.lists(st.integers(1, 9), min_size=2, max_size=2)
    ),
    st.builds(lambda n: spaces.MultiBinary(n), st.integers(1, 9) | shapes().map(list)),
)


@given(space=Spaces)
def test_a_space_comes_back_from_json(space: spaces.Space[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a precision that Gymnasium warns of is the drawn space's own
        assert decode_space(json.loads(json.dumps(encode_space(space)))) == space


def test_spaces_that_cannot_be_saved_or_read_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot be saved"):
        encode_space(spaces.Text(3))
    with pytest.raises(ValueError, match="of no known kind"):
        decode_space({"kind": "Discrete", "n": "3", "start": 0})


Settings = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=Settings)
def test_a_setting_comes_back_from_json_with_its_types(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize("value", [{1, 2}, b"x", np.zeros(2), torch.zeros(2)])
def test_a_setting_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be saved as JSON"):
        encode(value)


@pytest.mark.parametrize("path", ["torch.nn.modules.nothing.X", "torch.nn.NoSuchThing", "torch.nn.functional.gelu"])
def test_a_name_in_a_trusted_package_that_is_no_class_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=rf"^it names (the class )?{path}, which is no[^\n]+$"):
        decode({"class": path})


@pytest.mark.parametrize("path", ["stable_baselines3.ppo.ppo.PPO", "s7rl.agents.ppo.RecurrentPPO"])
def test_a_trusted_class_that_is_no_part_of_a_network_is_refused(path: str) -> None:
    """An algorithm makes the environment that it is told to, and with it imports any module."""
    with pytest.raises(ValueError, match="is no part of a network"):
        decode({"class": path})
