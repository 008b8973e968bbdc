"""Settings and spaces as JSON: whatever goes in comes back, and whatever else is refused."""

from __future__ import annotations

import functools
import json
import warnings
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from s7rl.agents.encoding import decode, decode_space, encode, encode_space


def shapes(smallest: int = 1, largest: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, largest), min_size=smallest, max_size=3).map(tuple)


def boxes() -> st.SearchStrategy[spaces.Space[Any]]:
    def make(shape: tuple[int, ...], dtype: Any, seed: int, uniform: bool, unbounded: bool) -> spaces.Space[Any]:
        rng = np.random.default_rng(seed)
        size = (1,) * len(shape) if uniform else shape
        low: NDArray[Any]
        high: NDArray[Any]
        if dtype is np.bool_:
            low, high = np.zeros(size), np.ones(size)
        elif np.issubdtype(dtype, np.integer):
            low, high = rng.integers(0, 100, size), rng.integers(101, 127, size)
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

    kinds = st.sampled_from([np.float16, np.float32, np.float64, np.uint8, np.int8, np.int64, np.bool_])
    return st.builds(make, shapes(0), kinds, st.integers(0, 2**31), st.booleans(), st.booleans())


def multi_discretes() -> st.SearchStrategy[spaces.Space[Any]]:
    def make(shape: tuple[int, ...], dtype: Any, seed: int) -> spaces.Space[Any]:
        rng = np.random.default_rng(seed)
        return spaces.MultiDiscrete(rng.integers(1, 9, shape), dtype, start=rng.integers(-3, 3, shape))

    return st.builds(make, shapes(), st.sampled_from([np.int8, np.int32, np.int64]), st.integers(0, 2**31))


Leaves: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    boxes(),
    st.builds(
        lambda n, start, dtype: spaces.Discrete(n, start=start, dtype=dtype),
        st.integers(1, 9),
        st.integers(-3, 3),
        st.sampled_from([np.int8, np.int32, np.int64]),
    ),
    multi_discretes(),
    st.builds(lambda n: spaces.MultiBinary(n), st.integers(1, 9) | shapes().map(list)),
)
Spaces = Leaves | st.lists(st.tuples(st.text(max_size=3), Leaves), max_size=3, unique_by=lambda entry: entry[0]).map(
    spaces.Dict
)


@given(space=Spaces)
def test_a_space_comes_back_from_json(space: spaces.Space[Any]) -> None:
    """Fails if dtypes or the order of keys are lost, or if a bound is read as an int where it is True."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a precision that Gymnasium warns of is the drawn space's own
        back = decode_space(json.loads(json.dumps(encode_space(space))))
        assert back == space
        if isinstance(space, spaces.Dict):
            assert isinstance(back, spaces.Dict)
            assert list(back.spaces) == list(space.spaces)  # Gymnasium compares them in any order
        if isinstance(space, spaces.Box):
            assert isinstance(back, spaces.Box)
            np.testing.assert_array_equal(back.low, space.low)  # Gymnasium compares them with a tolerance
            np.testing.assert_array_equal(back.high, space.high)


def test_spaces_that_cannot_be_saved_or_read_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot be saved"):
        encode_space(spaces.Text(3))
    with pytest.raises(ValueError, match="of no known kind"):
        decode_space({"kind": "Discrete", "n": "3", "start": 0})
    with pytest.raises(ValueError, match="no pair of a key and a space"):
        decode_space({"kind": "Dict", "spaces": [[3, encode_space(spaces.Discrete(2))]]})


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


@pytest.mark.parametrize(
    ("value", "name"),
    [(lambda x: x, r"tests\.agents\.test_encoding\.<lambda>"), (functools.partial(nn.ELU, 0.5), r"functools\.partial")],
)
def test_of_what_can_be_called_the_name_is_kept_for_who_loads_it(value: Any, name: str) -> None:
    """Fails if saving raises, where the training would be lost, calls it, or writes what differs between processes."""
    with pytest.raises(ValueError, match=rf"^it was made with {name}, which is not saved: pass custom_objects=[^\n]*$"):
        decode(json.loads(json.dumps(encode({"net": value}))))


@pytest.mark.parametrize("path", ["torch.nn.modules.nothing.X", "torch.nn.NoSuchThing", "torch.nn.functional.gelu"])
def test_a_name_in_a_trusted_package_that_is_no_class_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=rf"^it names (the class )?{path}, which is no[^\n]+$"):
        decode({"class": path})


@pytest.mark.parametrize("path", ["stable_baselines3.ppo.ppo.PPO", "s7rl.agents.ppo.RecurrentPPO"])
def test_a_trusted_class_that_is_no_part_of_a_network_is_refused(path: str) -> None:
    """An algorithm makes the environment that it is told to, and with it imports any module."""
    import_module(path.rpartition(".")[0])  # else it is not looked up at all
    with pytest.raises(ValueError, match="is no part of a network"):
        decode({"class": path})
