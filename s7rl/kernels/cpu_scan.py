"""The linear scan on the CPU: numba kernels, forward and backward, float32 and float64.

Sequential in time, one pass over memory: on a CPU the limit is bandwidth, and a tree scan would read everything
log T times.  The inner loops run over contiguous modes, so that LLVM vectorises them.  Layout and equations are those
of :mod:`s7rl.scan`; ``N`` modes, of which the last ``R = len(cosine)`` rotate, ``W = N + R`` numbers of state.

The backward never divides by ``a`` (it may be 0): with ``g_t`` the gradient that reaches ``x_t``,

    g_t = dy_t + a_{t+1} e^{-i theta} g_{t+1},   da_t = <g_t, e^{i theta} x_{t-1}>,   db_t = g_t,
    dtheta = sum_t a_t <g_t, i e^{i theta} x_{t-1}>,   all with a_t = 0 where reset_t.
"""

from typing import no_type_check

import numpy as np
from numba import njit
from numpy.typing import NDArray

from s7rl.kernels import cache  # noqa: F401 - chooses numba's cache folder

Array = NDArray[np.floating]


@njit(cache=True, error_model="numpy")
@no_type_check
def scan_forward(
    a: Array, b: Array, cosine: Array, sine: Array, initial: Array, reset: NDArray[np.bool_], states: Array
) -> None:
    """Fill ``states`` [T, B, W] from a [T, B, N], b [T, B, W], initial [B, W] and reset [T, B]."""
    steps, batch, modes = a.shape
    rotating = cosine.shape[0]
    real = modes - rotating
    for t in range(steps):
        for i in range(batch):
            x, a_t, b_t = states[t, i], a[t, i], b[t, i]
            if reset[t, i]:
                for n in range(modes + rotating):
                    x[n] = b_t[n]
                continue
            previous = initial[i] if t == 0 else states[t - 1, i]
            for n in range(real):
                x[n] = a_t[n] * previous[n] + b_t[n]
            for r in range(rotating):
                n, m = real + r, modes + r
                u, v = previous[n], previous[m]
                x[n] = a_t[n] * (cosine[r] * u - sine[r] * v) + b_t[n]
                x[m] = a_t[n] * (sine[r] * u + cosine[r] * v) + b_t[m]


@njit(cache=True, error_model="numpy")
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
    steps, batch, modes = a.shape
    rotating = cosine.shape[0]
    real = modes - rotating
    grad_initial[:] = 0.0
    grad_angle[:] = 0.0
    for t in range(steps - 1, -1, -1):
        for i in range(batch):
            carried, a_t, da, g, dy = grad_initial[i], a[t, i], grad_a[t, i], grad_b[t, i], grad_states[t, i]
            if reset[t, i]:
                for n in range(modes + rotating):
                    g[n] = dy[n] + carried[n]
                    carried[n] = 0.0
                for n in range(modes):
                    da[n] = 0.0
                continue
            previous = initial[i] if t == 0 else states[t - 1, i]
            for n in range(real):
                g_n = dy[n] + carried[n]
                g[n] = g_n
                da[n] = g_n * previous[n]
                carried[n] = a_t[n] * g_n
            for r in range(rotating):
                n, m = real + r, modes + r
                g_n, g_m = dy[n] + carried[n], dy[m] + carried[m]
                g[n] = g_n
                g[m] = g_m
                u = cosine[r] * previous[n] - sine[r] * previous[m]
                v = sine[r] * previous[n] + cosine[r] * previous[m]
                da[n] = g_n * u + g_m * v
                grad_angle[r] += a_t[n] * (g_m * u - g_n * v)
                carried[n] = a_t[n] * (cosine[r] * g_n + sine[r] * g_m)
                carried[m] = a_t[n] * (cosine[r] * g_m - sine[r] * g_n)
