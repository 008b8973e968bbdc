r"""The diagonal linear recurrence that every state space core runs on.

.. math:: x_t = a_t\, e^{i\theta} \odot x_{t-1} + b_t, \qquad a_t \leftarrow 0 \text{ where an episode starts}

Shapes are time-major: T steps, B sequences, N modes.  Of the N modes the last R rotate by a fixed angle each; their
state is complex and kept as two real halves, so that the state of all modes is ONE real tensor of width ``W = N + R``:
``[N real parts | R imaginary parts]``.  With no angles (R = 0) it is the plain real scan.

Setting ``a_t = 0`` at an episode's first step is all that a reset takes (state-spaces/mamba PR 244; equal to the reset
operator of Lu et al. 2023, arXiv 2303.03982): the gradient across the boundary is exactly 0, and a state of inf or nan
is dropped, not multiplied.

:func:`linear_scan_reference` defines the result; :func:`linear_scan` gives the same from the fastest code there is for
the tensors: numba on the CPU (float32 and float64), Triton on CUDA, a parallel scan of tensor operations elsewhere.
:mod:`s7rl.backends` chooses, and ``S7RL_SCAN=numba|triton|torch|reference`` in the environment forces one.
"""

from collections.abc import Callable
from importlib import import_module

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.backends import backend

_KERNELS = {
    "numba": "s7rl.kernels.cpu_scan",
    "torch": "s7rl.kernels.torch_scan",
    "triton": "s7rl.kernels.triton_scan",
}


def linear_scan(
    a: Float[Tensor, "#T #B N"],
    b: Float[Tensor, "T B W"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"] | None = None,
    angle: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, "T B W"]:
    r"""All states of :math:`x_t = a_t e^{i\theta} x_{t-1} + b_t`, differentiable in every argument but ``reset``.

    Args:
        a: magnitude of the transition; any real value, stable in [-1, 1].  A size of 1 stands for T or B: ``[1, 1, N]``
            is a time-invariant transition.
        b: what is added at each step, real parts first, then the imaginary parts of the rotating modes.
        initial: the state before the first step, laid out as ``b``.
        reset: true where a step is the first of an episode: the state is cleared before ``b`` is added.
        angle: theta of the last R modes in radians; None: no mode rotates and W = N.

    Raises:
        ValueError: if the shapes do not fit together or T is 0.
    """
    rotating = 0 if angle is None else angle.shape[0]
    if b.shape[-1] != a.shape[-1] + rotating:
        raise ValueError(
            f"b has width {b.shape[-1]}, but {a.shape[-1]} modes of which {rotating} rotate need "
            f"{a.shape[-1] + rotating}: one column per mode and a second one per rotating mode."
        )
    steps, batch = b.shape[:2]
    check_shapes(steps, batch, b.shape[-1], initial, reset)
    if a.shape[0] not in (1, steps) or a.shape[1] not in (1, batch):
        raise ValueError(
            f"a has shape {tuple(a.shape)}, but b has {steps} steps of {batch} sequences: pass a as "
            f"[{steps}, {batch}, N], or with a size of 1 where it is the same for all."
        )
    if reset is None:
        reset = torch.zeros(b.shape[:2], dtype=torch.bool, device=b.device)
    if angle is None:
        angle = a.new_zeros(0)
    name = backend(b)
    if name == "reference" or (name == "torch" and steps == 1):  # of one step there is nothing to do side by side
        return linear_scan_reference(a.expand(steps, batch, -1), b, initial, reset, angle)
    states: Tensor = _kernel(name)(a, b, initial, reset, angle)
    return states


def linear_scan_reference(
    a: Float[Tensor, "T B N"],
    b: Float[Tensor, "T B W"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    angle: Float[Tensor, " R"],
) -> Float[Tensor, "T B W"]:
    """The definition of :func:`linear_scan`: a loop over time, any device, gradients by autograd.

    In float32 also for narrower dtypes, in which a turn would have a magnitude other than 1.
    """
    if b.dtype in (torch.float16, torch.bfloat16):
        return linear_scan_reference(a.float(), b.float(), initial.float(), reset, angle.float()).to(b.dtype)
    state, states = initial, []
    # unbind, not a[t]: the gradient of an index is a zero-filled tensor of the whole sequence, T of them.
    for a_t, b_t, reset_t in zip(a.unbind(), b.unbind(), reset.unbind(), strict=True):
        state = _advance(a_t, b_t, state, reset_t, angle)
        states.append(state)
    return torch.stack(states)


def _advance(
    a: Float[Tensor, "B N"],
    b: Float[Tensor, "B W"],
    state: Float[Tensor, "B W"],
    reset: Bool[Tensor, " B"],
    angle: Float[Tensor, " R"],
) -> Float[Tensor, "B W"]:
    """One step of the recurrence."""
    state = torch.where(reset[:, None], 0.0, state)  # where, not times: inf * 0 is nan
    rotating = angle.shape[0]
    if rotating == 0:
        return a * state + b
    still, real, imag = state.split([a.shape[-1] - rotating, rotating, rotating], dim=-1)
    a_still, a_rotating = a.split([a.shape[-1] - rotating, rotating], dim=-1)
    cosine, sine = angle.cos(), angle.sin()
    rotated = [a_still * still, a_rotating * (cosine * real - sine * imag), a_rotating * (sine * real + cosine * imag)]
    return torch.cat(rotated, dim=-1) + b


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # the compiler shall not follow the import
def _kernel(name: str) -> Callable[..., Tensor]:
    # Imported when it is needed: numba and triton take a while, and either may be missing.
    scan: Callable[..., Tensor] = import_module(_KERNELS[name]).scan
    return scan


def check_shapes(
    steps: int, batch: int, width: int, initial: Float[Tensor, "..."], reset: Bool[Tensor, "..."] | None
) -> None:
    """Check what a state and its resets have to fit; the kernels would read beyond tensors that are too small.

    Raises:
        ValueError: if one does not fit, or there are no steps.
    """
    if steps == 0:
        raise ValueError("there are no time steps (T = 0), so there is no state to return: pass at least one step.")
    wanted = {"initial": (initial, (batch, width), "B, W"), "reset": (reset, (steps, batch), "T, B")}
    for name, (tensor, shape, letters) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but {steps} steps of {batch} sequences with {width} numbers "
                f"of state need {shape}: pass it as [{letters}]."
            )
