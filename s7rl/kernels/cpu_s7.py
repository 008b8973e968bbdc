"""S7 on the CPU, compiled: the inside of the layer in both directions, and an acting step of the block around it.

**The inside of the layer** is transition, gates, scan, reading and skip in one pass.  Equations and layout are those of
:mod:`s7rl.selective_scan`.  For a row (t, i) the selection holds, side by side, the four modulations
``[W_A u: N | W_B u: N | W_C u: W | W_D u: H]``.  The backward recomputes transition and gates from them, so that the
states are all that is kept; it never divides by A.  Where the modulations come from r numbers, those are what the
selection holds, and ``spread`` [r, K] makes them the modulations, row by row: at [T, B, K] they would be most of what
is read and written.  Elsewhere ``spread`` is empty.

A step is taken as x - (1 - a) x, not as a x: in float32 a slow mode's ``a`` has only the last few of its digits, and
the error would be the same at every step; so it is in the last digit of x only, and rounds up as often as down.

**A step of the block** is norm, projections, recurrence and gate.  While an agent acts, a step of a few sequences is
two dozen operations of microseconds each, and what torch needs to start them takes several times as long as they do.
The equations are those of :class:`s7rl.cores.block.ResidualBlock` and :class:`s7rl.cores.s7.S7`.

Constants are of the arrays' own type, since a plain 1 would lift float32 arithmetic to float64.  Every loop writes one
array and reads few: beyond a handful, LLVM gives up proving that they do not overlap and stops vectorising, which costs
a factor of three.
"""

import math
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from s7rl.kernels.compiling import Array, kernel

_SUMS = {"reassoc", "contract", "nsz"}  # what sums need to be vectorised; nan and infinity stay what they are


@kernel(inline="always")
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


@kernel(inline="always")
@no_type_check
def _modulations(selected, spread, own):
    """The modulations of a row: themselves, or spread out into ``own``."""
    if not len(spread):
        return selected
    own[:] = 0
    for r in range(len(spread)):
        strength, row = selected[r], spread[r]
        for k in range(len(own)):
            own[k] += strength * row[k]
    return own


