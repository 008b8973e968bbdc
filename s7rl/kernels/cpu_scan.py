"""The linear scan on the CPU: numba kernels, forward and backward, float32 and float64.

Sequential in time, one pass over memory: on a CPU the limit is bandwidth, and a tree scan would read everything
log T times.  Layout and equations are those of :mod:`s7rl.scan`; ``N`` modes, of which the last ``R = len(cosine)``
rotate, ``W = N + R`` numbers of state.  ``a`` may have a size of 1 in time or in batch; it is then read where it lies,
and its gradient is summed as it arises.

The inner loops run over contiguous modes, and every loop writes one array and reads few: beyond a handful, LLVM gives
up proving that they do not overlap and stops vectorising, which costs a factor of three.

The backward never divides by ``a`` (it may be 0): with ``g_t`` the gradient that reaches ``x_t``,

    g_t = dy_t + a_{t+1} e^{-i theta} g_{t+1},   da_t = <g_t, e^{i theta} x_{t-1}>,   db_t = g_t,
    dtheta = sum_t a_t <g_t, i e^{i theta} x_{t-1}>,   all with a_t = 0 where reset_t.
"""

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
def scan(
    a: Float[Tensor, "#T #B N"],
    b: Float[Tensor, "T B W"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    angle: Float[Tensor, " R"],
) -> Float[Tensor, "T B W"]:
    """:func:`s7rl.linear_scan` after its checks."""
    a, initial, angle = (x.to(b.dtype) for x in (a, initial, angle))
    states: Tensor = _NumbaScan.apply(a, b, initial, reset, angle)  # type: ignore[no-untyped-call]
    return states


class _NumbaScan(torch.autograd.Function):
    """Only the states are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor, reset: Tensor, angle: Tensor) -> Tensor:
        a, b, initial, reset = a.contiguous(), b.contiguous(), initial.contiguous(), reset.contiguous()
        cosine, sine = angle.cos(), angle.sin()
        states = empty_like(b)
        scan_forward(*map(array, (a, b, cosine, sine, initial, reset, states)))
        ctx.save_for_backward(a, initial, reset, cosine, sine, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        a, initial, reset, cosine, sine, states = ctx.saved_tensors
        grad_states = grad_states.contiguous()
        grads = tuple(empty_like(x) for x in (a, states, cosine, initial))
        scan_backward(*map(array, (a, cosine, sine, initial, reset, states, grad_states, *grads)))
        grad_a, grad_b, grad_angle, grad_initial = grads
        return grad_a, grad_b, grad_initial, None, grad_angle


@kernel
@no_type_check
def scan_forward(
    a: Array, b: Array, cosine: Array, sine: Array, initial: Array, reset: NDArray[np.bool_], states: Array
) -> None:
    """Fill ``states`` [T, B, W] from a [T or 1, B or 1, N], b [T, B, W], initial [B, W] and reset [T, B]."""
    steps, batch, width = b.shape
    rotating = cosine.shape[0]
    modes = width - rotating
    real = modes - rotating
    each_step, each_row = int(a.shape[0] == steps), int(a.shape[1] == batch)
    for t in range(steps):
        for i in range(batch):
            x, a_t, b_t = states[t, i], a[t * each_step, i * each_row], b[t, i]
            if reset[t, i]:
                for n in range(width):  # assigned whole, numba would compile for a second what may be wrong with it
                    x[n] = b_t[n]
                continue
            previous = initial[i] if t == 0 else states[t - 1, i]
            for n in range(real):
                x[n] = a_t[n] * previous[n] + b_t[n]
            if rotating == 0:
                continue
            a_r, u, v = a_t[real:], previous[real:modes], previous[modes:]
            x_u, x_v, b_u, b_v = x[real:modes], x[modes:], b_t[real:modes], b_t[modes:]
            for r in range(rotating):
                x_u[r] = a_r[r] * (cosine[r] * u[r] - sine[r] * v[r]) + b_u[r]
            for r in range(rotating):
                x_v[r] = a_r[r] * (sine[r] * u[r] + cosine[r] * v[r]) + b_v[r]


@kernel
@no_type_check
def scan_backward(
    a: Array,
    cosine: Array,
    sine: Array,
    initial: Array,
    reset: NDArray[np.bool_],
    states: Array,
    grad_states: Array,
    grad_a: Array,
    grad_b: Array,
    grad_angle: Array,
    grad_initial: Array,
) -> None:
    """Fill the four gradients from the states of the forward pass and ``grad_states`` [T, B, W].

    ``grad_initial`` doubles as the running gradient that step t + 1 sends to step t.
    """
    steps, batch, width = states.shape
    rotating = cosine.shape[0]
    modes = width - rotating
    real = modes - rotating
    each_step, each_row = int(a.shape[0] == steps), int(a.shape[1] == batch)
    shared = not (each_step and each_row)
    row = np.empty_like(grad_a[0, 0])
    if shared:
        grad_a[:] = 0
    grad_initial[:] = 0
    grad_angle[:] = 0
    for t in range(steps - 1, -1, -1):
        for i in range(batch):
            carried, g, dy = grad_initial[i], grad_b[t, i], grad_states[t, i]
            total = grad_a[t * each_step, i * each_row]
            for n in range(width):
                g[n] = dy[n] + carried[n]
            if reset[t, i]:
                carried[:] = 0
                if not shared:
                    total[:] = 0
                continue
            a_t = a[t * each_step, i * each_row]
            previous = initial[i] if t == 0 else states[t - 1, i]
            da = row if shared else total
            for n in range(real):
                da[n] = g[n] * previous[n]
            for n in range(real):
                carried[n] = a_t[n] * g[n]
            if rotating > 0:
                a_r, da_r = a_t[real:], da[real:]
                u, v, g_u, g_v = previous[real:modes], previous[modes:], g[real:modes], g[modes:]
                carried_u, carried_v = carried[real:modes], carried[modes:]
                for r in range(rotating):
                    carried_u[r] = cosine[r] * g_u[r] + sine[r] * g_v[r]
                for r in range(rotating):
                    carried_v[r] = cosine[r] * g_v[r] - sine[r] * g_u[r]
                # <g, e^{i theta} x> = <e^{-i theta} g, x>, which is what is carried but for its factor a.
                for r in range(rotating):
                    da_r[r] = carried_u[r] * u[r] + carried_v[r] * v[r]
                for r in range(rotating):
                    carried_u[r] *= a_r[r]
                for r in range(rotating):
                    carried_v[r] *= a_r[r]
                for r in range(rotating):
                    grad_angle[r] += carried_v[r] * u[r] - carried_u[r] * v[r]
            if shared:
                for n in range(modes):
                    total[n] += da[n]
