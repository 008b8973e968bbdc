"""A million steps of S7 in float32, on random input and on input that is chosen to break it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from s7rl import S7
from s7rl.cores.s7 import Selectivity
from s7rl.selective_scan import transition

STEPS = 1_000_000
H, N = 2, 4


def random_input(s7: S7) -> Tensor:
    return torch.randn(STEPS, 1, H, generator=torch.Generator().manual_seed(0))


def constant_input(s7: S7) -> Tensor:
    return torch.ones(STEPS, 1, H)


def input_that_slows_every_mode_down(s7: S7) -> Tensor:
    """Along the direction in which w grows fastest, for all of the sequence: the state forgets as little as it can."""
    direction = s7.get_parameter("selection.weight").detach()[: s7.d_state].sum(dim=0)
    return torch.nn.functional.normalize(direction, dim=0).mul(100.0).expand(STEPS, 1, H).contiguous()


def input_that_alternates_between_extremes(s7: S7) -> Tensor:
    signs = torch.tensor([1.0, -1.0]).repeat(STEPS // 2)
    return 1e3 * signs[:, None, None].expand(STEPS, 1, H).contiguous()


def input_that_switches_memory_off_and_on(s7: S7) -> Tensor:
    """Blocks of 1,000 steps of silence after single blows."""
    x = torch.zeros(STEPS, 1, H)
    x[::1000] = 1e4
    return x


INPUTS = (
    random_input,
    constant_input,
    input_that_slows_every_mode_down,
    input_that_alternates_between_extremes,
    input_that_switches_memory_off_and_on,
)
ROTATIONS = (0.0, 0.5, 1.0)
every_rotation = pytest.mark.parametrize("rotation", ROTATIONS)
# Where half of the modes rotate, both kinds have every input; where all or none do, one input is enough.
every_rotation_and_input = pytest.mark.parametrize(
    ("make", "rotation"),
    [
        pytest.param(
            make,
            rotation,
            marks=() if rotation == 0.5 or make is input_that_switches_memory_off_and_on else pytest.mark.slow,
        )
        for make in INPUTS
        for rotation in ROTATIONS
    ],
)


def layer(rotation: float, *, spread: float = 0.3, longest: float = 1e5) -> S7:
    """With a selection that is as strong as after long training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        s7 = S7(H, d_state=N, rotation=rotation, horizon=(2.0, longest))
        with torch.no_grad():
            s7.get_parameter("selection.weight").normal_(std=spread)
    return s7


