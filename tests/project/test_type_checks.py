"""That a check with a memory refuses what a check without one refuses, and looks at each kind of call once.

What beartype looks at by chance, an entry of a tuple of any length, is remembered by chance.

Mutations seen to fail: everything checked again; the shape of an array, or the entries of a dictionary, forgotten;
the generator left as beartype left it; of a call that has passed, a result of another kind not checked, or the function
called again for the check.
"""

import random
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from s7rl import linear_scan
from s7rl.agents import RecurrentPPO
from s7rl.agents.rollout_buffer import minibatches
from s7rl.cores import Core, make_core
from s7rl.selective_scan import selective_scan
from s7rl.token_shift import token_shift
from tests.type_checks import jaxtyped, kind, remembering


@remembering
def first(x: Float[Tensor, "T B"], y: Float[Tensor, "T B"], *more: int, result: object = None) -> Float[Tensor, " B"]:
    return x[0] if result is None else result  # type: ignore[return-value]


def test_what_has_passed_passes_again_and_nothing_else_does() -> None:
    x = torch.zeros(3, 2)
    for _ in range(3):
        assert first(x, x).shape == (2,)
        with pytest.raises(TypeCheckError):
            first(x, x[:2])
        with pytest.raises(TypeCheckError):
            first(x, x.int())
        with pytest.raises(TypeCheckError):
            first(x, np.zeros((3, 2), np.float32))
        with pytest.raises(TypeCheckError):
            first(x, x, 1, "2")
        with pytest.raises(TypeCheckError):
            first(x, x, result=x)
        assert first(x[:2], x[:2], 1).shape == (2,)


@remembering
def longest(texts: list[str]) -> str:
    return max(texts, key=len)


def test_a_check_leaves_the_generator_as_it_was() -> None:
    random.seed(3)
    assert longest(["a", "bc", "d"]) == "bc"
    assert random.random() == random.Random(3).random()


def test_each_kind_of_call_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[object] = []

    def spying(function: object) -> object:
        return lambda *args, **kwargs: looked_at.append((args, kwargs))

    monkeypatch.setattr("tests.type_checks.beartype", spying)
    results: list[object] = []

    @remembering
    def identity(x: object) -> object:
        results.append(x)
        return x if len(results) < 7 else None

    for value in (torch.zeros(2), torch.ones(2), torch.zeros(3), torch.zeros(2, dtype=torch.int64), torch.ones(3)):
        assert identity(value) is value
    assert len(looked_at) == 3 * 2, "the arguments, and the result with them"
    for value in (torch.ones(2), torch.zeros(2), torch.zeros(2)):
        identity(value)
    assert len(looked_at) == 4 * 2, "a result of another kind"
    assert len(results) == 8, "no function is called for the check"


def test_a_result_of_another_kind_is_checked_although_the_call_has_passed() -> None:
    results = ["a", 1, "b", 1]

    @remembering
    def following() -> str:
        return results.pop(0)  # type: ignore[return-value]

    for right in (True, False, True, False):
        with nullcontext() if right else pytest.raises(TypeCheckError):
            following()


@dataclass
class Width:
    value: int


def test_what_a_dataclass_is_made_of_is_checked() -> None:
    checked: Any = jaxtyped(typechecker=remembering)(Width)
    assert checked(3) == Width(3)
    with pytest.raises(TypeCheckError):
        checked("3")


def test_it_is_what_the_sources_are_checked_with(request: pytest.FixtureRequest) -> None:
    packages = request.config.option.jaxtyping_packages
    if packages is not None and not packages.endswith("remembering"):
        pytest.skip("another checker was asked for")
    checked = (linear_scan, selective_scan, token_shift, make_core, Core.step, minibatches, RecurrentPPO.learn)
    assert [function for function in checked if function.__code__ is not longest.__code__] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ("a", "b"),
        (int, str),
        (True, 1),
        (1.0, None),
        ({1}, {1}),
    ],
)
def test_values_that_a_signature_tells_apart_are_of_different_kinds(one: object, other: object) -> None:
    assert kind(one) != kind(other)
