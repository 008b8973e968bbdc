r"""S7: a selective state space layer with a stable reparameterisation.

Soydan et al. 2024, "S7: Selective and Simplified State Space Layers for Sequence Modeling", arXiv 2410.03464.
Where this layer deviates from the paper is said in :class:`S7`.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.cores.base import Core
from s7rl.selective_scan import INPUT_SCALES, selective_scan


class S7(Core):
    r"""S7 with diagonal selectivity, rotating modes and a token shift.

    With input u_k (width H), a state of N modes x_k, and every matrix computed from the input (paper, eq. 4):

    .. math::
        x_k &= A_k \odot x_{k-1} + B_k u_k, \qquad y_k = \mathrm{Re}(C_k x_k) + D_k \odot u_k \\
        A_k &= \Bigl(1 - \frac{1}{w_k^2 + 1/2}\Bigr) e^{i\theta}, \qquad
               w_k = w_0 \odot (1 + W_A u_k), \qquad w_0 = \sqrt{\tau - 1/2} \\
        B_k u_k &= (1 - |A_k|)^p \odot (1 + W_B u_k) \odot B (u_k - \mu \odot u_{k-1}) \\
        C_k x_k &= C \bigl((1 + W_C u_k) \odot x_k\bigr), \qquad D_k = d + W_D u_k

    The parameterisation of A is the paper's *stable reparameterisation*: |A_k| <= 1 for any real w, with equality at
    w = 0 only, and the gradient with respect to w grows no faster than w.  A mode with constant w forgets with time
    constant tau = w^2 + 1/2 steps.

    Where it departs from the paper:

    * **Rotation.**  A share of the modes turns by a fixed angle theta each step, evenly spread over (0, pi].  The
      magnitude stays S7's, and with it the bound.  Real modes hold what comes at irregular times; rotating modes tell
      exact lags and ignore constants.  A rotating mode has a complex B and C, kept as real halves.
    * **Token shift.**  B reads u_k - mu * u_{k-1}, with mu learned from 0.95 and u_{-1} = 0 at an episode's start: a
      constant observation, repeated for hundreds of steps, would otherwise drown the one cue before it.
    * **Horizons.**  tau is spread log-uniformly over ``horizon``: A near 1 has to be there from the start.  R rotating
      modes tell lags up to 2 R steps apart, so theirs spread from R steps on and at least to 4 R.
    * **Selectivity** is a diagonal modulation of static matrices: O(HN), where whole matrices B_k and C_k from the
      input take O(H^2 N).  The paper's additive state bias is left out: linear in
      u_k, it is a part of B u_k.
    * The modulations start at zero: the layer begins as a time-invariant state space model and learns what to select.

    The state is [x real parts | x imaginary parts | u_{k-1}].

    Args:
        d_model: H, the width of input and output.
        d_state: N, the number of modes.
        horizon: shortest and longest initial time constant tau of the modes that do not rotate, in steps; at least 1.
        rotation: share of the modes that rotate, in [0, 1].
        token_shift: initial mu, in [0, 1]; None: B reads u_k itself.
        input_scale: p, one of 0, 1/4 and 1/2: how much the input of a slow mode is scaled down.  1/2 makes the variance
            of the state nearly equal for every tau, 0 scales nothing.

    Raises:
        ValueError: for an argument outside its range.
    """

    dynamics = ("w_0", "mu")

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 128,
        horizon: tuple[float, float] = (2.0, 1000.0),
        rotation: float = 0.5,
        token_shift: float | None = 0.95,
        input_scale: float = 0.25,
    ) -> None:
        _check(d_state=d_state, horizon=horizon, rotation=rotation, token_shift=token_shift, input_scale=input_scale)
        rotating = round(rotation * d_state)
        width = d_state + rotating
        super().__init__(d_model, state_size=width + (0 if token_shift is None else d_model))
        self.d_state = d_state
        self.input_scale = input_scale
        self._width = width

        shortest, longest = horizon
        real = _log_spaced(shortest, longest, d_state - rotating)
        # Shuffled, so that no angle goes with one horizon only.
        turning = _log_spaced(max(shortest, 1.0 * rotating), max(longest, 4.0 * rotating), rotating)
        turning = turning[torch.randperm(rotating)]
        self.w_0 = nn.Parameter((torch.cat([real, turning]) - 0.5).sqrt())
        angle = math.pi * torch.arange(1, rotating + 1) / max(rotating, 1)
        self.angle: Tensor
        self.register_buffer("angle", angle)
        self.mu = None if token_shift is None else nn.Parameter(torch.full((d_model,), float(token_shift)))
        self.input = nn.Linear(d_model, width, bias=False)  # B
        self.output = nn.Linear(width, d_model, bias=False)  # C
        self.selection = nn.Linear(d_model, 2 * d_state + width + d_model, bias=False)  # W_A, W_B, W_C, W_D
        self.skip = nn.Parameter(torch.randn(d_model))  # d
        nn.init.normal_(self.input.weight, std=d_model**-0.5)
        nn.init.normal_(self.output.weight, std=width**-0.5)
        nn.init.zeros_(self.selection.weight)

    def extra_repr(self) -> str:
        """What ``print(core)`` says of the layer."""
        return f"d_model={self.d_model}, d_state={self.d_state}, rotating={len(self.angle)}"

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        modes, previous = state.split([self._width, self.state_size - self._width], dim=-1)
        shifted = x
        if self.mu is not None:
            previous = torch.cat([previous[None], x[:-1]]).masked_fill_(reset[..., None], 0.0)
            shifted = torch.addcmul(x, self.mu, previous, value=-1)
        read, skipped, modes = selective_scan(
            self.selection(x),
            self.input(shifted),
            x,
            self.w_0,
            self.skip,
            self.angle,
            modes,
            reset,
            input_scale=self.input_scale,
        )
        return self.output(read) + skipped, modes if self.mu is None else torch.cat([modes, x[-1]], dim=-1)


def _log_spaced(shortest: float, longest: float, number: int) -> Float[Tensor, " modes"]:
    return torch.logspace(math.log10(shortest), math.log10(longest), number) if number else torch.zeros(0)


def _check(
    *,
    d_state: int,
    horizon: tuple[float, float],
    rotation: float,
    token_shift: float | None,
    input_scale: float,
) -> None:
    numbers = {"rotation": rotation, "token_shift": token_shift, "input_scale": input_scale}
    for name, value in numbers.items():
        if not isinstance(value, int | float | None):
            raise TypeError(f"{name} is {value!r}, but it is a number: pass one.")
    if not (isinstance(horizon, Sequence) and all(isinstance(tau, int | float) for tau in horizon)):
        raise TypeError(f"horizon is {horizon!r}, but it is (shortest, longest) in steps: pass two numbers.")
    if not isinstance(d_state, int) or d_state < 1:
        raise ValueError(f"d_state is {d_state}, but S7 needs at least one mode: pass a positive whole number.")
    if len(horizon) != 2 or not 1.0 <= horizon[0] <= horizon[1] < math.inf:
        raise ValueError(
            f"horizon is {horizon}, but it is (shortest, longest) time constant in steps: "
            "pass two numbers with 1 <= shortest <= longest."
        )
    if not 0.0 <= rotation <= 1.0:
        raise ValueError(f"rotation is {rotation}, but it is a share of the modes: pass a number from 0 to 1.")
    if token_shift is not None and not 0.0 <= token_shift <= 1.0:
        raise ValueError(f"token_shift is {token_shift}, but it mixes two inputs: pass None or a number from 0 to 1.")
    if input_scale not in INPUT_SCALES:
        raise ValueError(f"input_scale is {input_scale}, but it is a power: pass one of {INPUT_SCALES}.")
