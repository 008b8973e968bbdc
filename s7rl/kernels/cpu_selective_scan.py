"""The inside of the S7 layer on the CPU as one operation of autograd; the kernels are in :mod:`s7rl.kernels.cpu_s7`."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from s7rl.kernels.arrays import array, empty_like
from s7rl.kernels.cpu_s7 import selective_scan_backward, selective_scan_forward


@torch.compiler.disable
def scan(
    selection: Float[Tensor, "T B I"],
    spread: Float[Tensor, "J K"],
    driven: Float[Tensor, "T B W"],
    u: Float[Tensor, "T B H"],
    w_0: Float[Tensor, " N"],
    skip: Float[Tensor, " H"],
    angle: Float[Tensor, " R"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    *,
    square_roots: int,
    offset: float,
) -> tuple[Float[Tensor, "T B W"], Float[Tensor, "T B H"], Float[Tensor, "B W"]]:
    """:func:`s7rl.selective_scan.selective_scan` after its checks; p is 1/2^square_roots, or 0 for none.

    ``spread`` is empty where the selection is [T, B, K].
    """
    arguments = selection, spread, driven, u, w_0, skip, angle, initial, reset, square_roots, offset
    if not torch.is_grad_enabled():
        return _forward(*arguments)[1]  # acting: half of the time of a step would go into autograd's bookkeeping
    result: tuple[Tensor, Tensor, Tensor] = _NumbaSelectiveScan.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


def _forward(*arguments: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor, Tensor]]:
    """Run the kernel: what its backward needs, and r, z and the last state."""
    *tensors, square_roots, offset = arguments
    selection, spread, driven, u, w_0, skip, angle, initial, reset = (tensor.contiguous() for tensor in tensors)
    inputs = selection, spread, driven, u, w_0, skip, angle.cos(), angle.sin(), initial, reset
    states, read, skipped = empty_like(driven), empty_like(driven), empty_like(u)
    selective_scan_forward(*map(array, inputs), square_roots, offset, *map(array, (states, read, skipped)))
    return (*inputs, states), (read, skipped, states[-1])


class _NumbaSelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        kept, (read, skipped, last) = _forward(*arguments)
        ctx.constants = arguments[-2:]
        ctx.save_for_backward(*kept)
        return read, skipped, last.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, states = ctx.saved_tensors
        selection, spread, driven, u, w_0, skip, cosine, _, initial, _ = inputs
        results = tuple(empty_like(tensor) for tensor in (selection, spread, driven, u, w_0, skip, cosine, initial))
        given = (states, *(grad.contiguous() for grad in grads))
        selective_scan_backward(*map(array, inputs), *ctx.constants, *map(array, given), *map(array, results))
        return *results, None, None, None
