r"""Complex modes kept as two real halves, ``[N real parts | N imaginary parts]``, for :func:`s7rl.linear_scan`.

A complex number g = g_r + i g_i acts on the halves as :math:`(r, s) \mapsto (g_r r - g_i s,\; g_r s + g_i r)`.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def zero_order_hold(
    log_decay: Float[Tensor, "*modes"], frequency: Float[Tensor, "*modes"], log_step: Float[Tensor, "*#modes"]
) -> tuple[Float[Tensor, "*modes"], Float[Tensor, "*modes"], tuple[Float[Tensor, "*modes"], Float[Tensor, "*modes"]]]:
    r"""Discretise :math:`x' = \lambda x + u` with :math:`\lambda = -e^{d} + i f` for an input that is held for a step.

    .. math:: \bar a = e^{\lambda\Delta}, \qquad \bar b = \frac{\bar a - 1}{\lambda}, \qquad \Delta = e^{s}

    Args:
        log_decay: d.  The real part is negative for every d, so that no mode ever grows.
        frequency: f, in radians per unit of time.
        log_step: s.

    Returns:
        The magnitude and the angle of a-bar, and b-bar as (real part, imaginary part).
    """
    step = log_step.exp()
    decay = log_decay.exp()
    growth, angle = -decay * step, frequency * step
    magnitude = growth.exp()
    # a - 1 without the cancellation of a near 1: cos(angle) - 1 = -2 sin^2(angle / 2).
    real = torch.expm1(growth) * angle.cos() - 2 * torch.sin(angle / 2).square()
    imag = magnitude * angle.sin()
    norm = decay.square() + frequency.square()
    # (real + i imag) / (-decay + i frequency)
    gain = (imag * frequency - real * decay) / norm, -(real * frequency + imag * decay) / norm
    return magnitude, angle, gain


def scale_halves(
    gain: tuple[Float[Tensor, " N"], Float[Tensor, " N"]], weight: Float[Tensor, "W H"]
) -> Float[Tensor, "W H"]:
    """Multiply the rows of a complex matrix, kept as [real rows | imaginary rows], by one complex number each."""
    real, imag = weight.chunk(2)
    gain_real, gain_imag = gain[0][:, None], gain[1][:, None]
    return torch.cat([gain_real * real - gain_imag * imag, gain_real * imag + gain_imag * real])
