"""The inside of the S7 layer on the CPU in one pass: transition, gates, scan, reading and skip; numba, both directions.

Equations and layout are those of :mod:`s7rl.selective_scan`.  For a row (t, i) the selection holds, side by side, the
four modulations ``[W_A u: N | W_B u: N | W_C u: W | W_D u: H]``.  The backward recomputes transition and gates from
them, so that the states are all that is kept; it never divides by A.

A step is taken as x - (1 - a) x, not as a x: in float32 a slow mode's ``a`` has only the last few of its digits, and
the error would be the same at every step; so it is in the last digit of x only, and rounds up as often as down.

Constants are of the arrays' own type, since a plain 1 would lift float32 arithmetic to float64.  Every loop writes one
array and reads few: beyond a handful, LLVM gives up proving that they do not overlap and stops vectorising, which costs
a factor of three.
"""

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from s7rl.kernels import cache  # noqa: F401 - chooses numba's cache folder
from s7rl.kernels.arrays import array, empty_like

Array = NDArray[np.floating]
SQUARE_ROOTS = {0.0: 0, 0.5: 1, 0.25: 2}
"""How many are taken of 1 - a for each power p of it."""


def scan(
    selection: Float[Tensor, "T B K"],
    driven: Float[Tensor, "T B W"],
    u: Float[Tensor, "T B H"],
    w_0: Float[Tensor, " N"],
    skip: Float[Tensor, " H"],
    angle: Float[Tensor, " R"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    *,
    input_scale: float,
    offset: float,
) -> tuple[Float[Tensor, "T B W"], Float[Tensor, "T B H"], Float[Tensor, "B W"]]:
    """:func:`s7rl.selective_scan.selective_scan` after its checks."""
    arguments = selection, driven, u, w_0, skip, angle, initial, reset, SQUARE_ROOTS[input_scale], offset
    if not torch.is_grad_enabled():
        return _forward(*arguments)[1]  # acting: half of the time of a step would go into autograd's bookkeeping
    result: tuple[Tensor, Tensor, Tensor] = _NumbaSelectiveScan.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


def _forward(*arguments: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor, Tensor]]:
    """Run the kernel: what its backward needs, and r, z and the last state."""
    *tensors, square_roots, offset = arguments
    selection, driven, u, w_0, skip, angle, initial, reset = (tensor.contiguous() for tensor in tensors)
    inputs = selection, driven, u, w_0, skip, angle.cos(), angle.sin(), initial, reset
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
        selection, driven, u, w_0, skip, cosine, _, initial, _ = inputs
        results = tuple(empty_like(tensor) for tensor in (selection, driven, u, w_0, skip, cosine, initial))
        given = (states, *(grad.contiguous() for grad in grads))
        selective_scan_backward(*map(array, inputs), *ctx.constants, *map(array, given), *map(array, results))
        return *results, None, None, None


@njit(cache=True, error_model="numpy", inline="always")
@no_type_check
def _transition(select_a, w_0, one, offset, square_roots, decay, scale):
    """1 - |A| and its power p = 1/2^square_roots, or 1 for no square roots."""
    for n in range(len(w_0)):
        w = w_0[n] * (one + select_a[n])
        decay[n] = one / (w * w + offset)
    if square_roots == 0:
        for n in range(len(w_0)):
            scale[n] = one
    elif square_roots == 1:
        for n in range(len(w_0)):
            scale[n] = np.sqrt(decay[n])
    else:
        for n in range(len(w_0)):
            scale[n] = np.sqrt(np.sqrt(decay[n]))


