r"""The inside of the S7 layer: from the projections of the input to what C and the skip connection read.

.. math::
    w_k &= w_0 \odot (1 + s^A_k), \qquad a_k = 1 - \frac{1}{w_k^2 + c} \\
    x_k &= a_k e^{i\theta} \odot x_{k-1} + (1 - a_k)^p \odot (1 + s^B_k) \odot v_k \\
    r_k &= (1 + s^C_k) \odot x_k, \qquad z_k = (d + s^D_k) \odot u_k

That is the stable reparameterisation of a; :func:`decay` has others, to compare with.

:func:`selective_scan_reference` defines the result.  :func:`selective_scan` gives the same, on the CPU from one fused
kernel, elsewhere from tensor operations around whichever :func:`s7rl.linear_scan` there is.  The layout of states and
angles is that of :mod:`s7rl.scan`.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.backends import backend
from s7rl.scan import check_shapes, linear_scan

SQUARE_ROOTS = {0.0: 0, 0.5: 1, 0.25: 2}
"""How many of 1 - a make each power p of it that the kernel knows."""
INPUT_SCALES = tuple(SQUARE_ROOTS)
Reparameterization = Literal["stable", "exp", "sigmoid"]
"""How an unconstrained w gives a mode's transition a, see :func:`decay`."""