@kernel
@no_type_check
def selective_scan_forward(
    selection: Array,
    spread: Array,
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
    zero, own = np.zeros_like(initial[0]), np.empty_like(spread[0] if len(spread) else w_0)
    for t in range(steps):
        for i in range(batch):
            row = _modulations(selection[t, i], spread, own)
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


@kernel
@no_type_check
def selective_scan_backward(
    selection: Array,
    spread: Array,
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
    grad_spread: Array,
    grad_driven: Array,
    grad_u: Array,
    grad_w_0: Array,
    grad_skip: Array,
    grad_angle: Array,
    grad_initial: Array,
) -> None:
    """Fill the last eight arrays from the gradients of read, skipped and the last state.

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
    grad_spread[:] = 0
    grad_w_0[:] = 0
    grad_skip[:] = 0
    grad_angle[:] = 0
    turned_p, turned_q = np.empty_like(cosine), np.empty_like(cosine)
    own = np.empty_like(spread[0] if len(spread) else w_0)
    grad_own = np.empty_like(own)
    for t in range(steps - 1, -1, -1):
        for i in range(batch):
            row = _modulations(selection[t, i], spread, own)
            grad_row = grad_own if len(spread) else grad_selection[t, i]
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
            for r in range(len(spread)):
                strength, grad_of = selection[t, i, r], grad_spread[r]
                grad_selection[t, i, r] = _dot(grad_row, spread[r])
                for k in range(len(grad_row)):
                    grad_of[k] += strength * grad_row[k]


@kernel(fastmath=_SUMS)
@no_type_check
def _dot(x: Array, y: Array) -> float:
    total = x.dtype.type(0)
    for k in range(len(x)):
        total += x[k] * y[k]
    return total


@kernel
@no_type_check
def block_step(
    x: Array,
    state: Array,
    reset: NDArray[np.bool_],
    norm_weight: Array,
    norm_bias: Array,
    select_weight: Array,
    spread: Array,
    input_weight: Array,
    mu: Array,
    w_0: Array,
    skip: Array,
    angle: Array,
    output_weight: Array,
    gate_weight: Array,
    gate_bias: Array,
    rectified: bool,
    asinh: bool,
    epsilon: float,
    square_roots: int,
    offset: float,
    y: Array,
    after: Array,
) -> None:
    """Fill the output [B, H] and the state after the step [B, S] = [modes | u]; without a token shift ``mu`` is empty.

    Args:
        x: the input of the block, [B, H].
        state: before the step, [B, S].
        reset: where an episode starts, [B].
        norm_weight: of the LayerNorm, as ``norm_bias``, [H].
        norm_bias: see there.
        select_weight: W_A, W_B, W_C and W_D of S7, one above the other, [2N + W + H, H]; or what r numbers are made of,
            [r, H].
        spread: what makes modulations of those, [r, 2N + W + H], or empty.
        input_weight: B, [W, H].
        mu: token shift, [H], or empty.
        w_0: sqrt(tau - c), [N].
        skip: d, [H].
        angle: theta of the modes that rotate, [R].
        output_weight: C, [H, W].
        gate_weight: W of the block's gate, [H, H].
        gate_bias: c of the block's gate, [H].
        rectified: whether B reads relu(v), v the shifted input.
        asinh: whether C reads asinh(r), r what it reads else.
        epsilon: of the LayerNorm.
        square_roots: how many are taken of 1 - a to scale the input of a mode.
        offset: c of S7.
        y: for the output.
        after: for the state after the step.
    """
    batch, features = x.shape
    width = len(input_weight)
    zero = x.dtype.type(0)
    u, v, modes = np.empty_like(x), np.empty_like(x), np.empty((1, batch, width), x.dtype)
    _layer_norm(x, norm_weight, norm_bias, epsilon, u)
    for i in range(batch):
        for h in range(features):
            v[i, h] = u[i, h]
        if len(mu) and not reset[i]:
            for h in range(features):
                v[i, h] -= mu[h] * state[i, width + h]
        if rectified:
            for h in range(features):
                v[i, h] = max(v[i, h], zero)
        for n in range(width):
            modes[0, i, n] = state[i, n]
    selection, driven = np.empty((1, batch, len(select_weight)), x.dtype), np.empty_like(modes)
    _dense(u, select_weight, selection[0])
    _dense(v, input_weight, driven[0])
    states, read, skipped = np.empty_like(modes), np.empty_like(modes), np.empty((1, batch, features), x.dtype)
    selective_scan_forward(
        selection,
        spread,
        driven,
        u.reshape(1, batch, features),
        w_0,
        skip,
        np.cos(angle),
        np.sin(angle),
        modes[0],
        reset.reshape(1, batch),
        square_roots,
        offset,
        states,
        read,
        skipped,
    )
    if asinh:
        for i in range(batch):
            for n in range(width):
                read[0, i, n] = np.arcsinh(read[0, i, n])
    s, bent, gate = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    _dense(read[0], output_weight, s)
    half, one, root = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(math.sqrt(0.5))
    for i in range(batch):
        for h in range(features):
            s[i, h] += skipped[0, i, h]
            bent[i, h] = half * s[i, h] * (one + math.erf(s[i, h] * root))  # GELU
    _dense(bent, gate_weight, gate)
    for i in range(batch):
        for h in range(features):
            y[i, h] = x[i, h] + s[i, h] / (one + np.exp(-(gate[i, h] + gate_bias[h])))
        for n in range(width):
            after[i, n] = states[0, i, n]
        if len(mu):
            for h in range(features):
                after[i, width + h] = u[i, h]


@kernel(fastmath=_SUMS)
@no_type_check
def _layer_norm(x: Array, weight: Array, bias: Array, epsilon: float, out: Array) -> None:
    batch, features = x.shape
    zero, number, epsilon = x.dtype.type(0), x.dtype.type(features), x.dtype.type(epsilon)
    for i in range(batch):
        row, result = x[i], out[i]
        total = zero
        for h in range(features):
            total += row[h]
        mean = total / number
        squares = zero
        for h in range(features):
            squares += (row[h] - mean) * (row[h] - mean)
        scale = np.sqrt(squares / number + epsilon)
        for h in range(features):
            result[h] = (row[h] - mean) / scale * weight[h] + bias[h]


@kernel(fastmath=_SUMS)
@no_type_check
def _dense(x: Array, weight: Array, out: Array) -> None:
    """Fill out [B, O] with x [B, I] times the transpose of weight [O, I], four rows at a time."""
    batch, inputs = x.shape
    zero = x.dtype.type(0)
    whole = batch - batch % 4
    for i in range(0, whole, 4):
        x_0, x_1, x_2, x_3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        for o in range(len(weight)):
            row = weight[o]
            sum_0 = sum_1 = sum_2 = sum_3 = zero
            for k in range(inputs):
                sum_0 += row[k] * x_0[k]
                sum_1 += row[k] * x_1[k]
                sum_2 += row[k] * x_2[k]
                sum_3 += row[k] * x_3[k]
            out[i, o], out[i + 1, o], out[i + 2, o], out[i + 3, o] = sum_0, sum_1, sum_2, sum_3
    for i in range(whole, batch):
        x_0 = x[i]
        for o in range(len(weight)):
            row = weight[o]
            sum_0 = zero
            for k in range(inputs):
                sum_0 += row[k] * x_0[k]
            out[i, o] = sum_0
