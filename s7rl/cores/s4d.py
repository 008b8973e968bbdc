r"""S4D: diagonal state spaces, one per feature (Gu et al. 2022, arXiv 2206.11893)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments, span
from s7rl.cores.base import Core
from s7rl.cores.dense import Linear
from s7rl.cores.initialisation import log_uniform
from s7rl.cores.modes import zero_order_hold
from s7rl.scan import linear_scan


class S4D(Core):
    r"""S4D-Lin with zero-order hold: N modes for each feature, then a gated mixing of the features.

    .. math::
        x_{hn,k} &= \bar\lambda_{hn} x_{hn,k-1} + \bar\lambda'_{hn} u_{h,k}, \qquad
        s_{h,k} = 2\,\mathrm{Re} \sum_n C_{hn} x_{hn,k} + D_h u_{h,k} \\
        \bar\lambda_{hn} &= e^{\lambda_{hn}\Delta_h}, \qquad \bar\lambda'_{hn} = (\bar\lambda_{hn} - 1) / \lambda_{hn},
        \qquad \lambda_{hn} = -1/2 + i \pi n \;\text{at first} \\
        y_k &= \mathrm{GLU}(W\,\mathrm{GELU}(s_k) + c)

    The authors' layer (s4d.py in state-spaces/s4) is trained by a convolution, which knows neither an initial state
    nor resets.  This one runs the recurrence, in learning as in acting.

    The state is [x real parts | x imaginary parts], HN numbers each: it is wide, and the layer slow for that.

    Args:
        d_model: H, the width of input and output.
        d_state: N, the number of modes per feature, each for itself and its conjugate.
        step_range: smallest and largest initial Delta, drawn log-uniformly per feature.  Its modes forget within
            2 / Delta steps: the authors' range gives 20 to 2,000 steps.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument outside its range.
    """

    dynamics = ("log_decay", "frequency", "log_step")

    def __init__(self, d_model: int, *, d_state: int = 32, step_range: tuple[float, float] = (0.001, 0.1)) -> None:
        steps = span("it is the (smallest, largest) step Delta", above=0.0)
        check_arguments(locals(), d_model=SIZE, d_state=SIZE, step_range=steps)
        super().__init__(d_model, state_size=2 * d_model * d_state)
        self.log_decay = nn.Parameter(torch.full((d_model, d_state), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(d_state, dtype=torch.float).repeat(d_model, 1))
        self.log_step = nn.Parameter(log_uniform((d_model, 1), step_range).log())
        self.output = nn.Parameter(math.sqrt(0.5) * torch.randn(2, d_model, d_state))  # C, of variance 1 in all
        self.skip = nn.Parameter(torch.randn(d_model))  # D
        self.mix = Linear(d_model, 2 * d_model)  # W, c

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        magnitude, angle, gain = zero_order_hold(self.log_decay, self.frequency, self.log_step)
        driven = (x[:, :, None, :, None] * torch.stack(gain)).flatten(2)  # [T, B, 2 H N]
        modes = linear_scan(magnitude.flatten()[None, None], driven, state, reset, angle.flatten())
        real, imag = modes.unflatten(2, (2, *self.log_decay.shape)).unbind(2)
        read = torch.einsum("tbhn,hn->tbh", real, self.output[0]) - torch.einsum("tbhn,hn->tbh", imag, self.output[1])
        s = torch.addcmul(2 * read, self.skip, x)
        return nn.functional.glu(self.mix(nn.functional.gelu(s))), modes[-1]
