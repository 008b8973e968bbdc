r"""The linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments, number, span
from s7rl.cores.base import Core
from s7rl.cores.dense import Linear
from s7rl.scan import linear_scan


class LRU(Core):
    r"""A diagonal complex linear recurrence, drawn on a ring of the complex plane.

    .. math::
        x_k = \lambda \odot x_{k-1} + e^{\gamma} \odot B u_k, \qquad y_k = \mathrm{Re}(C x_k) + D \odot u_k, \qquad
        \lambda = \exp(-e^{\nu} + i e^{\theta})

    At first lambda is uniform (by area) on the ring r_min <= abs(lambda) <= r_max, 0 <= angle <= max_phase, and gamma
    makes the state's variance the same for every lambda: :math:`e^\gamma = \sqrt{1 - |\lambda|^2}`.

    The state is [x real parts | x imaginary parts].

    Args:
        d_model: H, the width of input and output.
        d_state: N, the number of modes.
        r_range: r_min and r_max, above 0 and below 1; a mode forgets within 1 / (1 - r) steps.  The paper needs rings
            near 1 for long memory; the default gives 10 to 1,000 steps.
        max_phase: largest initial angle per step in radians, above 0; narrow suits long sequences, as slow
            modes that turn fast tell little about the distant past.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument outside its range.
    """

    dynamics = ("nu", "theta", "gamma")

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 128,
        r_range: tuple[float, float] = (0.9, 0.999),
        max_phase: float = math.pi / 10,
    ) -> None:
        check_arguments(
            locals(),
            d_model=SIZE,
            d_state=SIZE,
            r_range=span("it is (r_min, r_max) of the initial ring", above=0.0, below=1.0),
            max_phase=number("it is an angle in radians", above=0.0, most=2 * math.pi),
        )
        super().__init__(d_model, state_size=2 * d_state)
        r_min, r_max = r_range
        squared = r_min**2 + (r_max**2 - r_min**2) * torch.rand(d_state, dtype=torch.double)
        # 1 - rand, not rand: the logarithm of an angle of 0 would be -inf.
        phase = max_phase * (1 - torch.rand(d_state, dtype=torch.double))
        self.nu = nn.Parameter(torch.log(-0.5 * squared.log()).float())
        self.theta = nn.Parameter(phase.log().float())
        self.gamma = nn.Parameter(0.5 * torch.log1p(-squared).float())
        self.input = Linear(d_model, 2 * d_state, bias=False)  # B
        self.output = Linear(2 * d_state, d_model, bias=False)  # [Re C | -Im C]
        self.skip = nn.Parameter(torch.randn(d_model))  # D
        nn.init.normal_(self.input.weight, std=(2 * d_model) ** -0.5)
        nn.init.normal_(self.output.weight, std=d_state**-0.5)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        magnitude, angle = torch.exp(-self.nu.exp()), self.theta.exp()
        gain = self.gamma.exp()
        driven = self.input(x) * torch.cat([gain, gain])
        modes = linear_scan(magnitude[None, None], driven, state, reset, angle)
        return torch.addcmul(self.output(modes), self.skip, x), modes[-1]
