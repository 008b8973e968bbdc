r"""S7: a selective state space layer with a stable reparameterisation.

Soydan et al. 2024, "S7: Selective and Simplified State Space Layers for Sequence Modeling", arXiv 2410.03464.
Where this layer deviates from the paper is said in :class:`S7`.
"""

import math
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.backends import fused
from s7rl.checks import FLAG, SIZE, check_arguments, choice, number, span
from s7rl.cores.base import Core
from s7rl.cores.block import ResidualBlock
from s7rl.cores.dense import Linear
from s7rl.cores.modulation import FullModulation, LowRankModulation
from s7rl.kernels.arrays import Arrays, array
from s7rl.scan import check_shapes, linear_scan
from s7rl.selective_scan import (
    INPUT_SCALES,
    SQUARE_ROOTS,
    Reparameterization,
    both_halves,
    decay,
    modulated,
    selective_scan,
    transition,
    w_of,
)
from s7rl.token_shift import token_shift

Selectivity = Literal["none", "diagonal", "low_rank", "full"]
AngleSpread = Literal["even", "log"]
Readout = Literal["linear", "asinh"]
MOST_AT_ONCE = 64
"""Sequences up to which a step in one kernel is faster than torch's products, which are better at larger ones."""


class S7(Core):
    r"""S7 with four kinds of selectivity, rotating modes and a token shift.

    With input u_k (width H), a state of N modes x_k, and every matrix computed from the input (paper, eq. 4):

    .. math::
        x_k &= A_k \odot x_{k-1} + (1 - |A_k|)^p \odot (B_k v_k + b_k), \qquad v_k = u_k - \mu \odot u_{k-1} \\
        y_k &= \mathrm{Re}(C_k x_k) + D_k \odot u_k, \qquad D_k = d + W_D u_k \\
        A_k &= \Bigl(1 - \frac{1}{w_k^2 + c}\Bigr) e^{i\theta}, \qquad
               w_k = w_0 \odot (1 + W_A u_k), \qquad w_0 = \sqrt{\tau - c}

    (|A_k| stands for the first factor, which may be negative.)  How much of B_k and C_k the input decides:

    ============ =============================================== ======================== ===== ===============
    selectivity  B_k v                                           C_k x                    b_k   cost of a step
    ============ =============================================== ======================== ===== ===============
    "none"       B v                                             C x                      0     O(HN)
    "diagonal"   (1 + W_B u_k) * B v                             C ((1 + W_C u_k) * x)    0     O(HN)
    "low_rank"   B v + P_B (V_B u_k * Q_B v)                     likewise                 0     O(HN + r(H+N))
    "full"       (B + W_B u_k) v, W_B a tensor [N, H, H]         (C + W_C u_k) x          yes   O(H^2 N)
    ============ =============================================== ======================== ===== ===============

    With "none" A and D do not depend on the input either: W_A and W_D are 0, and the layer is linear in u, unless
    ``rectified`` or ``readout="asinh"``.

    "full" with ``rotation=0, token_shift=None, input_scale=0`` is the paper's form: A_k, B_k, C_k, D_k and a state bias
    b_k = b + W_b u_k, each affine in u_k and unrestricted.  (Its w_k = a_0 + W u_k is ours with W = w_0 W_A: a row of W
    learns at the scale of its mode.)  The whole matrices are never built, see :mod:`s7rl.cores.modulation`.

    The parameterisation of A is the paper's *stable reparameterisation*: with c = 1/2, |A_k| <= 1 for any real w, with
    equality at w = 0 only, and the gradient with respect to w grows no faster than w.  A mode with constant w forgets
    with time constant tau = w^2 + c steps.

    Where it departs from the paper:

    * **Rotation.**  A share of the modes turns by an angle theta each step.  The magnitude stays S7's, and with it the
      bound.  Real modes hold what comes at irregular times; rotating modes tell exact lags and ignore constants.  A
      rotating mode has a complex B and C, kept as real halves.
    * **Token shift.**  B reads u_k - mu * u_{k-1}, with mu learned from 0.95 and u_{-1} = 0 at an episode's start: a
      constant observation, repeated for hundreds of steps, would otherwise drown the one cue before it.
    * **Rectified changes**, with ``rectified``: B reads relu(v_k), meant for ``token_shift=1.0``.  Plain differences
      telescope: a mode that forgets nothing ends at B times the last input, and the cue is gone.  Rectified, a constant
      adds nothing, and what of the cue lay above it is kept.  mu is learned: away from 1 a constant adds up.
    * **Readout.**  With ``readout="asinh"`` C reads asinh of each number that it reads else, a rotating mode's halves
      one by one: the same up to about 1, logarithmic beyond, as symlog (Hafner et al. 2023, arXiv 2301.04104) is.
      Changes that are rectified and never forgotten add up as long as an episode goes on; their logarithm hardly grows.
      It takes time, and learning keeps one more array of all states.
    * **Horizons.**  tau is spread log-uniformly over ``horizon``: A near 1 has to be there from the start.  R rotating
      modes tell lags up to 2 R steps apart, so theirs spread from R steps on and at least to 4 R.
    * The modulations start at zero: the layer begins as a time-invariant state space model and learns what to select.

    The state is [x real parts | x imaginary parts | u_{k-1}].

    Args:
        d_model: H, the width of input and output.
        d_state: N, the number of modes.
        selectivity: "none", "diagonal", "low_rank" or "full", see the table.
        rank: r of "low_rank" (None: 8).  With "diagonal", the modulations are computed from r numbers, W = U V with V
            of r rows, which saves most of their cost; None: W is unrestricted.  "full" and "none" have none.
        horizon: shortest and longest initial time constant tau of the modes that do not rotate, in steps; above c.
        rotation: share of the modes that rotate, in [0, 1].
        angle_spread: "even": the R angles are pi/R, 2 pi/R, ... pi; "log": their periods are spread log-uniformly from
            2 to 4 R steps.
        learn_angles: whether the angles are learned.
        token_shift: initial mu, in [0, 1]; None: B reads u_k itself.
        rectified: whether B reads relu(v_k) in place of v_k.
        readout: "linear": C reads the modes, with "diagonal" times their gates; "asinh": it reads asinh of that.
        input_scale: p, one of 0, 1/4 and 1/2: how much the input of a slow mode is scaled down.  1/2 makes the variance
            of the state nearly equal for every tau, 0 scales nothing.
        allow_negative: c = 1/2, A from -1 on: a mode can alternate; False: c = 1, A from 0 on.
        reparameterization: "stable" as above, or to compare with it "exp", A = exp(-exp(-w)), or "sigmoid",
            A = 1 / (1 + exp(-w)), both with the same tau at first, from 0 on, and with w_k = w_0 + W_A u_k.  Those two
            have no fused kernel: they are slower.  In ONNX their gain loses digits for tau above 10,000.

    Raises:
        ValueError: for an argument outside its range.
        TypeError: for one of the wrong type.
    """

    dynamics = ("w_0", "mu", "angle")

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 128,
        selectivity: Selectivity = "diagonal",
        rank: int | None = None,
        horizon: tuple[float, float] = (2.0, 1000.0),
        rotation: float = 0.5,
        angle_spread: AngleSpread = "even",
        learn_angles: bool = False,
        token_shift: float | None = 0.95,
        rectified: bool = False,
        readout: Readout = "linear",
        input_scale: float = 0.25,
        allow_negative: bool = True,
        reparameterization: Reparameterization = "stable",
    ) -> None:
        # First, as the bound of horizon depends on them.
        check_arguments(
            locals(),
            allow_negative=FLAG,
            reparameterization=choice("there is no such kind", get_args(Reparameterization)),
        )
        offset = 0.5 if allow_negative and reparameterization == "stable" else 1.0
        check_arguments(
            locals(),
            d_model=SIZE,
            d_state=SIZE,
            selectivity=choice("there is no such kind", get_args(Selectivity)),
            rank=SIZE.or_none(),
            horizon=span("it is the (shortest, longest) time constant in steps", above=offset),
            rotation=number("it is a share of the modes", least=0.0, most=1.0),
            angle_spread=choice("there is no such kind", get_args(AngleSpread)),
            learn_angles=FLAG,
            token_shift=number("it mixes two inputs", least=0.0, most=1.0).or_none(),
            rectified=FLAG,
            readout=choice("there is no such kind", get_args(Readout)),
            input_scale=choice("it is a power", INPUT_SCALES),
        )
        if rank is not None and selectivity in ("full", "none"):
            raise ValueError(
                f"rank is {rank}, but selectivity '{selectivity}' has none: leave it out, or pass low_rank."
            )
        rotating = round(rotation * d_state)
        width = d_state + rotating
        super().__init__(d_model, state_size=width + (0 if token_shift is None else d_model))
        self.d_state = d_state
        self.selectivity = selectivity
        self.rectified = rectified
        self.readout = readout
        self.input_scale = input_scale
        self.offset = offset
        self.reparameterization: Reparameterization = reparameterization
        self._width = width
        self._arrays = Arrays()

        shortest, longest = horizon
        real = _log_spaced(shortest, longest, d_state - rotating)
        # Shuffled, so that no angle goes with one horizon only.
        turning = _log_spaced(max(shortest, 1.0 * rotating), max(longest, 4.0 * rotating), rotating)
        turning = turning[torch.randperm(rotating)]
        self.w_0 = nn.Parameter(w_of(torch.cat([real, turning]), offset=offset, reparameterization=reparameterization))
        self.angle: Tensor
        angle = _angles(rotating, angle_spread)
        if learn_angles:
            self.angle = nn.Parameter(angle)
        else:
            self.register_buffer("angle", angle)
        self.mu = None if token_shift is None else nn.Parameter(torch.full((d_model,), float(token_shift)))
        self.input = Linear(d_model, width, bias=False)  # B
        self.output = Linear(width, d_model, bias=False)  # C
        self.skip = nn.Parameter(torch.randn(d_model))  # d
        nn.init.normal_(self.input.weight, std=d_model**-0.5)
        nn.init.normal_(self.output.weight, std=width**-0.5)

        gates = d_state + width if selectivity == "diagonal" else 0  # W_B, W_C
        selected, few = d_state + gates + d_model, rank if selectivity == "diagonal" else None
        self.selection = None if selectivity == "none" else Linear(d_model, few or selected, bias=False)
        self.spread = None if few is None else nn.Parameter(torch.zeros(few, selected))
        if self.selection is not None:
            if few is None:
                nn.init.zeros_(self.selection.weight)
            else:
                nn.init.normal_(self.selection.weight, std=d_model**-0.5)
        self.modulate_input: nn.Module
        self.modulate_output: nn.Module
        if selectivity in ("low_rank", "full"):
            make = FullModulation if selectivity == "full" else partial(LowRankModulation, rank=rank or 8)
            self.modulate_input, self.modulate_output = make(d_model, d_model, width), make(d_model, width, d_model)
        self.state_bias = Linear(d_model, width) if selectivity == "full" else None
        if self.state_bias is not None:
            nn.init.zeros_(self.state_bias.weight)
            nn.init.zeros_(self.state_bias.bias)

    def extra_repr(self) -> str:
        """What ``print(core)`` says of the layer."""
        return f"d_model={self.d_model}, d_state={self.d_state}, rotating={len(self.angle)}, {self.selectivity}"

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        steps, batch, _ = x.shape
        check_shapes(steps, batch, self.state_size, state, reset)
        modes, previous = state.split([self._width, self.state_size - self._width], dim=-1)
        shifted = x
        if self.mu is not None:
            shifted = token_shift(x, self.mu, previous, reset)
        if self.rectified:
            shifted = torch.relu(shifted)
        run = {"none": self._scan_fixed, "diagonal": self._scan_diagonal}.get(self.selectivity, self._scan_whole)
        y, modes = run(x, shifted, modes, reset)
        return y, modes if self.mu is None else torch.cat([modes, x[-1]], dim=-1)

    def step_within(
        self,
        norm: nn.LayerNorm,
        gate: nn.Linear,
        x: Float[Tensor, "B H"],
        state: Float[Tensor, "B S"],
        reset: Bool[Tensor, " B"],
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B S"]] | None:
        """See :meth:`Core.step_within`."""
        batch, w_0 = x.shape[0], self.w_0  # no len(x), which would fix the size of what is recorded
        select, b, c = self.selection, self.input, self.output
        if not (
            # First, as what records asks for no size that it would then take for a fixed one.
            fused(x, state, w_0)
            and batch <= MOST_AT_ONCE
            and type(self) is S7  # what a subclass computes is in its scan
            and select is not None
            and self.selectivity == "diagonal"
            and self.reparameterization == "stable"
            and not torch.is_autocast_enabled("cpu")
            and _are_plain(nn.LayerNorm, norm)
            and _are_plain(Linear, select, b, c, gate)
            # The kernel would read beyond what is too small; the scan says what does not fit.
            and x.shape == (batch, self.d_model)
            and state.shape == (batch, self.state_size)
            and reset.shape == (batch,)
        ):
            self._arrays.forget()  # the weights may be on another device by now
            return None
        from s7rl.kernels.cpu_s7 import block_step  # only now: numba takes a while, and may be missing

        spread = select.weight[:0] if self.spread is None else self.spread
        own = self.skip[:0] if self.mu is None else self.mu, w_0, self.skip, self.angle
        weights = self._arrays.of(
            (norm.weight, norm.bias, select.weight, spread, b.weight, *own, c.weight, gate.weight, gate.bias)
        )
        y, after = torch.empty_like(x), torch.empty_like(state)
        given = array(x.contiguous()), array(state.contiguous()), array(reset.contiguous())
        constants = self.rectified, self.readout == "asinh", norm.eps, SQUARE_ROOTS[self.input_scale], self.offset
        block_step(*given, *weights, *constants, array(y), array(after))
        return y, after

    def horizons(self, select_a: Float[Tensor, "*S N"] | None = None) -> Float[Tensor, "*S N"]:
        """Time constants of the modes in steps: at rest, or while the input modulates A by ``select_a`` = W_A u."""
        w = self.w_0 if select_a is None else modulated(self.w_0, select_a, self.reparameterization)
        return 1.0 / decay(w, offset=self.offset, reparameterization=self.reparameterization)

    def _scan_fixed(
        self,
        u: Float[Tensor, "T B H"],
        v: Float[Tensor, "T B H"],
        modes: Float[Tensor, "B W"],
        reset: Bool[Tensor, "T B"],
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B W"]]:
        """Without anything that the input decides."""
        a, gain = self._transition(self.w_0)
        driven = both_halves(gain, len(self.angle)) * self.input(v)
        states = linear_scan(a[None, None], driven, modes, reset, self.angle)
        return torch.addcmul(self.output(self._read_out(states)), self.skip, u), states[-1]

    def _scan_diagonal(
        self,
        u: Float[Tensor, "T B H"],
        v: Float[Tensor, "T B H"],
        modes: Float[Tensor, "B W"],
        reset: Bool[Tensor, "T B"],
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B W"]]:
        assert self.selection is not None
        read, skipped, modes = selective_scan(
            self.selection(u),
            self.input(v),
            u,
            self.w_0,
            self.skip,
            self.angle,
            modes,
            reset,
            spread=self.spread,
            input_scale=self.input_scale,
            offset=self.offset,
            reparameterization=self.reparameterization,
        )
        return self.output(self._read_out(read)) + skipped, modes

    def _scan_whole(
        self,
        u: Float[Tensor, "T B H"],
        v: Float[Tensor, "T B H"],
        modes: Float[Tensor, "B W"],
        reset: Bool[Tensor, "T B"],
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B W"]]:
        """With B_k and C_k that the input decides beyond a gate."""
        assert self.selection is not None
        select_a, select_d = self.selection(u).split([self.d_state, self.d_model], dim=-1)
        a, gain = self._transition(modulated(self.w_0, select_a, self.reparameterization))
        driven = self.input(v) + self.modulate_input(u, v)
        if self.state_bias is not None:
            driven = driven + self.state_bias(u)
        states = linear_scan(a, both_halves(gain, len(self.angle)) * driven, modes, reset, self.angle)
        read = self._read_out(states)
        y = self.output(read) + self.modulate_output(u, read) + (self.skip + select_d) * u
        return y, states[-1]

    def _read_out(self, read: Float[Tensor, "T B W"]) -> Float[Tensor, "T B W"]:
        return torch.asinh(read) if self.readout == "asinh" else read

    def _transition(self, w: Float[Tensor, "*S N"]) -> tuple[Float[Tensor, "*S N"], Float[Tensor, "*S N"]]:
        return transition(
            w, input_scale=self.input_scale, offset=self.offset, reparameterization=self.reparameterization
        )


class S7Block(ResidualBlock):
    """S7 as it stands in a network: norm, layer, gate and residual.  ``make_core("s7", n_blocks=n)`` stacks n of them.

    Args:
        d_model: H, the width of input and output.
        options: those of :class:`S7`.
    """

    def __init__(self, d_model: int, **options: Any) -> None:
        super().__init__(S7(d_model, **options))


def _are_plain(kind: type[nn.Module], *parts: nn.Module) -> bool:
    """Whether modules do what their kind does, and no more: nobody replaced one, or watches what goes in and out."""
    for part in parts:  # noqa: SIM110 - all() of a generator takes twice as long
        if type(part) is not kind or part._forward_hooks or part._forward_pre_hooks:
            return False
    return True


def _angles(rotating: int, spread: AngleSpread) -> Float[Tensor, " R"]:
    if spread == "log":
        return 2.0 * math.pi / _log_spaced(2.0, max(2.0, 4.0 * rotating), rotating)
    return math.pi * torch.arange(1, rotating + 1) / max(rotating, 1)


def _log_spaced(shortest: float, longest: float, number: int) -> Float[Tensor, " modes"]:
    return torch.logspace(math.log10(shortest), math.log10(longest), number) if number else torch.zeros(0)
