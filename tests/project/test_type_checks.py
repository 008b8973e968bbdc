"""That a check with a memory refuses all that a check without one refuses."""

import numpy as np
import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from tests.type_checks import remembering


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
