r"""S5: the simplified state space layer (Smith et al. 2022, arXiv 2208.04933), the ancestor of S7."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments, span
from s7rl.cores.base import Core
from s7rl.cores.dense import Linear
from s7rl.cores.initialisation import log_uniform
from s7rl.cores.modes import scale_halves, zero_order_hold
from s7rl.scan import linear_scan


class S5(Core):
    r"""S5 with HiPPO-N initialisation and zero-order hold: every mode reads all features, nothing depends on the input.

    .. math::
        x_k = \bar\Lambda x_{k-1} + \bar B u_k, \qquad y_k = 2\,\mathrm{Re}(C x_k) + D \odot u_k \\
        \bar\Lambda = e^{\Lambda\Delta}, \qquad \bar B = \Lambda^{-1}(\bar\Lambda - I) B

    Of each pair of conjugate modes one is kept, whence the 2.  Lambda and the basis of B and C are the eigenvalues and
    eigenvectors of the HiPPO-N matrix of size 2N in one block, as in the reinforcement learning of Lu et al. 2023
    (arXiv 2303.03982).  Where it departs from the authors' code: the real part of Lambda is -exp of a parameter, where
    they clip it at -0.0001, since a clipped parameter no longer learns.

    The state is [x real parts | x imaginary parts].

    Args:
        d_model: H, the width of input and output.
        d_state: N, the number of modes kept, each for itself and its conjugate.
        step_range: smallest and largest initial Delta, drawn log-uniformly per mode.  The real part of Lambda starts at
            -1/2, so that a mode forgets within 2 / Delta steps: the authors' range gives 20 to 2,000 steps.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument outside its range.
    """

    dynamics = ("log_decay", "frequency", "log_step")

    def __init__(self, d_model: int, *, d_state: int = 128, step_range: tuple[float, float] = (0.001, 0.1)) -> None:
        steps = span("it is the (smallest, largest) step Delta", above=0.0)
        check_arguments(locals(), d_model=SIZE, d_state=SIZE, step_range=steps)
        super().__init__(d_model, state_size=2 * d_state)
        eigenvalues, basis = hippo_normal(d_state)
        self.log_decay = nn.Parameter((-eigenvalues.real).log().float())
        self.frequency = nn.Parameter(eigenvalues.imag.float())
        self.log_step = nn.Parameter(log_uniform((d_state,), step_range).log())
        self.input = Linear(d_model, 2 * d_state, bias=False)  # B
        self.output = Linear(2 * d_state, d_model, bias=False)  # [2 Re C | -2 Im C]
        self.skip = nn.Parameter(torch.randn(d_model))  # D
        # B is drawn real in the space of the HiPPO matrix, of variance 1 / fan-in, then turned into its eigenbasis.  C,
        # whose real and imaginary parts have that variance, is the same in any basis.
        b = basis.mH @ _complex(torch.randn(2 * d_state, d_model) * d_model**-0.5)
        with torch.no_grad():
            self.input.weight.copy_(torch.cat([b.real, b.imag]))
        nn.init.normal_(self.output.weight, std=2 * (2 * d_state) ** -0.5)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        magnitude, angle, gain = zero_order_hold(self.log_decay, self.frequency, self.log_step)
        driven = nn.functional.linear(x, scale_halves(gain, self.input.weight))
        modes = linear_scan(magnitude[None, None], driven, state, reset, angle)
        return torch.addcmul(self.output(modes), self.skip, x), modes[-1]


def hippo_normal(n: int) -> tuple[Tensor, Tensor]:
    r"""Eigenvalues with a positive imaginary part, and their eigenvectors, of the normal part of HiPPO-LegS, size 2n.

    .. math:: A_{jk} = -\sqrt{(j + 1/2)(k + 1/2)} \;\text{for}\; j > k, \quad -1/2 \;\text{for}\; j = k, \quad
        +\sqrt{(j + 1/2)(k + 1/2)} \;\text{for}\; j < k

    A is skew-symmetric but for its diagonal, so that every eigenvalue has the real part -1/2.
    """
    root = torch.sqrt(torch.arange(2 * n, dtype=torch.double) + 0.5)
    outer = root[:, None] * root
    skew = outer.triu(1) - outer.tril(-1)
    frequencies, vectors = torch.linalg.eigh(_complex(skew) * -1j)  # ascending: the second half is positive
    return torch.complex(torch.full((n,), -0.5, dtype=torch.double), frequencies[n:]), vectors[:, n:]


def _complex(x: Tensor) -> Tensor:
    return x.to(torch.complex128)