def selective_scan(
    selection: Float[Tensor, "T B I"],
    driven: Float[Tensor, "T B W"],
    u: Float[Tensor, "T B H"],
    w_0: Float[Tensor, " N"],
    skip: Float[Tensor, " H"],
    angle: Float[Tensor, " R"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    *,
    spread: Float[Tensor, "r K"] | None = None,
    input_scale: float,
    offset: float,
    reparameterization: Reparameterization = "stable",
) -> tuple[Float[Tensor, "T B W"], Float[Tensor, "T B H"], Float[Tensor, "B W"]]:
    """Differentiable in every tensor but ``reset``.

    Args:
        selection: the modulations s^A, s^B, s^C, s^D side by side, I = K = 2N + W + H; with ``spread``, I = r numbers
            that it makes them from.
        driven: v, the input after B.
        u: the input of the layer.
        w_0: what makes the time constants tau at rest, in steps: sqrt(tau - c), or as :func:`w_of` has it.
        skip: d.
        angle: theta of the last R modes, radians.
        initial: the state before the first step.
        reset: true where a step is the first of an episode.
        spread: makes the modulations, a row of the selection times this; None: the row is the modulations.
        input_scale: p, one of ``INPUT_SCALES``.
        offset: c, at least 1/2: a lies in [1 - 1/c, 1).  Of the stable reparameterisation.
        reparameterization: of a.  The kernel knows the stable one; others take tensor operations.

    Returns:
        r, z, and the state after the last step.

    Raises:
        ValueError: if the shapes of modulations, state and resets do not fit, or T is 0.
    """
    steps, batch, width = driven.shape
    check_shapes(steps, batch, width, initial, reset)
    # As there: the kernel would read beyond what is too small.
    modulations = 2 * len(w_0) + width + len(skip)
    entries = modulations if spread is None else len(spread)
    if selection.shape != (steps, batch, entries) or (spread is not None and spread.shape[1] != modulations):
        by = "" if spread is None else f" and spread {tuple(spread.shape)}"
        raise ValueError(
            f"selection has shape {tuple(selection.shape)}{by}, but {steps} steps of {batch} sequences need "
            f"{modulations} modulations: pass selection as [T, B, K], or as [T, B, r] and spread as [r, K]."
        )
    if reparameterization == "stable" and backend(driven) == "numba":
        from s7rl.kernels import cpu_selective_scan  # only now: numba takes a while, and may be missing

        rows = selection.new_empty(0, selection.shape[-1]) if spread is None else spread
        roots = SQUARE_ROOTS[input_scale]
        result: tuple[Tensor, Tensor, Tensor] = cpu_selective_scan.scan(
            selection, rows, driven, u, w_0, skip, angle, initial, reset, square_roots=roots, offset=offset
        )
        return result
    return selective_scan_reference(
        selection,
        driven,
        u,
        w_0,
        skip,
        angle,
        initial,
        reset,
        spread=spread,
        input_scale=input_scale,
        offset=offset,
        reparameterization=reparameterization,
    )


def selective_scan_reference(
    selection: Float[Tensor, "T B I"],
    driven: Float[Tensor, "T B W"],
    u: Float[Tensor, "T B H"],
    w_0: Float[Tensor, " N"],
    skip: Float[Tensor, " H"],
    angle: Float[Tensor, " R"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    *,
    spread: Float[Tensor, "r K"] | None = None,
    input_scale: float,
    offset: float,
    reparameterization: Reparameterization = "stable",
) -> tuple[Float[Tensor, "T B W"], Float[Tensor, "T B H"], Float[Tensor, "B W"]]:
    """The definition of :func:`selective_scan` in tensor operations around :func:`s7rl.linear_scan`."""
    modes, rotating = len(w_0), len(angle)
    if spread is not None:
        selection = selection @ spread
    select_a, select_b, select_c, select_d = selection.split([modes, modes, modes + rotating, len(skip)], dim=-1)
    w = modulated(w_0, select_a, reparameterization)
    a, gain = transition(w, input_scale=input_scale, offset=offset, reparameterization=reparameterization)
    states = linear_scan(a, both_halves(gain * (1.0 + select_b), rotating) * driven, initial, reset, angle)
    return (1.0 + select_c) * states, (skip + select_d) * u, states[-1]


def transition(
    w: Float[Tensor, "*S N"], *, input_scale: float, offset: float, reparameterization: Reparameterization = "stable"
) -> tuple[Float[Tensor, "*S N"], Float[Tensor, "*S N"]]:
    """A mode's a of its w, and the gain (1 - a)^p of its input.

    a is float32 also for narrower dtypes, in which a slow mode's would be 1, and the mode would never forget.
    """
    wide = w if w.dtype == torch.float64 else w.float()
    # 1 - a, kept as it is: computed back from a it would cancel for slow modes
    lost = decay(wide, offset=offset, reparameterization=reparameterization)
    return 1.0 - lost, lost.pow(input_scale).to(w.dtype)


def decay(w: Float[Tensor, "*S N"], *, offset: float, reparameterization: Reparameterization) -> Float[Tensor, "*S N"]:
    r"""What a mode loses in a step, 1 - a, without the cancellation of a near 1.  Its time constant is one over it.

    =========== ======================== =========================================================
    "stable"    a = 1 - 1 / (w^2 + c)    Soydan et al. 2024 (arXiv 2410.03464), after Wang and Li
    "exp"       a = exp(-exp(-w))        as S4D, LRU and Mamba have it
    "sigmoid"   a = 1 / (1 + exp(-w))    a gate's, as minGRU and the LSTM have it
    =========== ======================== =========================================================
    """
    if reparameterization == "stable":
        return 1.0 / (w.square() + offset)
    w = w.clamp(-80.0, 80.0)  # beyond, exp(-w) is infinite or 0, and so are gradients of it, or of its powers
    return -torch.expm1(-torch.exp(-w)) if reparameterization == "exp" else torch.sigmoid(-w)


def w_of(
    time_constant: Float[Tensor, " N"], *, offset: float, reparameterization: Reparameterization
) -> Float[Tensor, " N"]:
    """The w of time constants in steps, which are above c; above 1 unless "stable"."""
    if reparameterization == "stable":
        return (time_constant - offset).sqrt()
    return -(-torch.log1p(-1.0 / time_constant)).log() if reparameterization == "exp" else (time_constant - 1.0).log()


def modulated(
    w_0: Float[Tensor, " N"], select_a: Float[Tensor, "*S N"], reparameterization: Reparameterization
) -> Float[Tensor, "*S N"]:
    """The w of a modulation ``select_a``, whose effect on a time constant is relative."""
    return w_0 * (1.0 + select_a) if reparameterization == "stable" else w_0 + select_a


def both_halves(x: Float[Tensor, "*S N"], rotating: int) -> Float[Tensor, "*S W"]:
    """What holds for each mode, for each number of its state: the last modes have an imaginary half as well."""
    return torch.cat([x, x[..., x.shape[-1] - rotating :]], dim=-1)
