r"""Mamba's layer with its selective state space S6 (Gu and Dao 2023, arXiv 2312.00752)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments, span
from s7rl.cores.base import Core
from s7rl.cores.dense import Linear
from s7rl.cores.initialisation import log_uniform
from s7rl.cores.window import lagged
from s7rl.scan import linear_scan


class Mamba(Core):
    r"""The whole layer: projection, short convolution, selective state space, gate, projection.

    .. math::
        (v_k, z_k) &= W_{in} u_k, \qquad
        c_k = \mathrm{SiLU}\Bigl(\textstyle\sum_{j<K} w_j \odot v_{k-j} + w\Bigr) \\
        \Delta_k &= \mathrm{softplus}(W_\Delta W_r c_k + \beta), \qquad B_k = W_B c_k, \qquad C_k = W_C c_k \\
        x_{en,k} &= e^{\Delta_{e,k} A_{en}} x_{en,k-1} + \Delta_{e,k} B_{n,k} c_{e,k}, \qquad
        s_{e,k} = \sum_n C_{n,k} x_{en,k} + D_e c_{e,k} \\
        y_k &= W_{out} (s_k \odot \mathrm{SiLU}(z_k))

    with E = expand * H channels of N real modes, A = -(1, ..., N) at first, and R = ceil(H / 16) numbers between W_r
    and W_Delta, as in the authors' code (mamba_simple.py in state-spaces/mamba).

    The state is [E N modes | the last K - 1 inputs v of the convolution, oldest first]; a reset clears both.

    Args:
        d_model: H, the width of input and output.
        d_state: N, the number of modes per channel.
        expand: channels per feature.
        d_conv: K, how many inputs the convolution sees.
        step_range: smallest and largest initial Delta, drawn log-uniformly per channel.  The slowest mode of a channel
            forgets within 1 / Delta steps: the authors' range gives 10 to 1,000 steps.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument outside its range.
    """

    dynamics = ("log_decay", "step_bias")

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 16,
        expand: int = 2,
        d_conv: int = 4,
        step_range: tuple[float, float] = (0.001, 0.1),
    ) -> None:
        steps = span("it is the (smallest, largest) step Delta", above=0.0)
        check_arguments(locals(), d_model=SIZE, d_state=SIZE, expand=SIZE, d_conv=SIZE, step_range=steps)
        channels = expand * d_model
        super().__init__(d_model, state_size=channels * (d_state + d_conv - 1))
        self.d_state = d_state
        self.rank = math.ceil(d_model / 16)  # R
        self.input = Linear(d_model, 2 * channels, bias=False)
        self.convolution = nn.Parameter(torch.empty(d_conv, channels).uniform_(-1, 1) * d_conv**-0.5)  # w_j
        self.convolution_bias = nn.Parameter(torch.empty(channels).uniform_(-1, 1) * d_conv**-0.5)
        self.selection = Linear(channels, self.rank + 2 * d_state, bias=False)  # W_r, W_B, W_C
        self.to_step = Linear(self.rank, channels, bias=False)  # W_Delta
        step = log_uniform((channels,), step_range)
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is the step
        self.log_decay = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(channels, 1))  # log(-A)
        self.skip = nn.Parameter(torch.ones(channels))  # D
        self.output = Linear(channels, d_model, bias=False)
        nn.init.uniform_(self.to_step.weight, -(self.rank**-0.5), self.rank**-0.5)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        channels = len(self.skip)
        modes, window = state.split([channels * self.d_state, self.state_size - channels * self.d_state], dim=-1)
        v, z = self.input(x).chunk(2, dim=-1)
        lags, window = lagged(v, window.unflatten(1, (len(self.convolution) - 1, channels)), reset)
        convolved: Tensor = self.convolution_bias
        for weight, lag in zip(self.convolution, lags, strict=True):
            convolved = torch.addcmul(convolved, weight, lag)
        c = nn.functional.silu(convolved)

        rank, into, out = self.selection(c).split([self.rank, self.d_state, self.d_state], dim=-1)
        step = nn.functional.softplus(self.to_step(rank) + self.step_bias)
        a = torch.exp(step[..., None] * -self.log_decay.exp())
        b = (step * c)[..., None] * into[:, :, None]
        states = linear_scan(a.flatten(2), b.flatten(2), modes, reset)
        read = torch.einsum("...en,...n->...e", states.unflatten(2, (channels, self.d_state)), out)
        s = torch.addcmul(read, self.skip, c)
        return self.output(s * nn.functional.silu(z)), torch.cat([states[-1], window.flatten(1)], dim=-1)
