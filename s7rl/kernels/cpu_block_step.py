"""One step of a residual block around S7 on the CPU: norm, projections, recurrence, gate; all in one call of numba.

While an agent acts, a step of a few sequences is two dozen operations of microseconds each, and what torch needs to
start them takes several times as long as they do.  The equations are those of :class:`s7rl.cores.block.ResidualBlock`
and :class:`s7rl.cores.s7.S7`; the recurrence is the kernel that learning uses.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit
from numpy.typing import NDArray

from s7rl.kernels import cache  # noqa: F401 - chooses numba's cache folder
from s7rl.kernels.cpu_selective_scan import selective_scan_forward

Array = NDArray[np.floating]
_SUMS = {"reassoc", "contract", "nsz"}  # what sums need to be vectorised; nan and infinity stay what they are


@njit(cache=True, error_model="numpy")
@no_type_check
def block_step(
    x: Array,
    state: Array,
    reset: NDArray[np.bool_],
    norm_weight: Array,
    norm_bias: Array,
    select_weight: Array,
    input_weight: Array,
    mu: Array,
    w_0: Array,
    skip: Array,
    angle: Array,
    output_weight: Array,
    gate_weight: Array,
    gate_bias: Array,
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
        select_weight: W_A, W_B, W_C and W_D of S7, one above the other, [2N + W + H, H].
        input_weight: B, [W, H].
        mu: token shift, [H], or empty.
        w_0: sqrt(tau - c), [N].
        skip: d, [H].
        angle: theta of the modes that rotate, [R].
        output_weight: C, [H, W].
        gate_weight: W of the block's gate, [H, H].
        gate_bias: c of the block's gate, [H].
        epsilon: of the LayerNorm.
        square_roots: how many are taken of 1 - a to scale the input of a mode.
        offset: c of S7.
        y: for the output.
        after: for the state after the step.
    """
    batch, features = x.shape
    width = len(input_weight)
    u, v, modes = np.empty_like(x), np.empty_like(x), np.empty((1, batch, width), x.dtype)
    _layer_norm(x, norm_weight, norm_bias, epsilon, u)
    for i in range(batch):
        for h in range(features):
            v[i, h] = u[i, h]
        if len(mu) and not reset[i]:
            for h in range(features):
                v[i, h] -= mu[h] * state[i, width + h]
        for n in range(width):
            modes[0, i, n] = state[i, n]
    selection, driven = np.empty((1, batch, len(select_weight)), x.dtype), np.empty_like(modes)
    _dense(u, select_weight, selection[0])
    _dense(v, input_weight, driven[0])
    states, read, skipped = np.empty_like(modes), np.empty_like(modes), np.empty((1, batch, features), x.dtype)
    selective_scan_forward(
        selection,
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


@njit(cache=True, error_model="numpy", fastmath=_SUMS)
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


@njit(cache=True, error_model="numpy", fastmath=_SUMS)
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
