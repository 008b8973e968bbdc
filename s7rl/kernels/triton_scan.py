"""The linear scan on CUDA: Triton kernels, forward and backward, any float dtype.

One program per sequence and block of modes, which loops over time and keeps its states in registers, in float32
(float64 for float64).  Equations and layout are those of :mod:`s7rl.scan` and :mod:`s7rl.kernels.cpu_scan`; a rotating
mode n has its imaginary part R columns further on, and the lane of its real part computes both.  An ``a`` of size 1 in
time or batch is read with a stride of 0.

``TRITON_INTERPRET=1`` in the environment, before triton is imported, runs the kernels on CPU tensors, slowly: for
tests.
"""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK = 32  # modes a program: one warp, so that many programs hide each other's latency


def scan(
    a: Float[Tensor, "#T #B N"],
    b: Float[Tensor, "T B W"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    angle: Float[Tensor, " R"],
) -> Float[Tensor, "T B W"]:
    """:func:`s7rl.linear_scan` after its checks."""
    states: Tensor = _TritonScan.apply(a, b, initial, reset, angle)  # type: ignore[no-untyped-call]
    return states


class _TritonScan(torch.autograd.Function):
    """Only the states are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor, reset: Tensor, angle: Tensor) -> Tensor:
        a, b, initial, reset = a.contiguous(), b.contiguous(), initial.contiguous(), reset.contiguous()
        states = torch.empty_like(b)
        wide = angle if angle.dtype == torch.float64 else angle.float()  # or a turn's magnitude would not be 1
        inputs = a, wide.cos(), wide.sin(), initial, reset.view(torch.uint8)
        ctx.angle_dtype = angle.dtype
        _launch(_forward, a, states, (*inputs, b, states))
        ctx.save_for_backward(*inputs, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, states = ctx.saved_tensors
        a, cosine, _, initial, _ = inputs
        grad_b, grad_initial = torch.empty_like(states), torch.empty_like(initial)
        # Every program writes what is its own; what sequences share is added up afterwards, in a fixed order.
        computed = torch.float64 if states.dtype == torch.float64 else torch.float32
        steps, batch = states.shape[:2]
        grad_a = a.new_empty((len(a), batch, a.shape[-1]), dtype=a.dtype if a.shape[:2] == (steps, batch) else computed)
        grad_angle = cosine.new_empty((batch, len(cosine)), dtype=computed)
        outputs = grad_a, grad_b, grad_angle, grad_initial
        _launch(_backward, a, states, (*inputs, states, grad_states.contiguous(), *outputs), SHARED=len(a) == 1)
        grad_a = grad_a.sum_to_size(*a.shape).to(a.dtype)
        return grad_a, grad_b, grad_initial, None, grad_angle.sum(0).to(ctx.angle_dtype)


def _launch(kernel: Any, a: Tensor, states: Tensor, tensors: tuple[Tensor, ...], **constants: bool) -> None:
    steps, batch, width = states.shape
    modes = a.shape[-1]
    if states.numel() == 0:
        return
    strides = (0 if len(a) == 1 else a.stride(0)), (0 if a.shape[1] == 1 else a.stride(1))
    computed = tl.float64 if states.dtype == torch.float64 else tl.float32
    # Triton launches on the current device, whatever the tensors' is.
    with torch.cuda.device_of(states):
        kernel[batch, triton.cdiv(modes, _BLOCK)](
            *tensors, steps, batch, modes, *strides,
            **constants, ROTATING=width - modes, COMPUTED=computed, BLOCK=_BLOCK, num_warps=1,
        )  # fmt: skip


@triton.jit(do_not_specialize=["steps"])
@no_type_check
def _forward(
    a, cosine, sine, initial, reset, b, states,
    steps, batch, modes, a_step, a_row,
    ROTATING: tl.constexpr, COMPUTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill ``states`` [T, B, W] for one sequence and BLOCK modes."""
    row, n = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    width, inside = modes + ROTATING, n < modes
    turns = inside & (n >= modes - ROTATING)
    x = tl.load(initial + row * width + n, inside, 0.0).to(COMPUTED)
    if ROTATING > 0:
        y = tl.load(initial + row * width + ROTATING + n, turns, 0.0).to(COMPUTED)
        c = tl.load(cosine + n - (modes - ROTATING), turns, 1.0).to(COMPUTED)
        s = tl.load(sine + n - (modes - ROTATING), turns, 0.0).to(COMPUTED)
    a += row * a_row + n
    b += row * width + n
    states += row * width + n
    reset += row
    for _ in tl.range(steps, num_stages=4):
        starts = tl.load(reset) != 0
        a_t = tl.load(a, inside, 0.0).to(COMPUTED)
        x = tl.where(starts, 0.0, x)
        if ROTATING > 0:
            y = tl.where(starts, 0.0, y)
            u = a_t * (c * x - s * y)
            y = a_t * (s * x + c * y) + tl.load(b + ROTATING, turns, 0.0).to(COMPUTED)
            x = u + tl.load(b, inside, 0.0).to(COMPUTED)
            tl.store(states + ROTATING, y, turns)
        else:
            x = a_t * x + tl.load(b, inside, 0.0).to(COMPUTED)
        tl.store(states, x, inside)
        a += a_step
        b += batch * width
        states += batch * width
        reset += batch


@triton.jit(do_not_specialize=["steps"])
@no_type_check
def _backward(
    a, cosine, sine, initial, reset, states, grad_states, grad_a, grad_b, grad_angle, grad_initial,
    steps, batch, modes, a_step, a_row,
    SHARED: tl.constexpr, ROTATING: tl.constexpr, COMPUTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill the four gradients for one sequence and BLOCK modes; grad_a [T or 1, B, N], grad_angle [B, R]."""
    row, n = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    width, inside = modes + ROTATING, n < modes
    turns = inside & (n >= modes - ROTATING)
    first = initial + row * width + n
    x_0 = tl.load(first, inside, 0.0).to(COMPUTED)
    # What step t + 1 sends back to step t; the sums of the gradients of what all steps share.
    carried = tl.zeros([BLOCK], COMPUTED)
    carried_y, total, total_angle = carried, carried, carried
    if ROTATING > 0:
        y_0 = tl.load(first + ROTATING, turns, 0.0).to(COMPUTED)
        c = tl.load(cosine + n - (modes - ROTATING), turns, 1.0).to(COMPUTED)
        s = tl.load(sine + n - (modes - ROTATING), turns, 0.0).to(COMPUTED)
    last = (steps - 1).to(tl.int64)
    columns = last * batch * width + row * width + n
    a += last * a_step + row * a_row + n
    grad_a += row * modes + n
    if not SHARED:
        grad_a += last * batch * modes
    states += columns - batch * width  # the state before the step
    grad_states += columns
    grad_b += columns
    reset += last * batch + row
    for k in tl.range(steps, num_stages=4):
        earlier = k < steps - 1
        starts = tl.load(reset) != 0
        a_t = tl.load(a, inside, 0.0).to(COMPUTED)
        g = tl.load(grad_states, inside, 0.0).to(COMPUTED) + carried
        x = tl.where(earlier, tl.load(states, inside & earlier, 0.0).to(COMPUTED), x_0)
        tl.store(grad_b, g, inside)
        if ROTATING > 0:
            h = tl.load(grad_states + ROTATING, turns, 0.0).to(COMPUTED) + carried_y
            y = tl.where(earlier, tl.load(states + ROTATING, turns & earlier, 0.0).to(COMPUTED), y_0)
            tl.store(grad_b + ROTATING, h, turns)
            # <g, e^{i theta} x> = <e^{-i theta} g, x>, which is what is carried but for its factor a.
            carried, carried_y = c * g + s * h, c * h - s * g
            grad = carried * x + carried_y * y
            carried_y = tl.where(starts, 0.0, a_t * carried_y)
            total_angle += tl.where(starts, 0.0, carried_y * x - a_t * carried * y)
        else:
            carried = g
            grad = g * x
        carried = tl.where(starts, 0.0, a_t * carried)
        grad = tl.where(starts, 0.0, grad)
        if not SHARED:
            tl.store(grad_a, grad, inside)
            grad_a -= batch * modes
        else:
            total += grad
        a -= a_step
        states -= batch * width
        grad_states -= batch * width
        grad_b -= batch * width
        reset -= batch
    if SHARED:
        tl.store(grad_a, total, inside)
    tl.store(grad_initial + row * width + n, carried, inside)
    if ROTATING > 0:
        tl.store(grad_initial + row * width + ROTATING + n, carried_y, turns)
        tl.store(grad_angle + row * ROTATING + n - (modes - ROTATING), total_angle, turns)
