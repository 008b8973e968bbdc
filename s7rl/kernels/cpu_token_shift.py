"""The token shift of :mod:`s7rl.token_shift` on the CPU: one pass forward, one backward; numba."""

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from s7rl.kernels.arrays import array, empty_like
from s7rl.kernels.compiling import Array, kernel


@torch.compiler.disable
def shift(
    u: Float[Tensor, "T B H"], mu: Float[Tensor, " H"], before: Float[Tensor, "B H"], reset: Bool[Tensor, "T B"]
) -> Float[Tensor, "T B H"]:
    """:func:`s7rl.token_shift.token_shift`."""
    result: Tensor = _TokenShift.apply(u, mu, before, reset)  # type: ignore[no-untyped-call]
    return result


class _TokenShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        inputs = tuple(tensor.contiguous() for tensor in arguments)
        ctx.save_for_backward(*inputs)
        shifted = empty_like(inputs[0])
        token_shift_forward(*map(array, inputs), array(shifted))
        return shifted

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        results = tuple(empty_like(tensor) for tensor in inputs[:3])
        token_shift_backward(*map(array, inputs), array(grad.contiguous()), *map(array, results))
        return *results, None


@kernel
@no_type_check
def token_shift_forward(u: Array, mu: Array, before: Array, reset: NDArray[np.bool_], shifted: Array) -> None:
    """Fill ``shifted`` [T, B, H]."""
    steps, batch, features = u.shape
    for t in range(steps):
        for i in range(batch):
            now, result = u[t, i], shifted[t, i]
            previous = before[i] if t == 0 else u[t - 1, i]
            if reset[t, i]:
                for h in range(features):
                    result[h] = now[h]
            else:
                for h in range(features):
                    result[h] = now[h] - mu[h] * previous[h]


@kernel
@no_type_check
def token_shift_backward(
    u: Array,
    mu: Array,
    before: Array,
    reset: NDArray[np.bool_],
    grad: Array,
    grad_u: Array,
    grad_mu: Array,
    grad_before: Array,
) -> None:
    """Fill the last three arrays from the gradient of the result."""
    steps, batch, features = u.shape
    grad_mu[:] = 0
    grad_before[:] = 0
    for t in range(steps):
        for i in range(batch):
            g, own = grad[t, i], grad_u[t, i]
            for h in range(features):
                own[h] = g[h]
            if not reset[t, i]:
                previous, sent = (before[i], grad_before[i]) if t == 0 else (u[t - 1, i], grad_u[t - 1, i])
                for h in range(features):
                    sent[h] -= mu[h] * g[h]
                for h in range(features):
                    grad_mu[h] -= previous[h] * g[h]
