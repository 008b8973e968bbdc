"""That a check with a memory refuses what a check without one refuses, and looks at each kind of call once.

What beartype looks at by chance, an entry of a tuple of any length, is remembered by chance.

Mutations seen to fail: everything checked again; the shape of an array, or the entries of a dictionary, forgotten;
the generator left as beartype left it.
"""

import random

import numpy as np
import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from tests.type_checks import kind, remembering


@jaxtyped(typechecker=remembering)
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
            first(x, np.zeros((3, 2), np.float32))  # type: ignore[arg-type]
        with pytest.raises(TypeCheckError):
            first(x, x, 1, "2")  # type: ignore[arg-type]
        with pytest.raises(TypeCheckError):
            first(x, x, result=x)
        assert first(x[:2], x[:2], 1).shape == (2,)


@jaxtyped(typechecker=remembering)
def longest(texts: list[str]) -> str:
    return max(texts, key=len)


def test_a_check_leaves_the_generator_as_it_was() -> None:
    random.seed(3)
    assert longest(["a", "bc", "d"]) == "bc"
    assert random.random() == random.Random(3).random()


def test_each_kind_of_call_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[object] = []

    def spying(function: object) -> object:
        return lambda *args, **kwargs: looked_at.append(args)

    monkeypatch.setattr("tests.type_checks.beartype", spying)
    check = remembering(lambda x: x)
    for value in (torch.zeros(2), torch.ones(2), torch.zeros(3), torch.zeros(2, dtype=torch.int64), torch.ones(3)):
        check(value)
    assert len(looked_at) == 3


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