def run(s7: S7, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return s7.scan(x, s7.initial_state(1).to(x.dtype), torch.zeros(len(x), 1, dtype=torch.bool))


@every_rotation_and_input
def test_a_million_steps_stay_finite_within_the_bound_and_near_those_in_float64(
    make: Callable[[S7], Tensor], rotation: float
) -> None:
    r"""With r = max_k |a_k| < 1 and b the largest input of a mode, |x_k| <= b / (1 - r), rotating or not.

    A step rounds a handful of times, by 2^-24 of the state each, and what it got wrong is forgotten as the state is:
    the error stays below a handful of 2^-24 / (1 - r) of the largest state, however many steps there are.
    """
    s7, double = layer(rotation), layer(rotation).double()
    x = make(s7)
    y, state = run(s7, x)
    assert y.isfinite().all()
    assert state.isfinite().all()

    wanted, wanted_state = run(double, x.double())
    magnitude, inputs = magnitudes_and_inputs(double, x.double())
    slowest = magnitude.amax(dim=(0, 1))
    assert (slowest < 1).all()
    assert (modulus(double, wanted_state) <= (1 + 1e-6) * inputs.amax(dim=(0, 1)) / (1 - slowest)).all()
    tolerance = max(1e-5, 8 * 2.0**-24 / (1 - slowest.max().item()))
    assert ((y - wanted).abs().max() / wanted.abs().max()).item() < tolerance


@every_rotation
def test_a_million_random_steps_in_float32_are_those_in_float64_to_5_digits(rotation: float) -> None:
    s7, double = layer(rotation, longest=1e3), layer(rotation, longest=1e3).double()
    x = random_input(s7)
    (got, _), (wanted, _) = run(s7, x), run(double, x.double())
    assert ((got - wanted).norm() / wanted.norm()).item() < 1e-5
    assert ((got - wanted)[-1000:].norm() / wanted[-1000:].norm()).item() < 1e-5


def test_what_a_slow_mode_keeps_over_its_time_constant_is_right_to_4_digits_in_float32() -> None:
    """Its transition itself, 1 - 1e-5, has only three digits in float32: a x in place of x - (1 - a) x is 0.1 % off."""
    s7 = S7(H, d_state=N, rotation=0.0, horizon=(2.0, 1e5), token_shift=None)
    x = torch.zeros(100_001, 1, H)
    x[0] = 1.0
    first, last = run(s7, x[:1])[1][0, N - 1], run(s7, x)[1][0, N - 1]
    w = s7.w_0[N - 1].double().item()
    assert (last / first).item() == pytest.approx((1 - 1 / (w**2 + 0.5)) ** 100_000, rel=1e-4)


@pytest.mark.parametrize("selectivity", ["diagonal", "low_rank"])
def test_a_layer_in_bfloat16_remembers_as_one_in_float32(selectivity: Selectivity) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        narrow = S7(8, d_state=16, selectivity=selectivity).bfloat16()
        wide = S7(8, d_state=16, selectivity=selectivity)
    wide.load_state_dict(narrow.state_dict())
    x = torch.randn(2000, 1, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    (got, _), (expected, _) = run(narrow, x), run(wide, x.float())
    assert ((got - expected)[-100:].norm() / expected[-100:].norm()).item() < 0.05


def modulus(s7: S7, state: Tensor) -> Tensor:
    """|x| of every mode, of states or of inputs that are laid out as states."""
    still = N - len(s7.angle)
    real, imaginary = state[..., :N], state[..., N : N + len(s7.angle)]
    return torch.cat([real[..., :still].abs(), torch.hypot(real[..., still:], imaginary)], dim=-1)


def magnitudes_and_inputs(s7: S7, u: Tensor) -> tuple[Tensor, Tensor]:
    """|a_k| and the modulus of what is added to the state, at every step and for every mode."""
    assert s7.mu is not None
    assert s7.selection is not None
    with torch.no_grad():
        select = s7.selection(u)
        a, gain = transition(s7.w_0 * (1 + select[..., :N]), input_scale=s7.input_scale, offset=s7.offset)
        driven = s7.input(u - s7.mu * torch.cat([torch.zeros_like(u[:1]), u[:-1]]))
        return a.abs(), gain * (1 + select[..., N : 2 * N]).abs() * modulus(s7, driven)


@every_rotation
@pytest.mark.parametrize("lag", [10, 1_000, 100_000])
def test_the_gradient_of_the_first_input_neither_vanishes_nor_explodes_up_to_the_initial_horizon(
    rotation: float, lag: int
) -> None:
    s7 = layer(rotation, spread=0.0)
    x = torch.randn(lag + 1, 1, H, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y, _ = s7.scan(x, s7.initial_state(1), torch.zeros(lag + 1, 1, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(y[-1].sum(), x)
    assert gradient.isfinite().all()
    first = gradient[0].norm().item()
    assert 1e-30 < first < 10.0
    assert gradient.norm(dim=-1).max().item() < 100.0


@pytest.mark.parametrize("w", [0.0, -0.0, 1e-20, -1e-3, 0.5**0.5, 1.0, 1e3, 1e10, 3e38, float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_w_makes_a_mode_grow_and_only_0_and_those_beyond_the_precision_keep_it(w: float, dtype: torch.dtype) -> None:
    a, _ = transition(torch.tensor([w], dtype=dtype), input_scale=0.0, offset=0.5)
    assert abs(a.item()) <= 1.0
    if 1e-3 <= abs(w) <= 1e3:
        assert abs(a.item()) < 1.0