@njit(cache=True, error_model="numpy")
@no_type_check
def selective_scan_forward(
    selection: Array,
    driven: Array,
    u: Array,
    w_0: Array,
    skip: Array,
    cosine: Array,
    sine: Array,
    initial: Array,
    reset: NDArray[np.bool_],
    square_roots: int,
    offset: float,
    states: Array,
    read: Array,
    skipped: Array,
) -> None:
    """Fill states x_k [T, B, W], (1 + W_C u) x [T, B, W] and D_k u_k [T, B, H] from ``driven``, B (u - mu u_prev)."""
    steps, batch, width = driven.shape
    modes, rotating, features = len(w_0), len(cosine), len(skip)
    real = modes - rotating
    one, offset = w_0.dtype.type(1), w_0.dtype.type(offset)
    decay, scale = np.empty_like(w_0), np.empty_like(w_0)
    zero = np.zeros_like(initial[0])
    for t in range(steps):
        for i in range(batch):
            row = selection[t, i]
            select_b, select_c = row[modes : 2 * modes], row[2 * modes : 2 * modes + width]
            select_d = row[2 * modes + width :]
            x, input_, y, u_k, z = states[t, i], driven[t, i], read[t, i], u[t, i], skipped[t, i]
            _transition(row[:modes], w_0, one, offset, square_roots, decay, scale)
            for n in range(modes):
                scale[n] *= one + select_b[n]
            if reset[t, i]:
                previous = zero
            elif t == 0:
                previous = initial[i]
            else:
                previous = states[t - 1, i]
            for n in range(real):
                x[n] = previous[n] - decay[n] * previous[n] + scale[n] * input_[n]
            still, turn = x[real:modes], x[modes:]
            p, q = previous[real:modes], previous[modes:]
            input_p, input_q = input_[real:modes], input_[modes:]
            decay_r, scale_r = decay[real:], scale[real:]
            for r in range(rotating):
                turned = cosine[r] * p[r] - sine[r] * q[r]
                still[r] = turned - decay_r[r] * turned + scale_r[r] * input_p[r]
            for r in range(rotating):
                turned = sine[r] * p[r] + cosine[r] * q[r]
                turn[r] = turned - decay_r[r] * turned + scale_r[r] * input_q[r]
            for n in range(width):
                y[n] = (one + select_c[n]) * x[n]
            for h in range(features):
                z[h] = (skip[h] + select_d[h]) * u_k[h]


@njit(cache=True, error_model="numpy")
@no_type_check
def selective_scan_backward(
    selection: Array,
    driven: Array,
    u: Array,
    w_0: Array,
    skip: Array,
    cosine: Array,
    sine: Array,
    initial: Array,
    reset: NDArray[np.bool_],
    square_roots: int,
    offset: float,
    states: Array,
    grad_read: Array,
    grad_skipped: Array,
    grad_last: Array,
    grad_selection: Array,
    grad_driven: Array,
    grad_u: Array,
    grad_w_0: Array,
    grad_skip: Array,
    grad_angle: Array,
    grad_initial: Array,
) -> None:
    """Fill the last seven arrays from the gradients of read, skipped and the last state.

    ``grad_initial`` doubles as what step t + 1 sends back to step t.
    """
    steps, batch, width = driven.shape
    modes, rotating, features = len(w_0), len(cosine), len(skip)
    real = modes - rotating
    one, offset = w_0.dtype.type(1), w_0.dtype.type(offset)
    power = w_0.dtype.type(0.5**square_roots if square_roots else 0.0)
    minus_two = w_0.dtype.type(-2)
    decay, scale = np.empty_like(w_0), np.empty_like(w_0)
    grad_a, grad_gain = np.empty_like(w_0), np.empty_like(w_0)
    for i in range(batch):  # assigned whole, numba would compile for a second what may be wrong with it
        for n in range(width):
            grad_initial[i, n] = grad_last[i, n]
    grad_w_0[:] = 0
    grad_skip[:] = 0
    grad_angle[:] = 0
    turned_p, turned_q = np.empty_like(cosine), np.empty_like(cosine)
    for t in range(steps - 1, -1, -1):
        for i in range(batch):
            row, grad_row = selection[t, i], grad_selection[t, i]
            select_a, select_b = row[:modes], row[modes : 2 * modes]
            select_c, select_d = row[2 * modes : 2 * modes + width], row[2 * modes + width :]
            grad_select_a, grad_select_b = grad_row[:modes], grad_row[modes : 2 * modes]
            grad_select_c, grad_select_d = grad_row[2 * modes : 2 * modes + width], grad_row[2 * modes + width :]
            x, input_, u_k = states[t, i], driven[t, i], u[t, i]
            dy, dz, du, g, carried = (
                grad_read[t, i],
                grad_skipped[t, i],
                grad_u[t, i],
                grad_driven[t, i],
                grad_initial[i],
            )
            _transition(select_a, w_0, one, offset, square_roots, decay, scale)
            for h in range(features):
                grad_select_d[h] = dz[h] * u_k[h]
            for h in range(features):
                grad_skip[h] += dz[h] * u_k[h]
            for h in range(features):
                du[h] = (skip[h] + select_d[h]) * dz[h]
            for n in range(width):
                grad_select_c[n] = dy[n] * x[n]
            for n in range(width):
                g[n] = dy[n] * (one + select_c[n]) + carried[n]  # gradient of x_k, for now
            # |A_k|: previous state against g, and what flows on to it.
            if reset[t, i]:
                carried[:] = 0
                grad_a[:] = 0
            else:
                previous = initial[i] if t == 0 else states[t - 1, i]
                for n in range(real):
                    grad_a[n] = g[n] * previous[n]
                for n in range(real):
                    carried[n] = g[n] - decay[n] * g[n]
                p, q, g_p, g_q = previous[real:modes], previous[modes:], g[real:modes], g[modes:]
                grad_a_r, decay_r = grad_a[real:], decay[real:]
                carried_p, carried_q = carried[real:modes], carried[modes:]
                for r in range(rotating):
                    turned_p[r] = cosine[r] * p[r] - sine[r] * q[r]
                for r in range(rotating):
                    turned_q[r] = sine[r] * p[r] + cosine[r] * q[r]
                for r in range(rotating):
                    grad_a_r[r] = g_p[r] * turned_p[r] + g_q[r] * turned_q[r]
                for r in range(rotating):
                    grad_angle[r] += (one - decay_r[r]) * (g_q[r] * turned_p[r] - g_p[r] * turned_q[r])
                for r in range(rotating):
                    turned = cosine[r] * g_p[r] + sine[r] * g_q[r]
                    carried_p[r] = turned - decay_r[r] * turned
                for r in range(rotating):
                    turned = cosine[r] * g_q[r] - sine[r] * g_p[r]
                    carried_q[r] = turned - decay_r[r] * turned
            # Gain of the input: scale(decay) * (1 + W_B u), shared by both halves of a rotating mode.
            for n in range(modes):
                grad_gain[n] = g[n] * input_[n]
            grad_gain_r, g_q, input_q = grad_gain[real:], g[modes:], input_[modes:]
            for r in range(rotating):
                grad_gain_r[r] += g_q[r] * input_q[r]
            for n in range(modes):
                grad_select_b[n] = grad_gain[n] * scale[n]
            # d scale / d decay = power * scale / decay;  d decay / d w = -2 w decay^2.
            for n in range(modes):
                grad_a[n] = grad_gain[n] * (one + select_b[n]) * power * scale[n] - grad_a[n] * decay[n]
            for n in range(modes):
                w = w_0[n] * (one + select_a[n])
                grad_a[n] *= minus_two * w * decay[n]  # gradient of w
            for n in range(modes):
                grad_select_a[n] = grad_a[n] * w_0[n]
            for n in range(modes):
                grad_w_0[n] += grad_a[n] * (one + select_a[n])
            for n in range(modes):
                scale[n] *= one + select_b[n]
            scale_r = scale[real:]
            for n in range(modes):
                g[n] *= scale[n]
            for r in range(rotating):
                g_q[r] *= scale_r[r]
