"""What makes S7 S7: a stable transition, horizons, rotation, token shift."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s7rl import S7
from s7rl.selective_scan import selective_scan

Numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


def magnitude(w: float, dtype: torch.dtype = torch.float64) -> float:
    """What is left after one step of a state of 1 in a mode of that w."""
    none = torch.zeros(1, 1, 1, dtype=dtype)
    read, _, _ = selective_scan(
        torch.zeros(1, 1, 4, dtype=dtype),
        none,
        none,
        torch.tensor([w], dtype=dtype),
        torch.zeros(1, dtype=dtype),
        torch.zeros(0, dtype=dtype),
        torch.ones(1, 1, dtype=dtype),
        torch.zeros(1, 1, dtype=torch.bool),
        input_scale=0.0,
        offset=0.5,
    )
    return read.item()


def layer(**options: Any) -> S7:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return S7(options.pop("d_model", 4), **options)


def time_constants(s7: S7) -> Tensor:
    return s7.w_0.detach().double().square() + 0.5


@settings(max_examples=300)
@given(w=Numbers)
def test_no_real_w_makes_a_mode_grow(w: float) -> None:
    for dtype in (torch.float32, torch.float64):
        assert -1.0 <= magnitude(w, dtype) <= 1.0


@settings(max_examples=200)
@given(w=st.floats(1e-3, 1e7) | st.floats(-1e7, -1e-3))
def test_a_mode_forgets_unless_w_is_0_or_beyond_the_numbers_precision(w: float) -> None:
    assert abs(magnitude(w)) < 1.0
    assert magnitude(w) == magnitude(-w)


@pytest.mark.parametrize("tau", [10.0, 100.0, 3000.0])
def test_a_mode_is_down_to_1_over_e_after_its_time_constant(tau: float) -> None:
    once = magnitude(math.sqrt(tau - 0.5))
    assert once == pytest.approx(1 - 1 / tau, rel=1e-12)
    assert once**tau == pytest.approx(math.exp(-1), rel=0.6 / tau)
    assert once == pytest.approx(math.exp(-1 / tau), rel=1 / tau**2)


@pytest.mark.parametrize("horizon", [(2.0, 1000.0), (1.0, 50.0), (30.0, 1e5), (7.0, 7.0)])
def test_the_time_constants_of_still_modes_are_spread_evenly_in_the_logarithm(horizon: tuple[float, float]) -> None:
    taus = time_constants(layer(d_state=9, rotation=0.0, horizon=horizon))
    expected = [horizon[0] * (horizon[1] / horizon[0]) ** (k / 8) for k in range(9)]
    torch.testing.assert_close(taus, torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-4)


def test_rotating_modes_live_as_long_as_the_lags_that_their_angles_tell_apart() -> None:
    s7 = layer(d_state=40, rotation=0.5, horizon=(2.0, 30.0))
    taus = time_constants(s7)[20:].sort().values
    assert taus[0].item() == pytest.approx(20, rel=1e-4)
    assert taus[-1].item() == pytest.approx(80, rel=1e-4)
    ratios = taus[1:] / taus[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(19), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("share", "rotating"), [(0.0, 0), (0.1, 2), (0.5, 8), (1.0, 16)])
def test_the_share_of_rotating_modes_turns_by_angles_spread_over_half_a_turn(share: float, rotating: int) -> None:
    s7 = layer(d_state=16, rotation=share, token_shift=None)
    assert s7.state_size == 16 + rotating
    expected = torch.tensor([math.pi * k / rotating for k in range(1, rotating + 1)])
    torch.testing.assert_close(s7.angle, expected)
    assert not s7.angle.requires_grad


def test_a_rotating_mode_tells_exact_lags_and_a_still_mode_does_not() -> None:
    """An impulse through one mode of a quarter turn is back at 0 after one step and negative after two."""
    s7 = layer(d_model=1, d_state=2, rotation=1.0, token_shift=None, horizon=(1e6, 1e6))
    state, reset = s7.initial_state(1), torch.zeros(5, 1, dtype=torch.bool)
    with torch.no_grad():
        s7.skip.zero_()
        s7.input.weight.copy_(torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
        s7.output.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        impulse = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]).reshape(5, 1, 1)
        y = s7.scan(impulse, state, reset)[0].flatten()
    torch.testing.assert_close(y / y[0], torch.tensor([1.0, 0.0, -1.0, 0.0, 1.0]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("rotation", [0.0, 0.5])
def test_the_token_shift_keeps_a_constant_input_from_drowning_the_cue_before_it(rotation: float) -> None:
    generator = torch.Generator().manual_seed(0)
    constant = torch.randn(1, 1, 4, generator=generator).expand(400, 1, 4)
    reset = torch.zeros(400, 1, dtype=torch.bool)

    def last_modes(**options: Any) -> Tensor:
        s7 = layer(d_state=8, rotation=rotation, horizon=(500.0, 2000.0), **options)
        width = 8 + round(8 * rotation)
        with torch.no_grad():
            return s7.scan(constant, s7.initial_state(1), reset)[1][0, :width]

    with_all, without = last_modes(token_shift=1.0), last_modes(token_shift=None)
    first_step_only = layer(d_state=8, rotation=rotation, horizon=(500.0, 2000.0), token_shift=None)
    with torch.no_grad():
        cue = torch.cat([constant[:1], torch.zeros(399, 1, 4)])
        expected = first_step_only.scan(cue, first_step_only.initial_state(1), reset)[1][0]
    torch.testing.assert_close(with_all, expected, rtol=1e-4, atol=1e-5)
    assert without[: 8 - round(8 * rotation)].norm() > 50 * with_all[: 8 - round(8 * rotation)].norm()


@pytest.mark.parametrize("rectified", [True, False])
def test_rectified_changes_keep_the_cue_before_a_constant_and_plain_ones_telescope(rectified: bool) -> None:
    cue, constant = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([0.5, 0.5, -1.0, 2.0])
    s7 = layer(d_state=8, rotation=0.0, horizon=(1e7, 1e7), token_shift=1.0, rectified=rectified, input_scale=0.0)
    x = torch.cat([cue[None], constant.expand(400, 4)])[:, None]
    with torch.no_grad():
        modes = s7.scan(x, s7.initial_state(1), torch.zeros(401, 1, dtype=torch.bool))[1][0, :8]
    kept = cue.relu() + (constant - cue).relu() if rectified else constant
    torch.testing.assert_close(modes, s7.input(kept), rtol=1e-3, atol=1e-3)


def test_gradients_pass_through_rectified_changes_as_finite_differences_say() -> None:
    # Seen to fail it: the rectified changes detached.
    s7 = layer(d_state=4, token_shift=1.0, rectified=True).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, 4, generator=generator, dtype=torch.double, requires_grad=True)
    reset = torch.zeros(5, 2, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda u: s7.scan(u, s7.initial_state(2), reset), x)


def test_the_token_shift_reads_no_input_of_the_episode_before() -> None:
    s7 = layer(d_state=4, token_shift=1.0)
    x = torch.ones(2, 1, 4)
    with torch.no_grad():
        y, _ = s7.scan(x, s7.initial_state(1), torch.tensor([[True], [True]]))
    torch.testing.assert_close(y[1], y[0], rtol=0, atol=0)


def test_the_layer_begins_as_a_linear_time_invariant_system() -> None:
    s7 = layer(d_state=6)
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 20, 1, 4, generator=generator)
    reset = torch.zeros(20, 1, dtype=torch.bool)

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            return s7.scan(x, s7.initial_state(1), reset)[0]

    torch.testing.assert_close(run(one + 2 * other), run(one) + 2 * run(other), rtol=1e-4, atol=1e-4)
    later = torch.cat([torch.zeros(3, 1, 4), one[:-3]])
    torch.testing.assert_close(run(later)[3:], run(one)[:-3], rtol=1e-4, atol=1e-4)


def test_selection_makes_the_transition_depend_on_the_input() -> None:
    s7 = layer(d_state=6)
    with torch.no_grad():
        s7.get_parameter("selection.weight").fill_(0.3)
        double = s7.scan(torch.full((8, 1, 4), 2.0), s7.initial_state(1), torch.zeros(8, 1, dtype=torch.bool))[0]
        single = s7.scan(torch.full((8, 1, 4), 1.0), s7.initial_state(1), torch.zeros(8, 1, dtype=torch.bool))[0]
    assert not torch.allclose(double, 2 * single, rtol=0.1)


def test_20000_steps_in_float32_stay_finite_and_near_those_in_float64() -> None:
    single = layer(d_model=3, d_state=8, horizon=(2.0, 5000.0))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        single.get_parameter("selection.weight").normal_(std=0.1, generator=generator)
        double = layer(d_model=3, d_state=8, horizon=(2.0, 5000.0)).double()
        for mine, other in zip(double.parameters(), single.parameters(), strict=True):
            mine.copy_(other)
        double.angle.copy_(single.angle)
        x = torch.randn(20_000, 1, 3, generator=generator)
        reset = torch.zeros(20_000, 1, dtype=torch.bool)
        got, state = single.scan(x, single.initial_state(1), reset)
        expected, _ = double.scan(x.double(), double.initial_state(1), reset)
    assert state.isfinite().all()
    assert ((got - expected).norm() / expected.norm()).item() < 1e-4
    assert ((got - expected)[-100:].norm() / expected[-100:].norm()).item() < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_state": 0}, "d_state is 0"),
        ({"d_state": -3}, "d_state is -3"),
        ({"horizon": (0.5, 10.0)}, "horizon is (0.5, 10.0)"),
        ({"horizon": (10.0, 5.0)}, "horizon is (10.0, 5.0)"),
        ({"horizon": (0.7, 10.0), "reparameterization": "exp"}, "horizon is (0.7, 10.0)"),
        ({"horizon": (1.0, math.inf)}, "horizon is (1.0, inf)"),
        ({"horizon": (1.0, math.nan)}, "horizon is (1.0, nan)"),
        ({"rotation": -0.1}, "rotation is -0.1"),
        ({"rotation": 1.5}, "rotation is 1.5"),
        ({"token_shift": -1.0}, "token_shift is -1.0"),
        ({"token_shift": 2.0}, "token_shift is 2.0"),
        ({"input_scale": 0.3}, "input_scale is 0.3"),
        ({"d_model": 0}, "d_model is 0"),
    ],
)
def test_an_argument_out_of_its_range_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        layer(**options)
    assert str(caught.value).startswith(message)
    assert "pass" in str(caught.value)


def test_the_extremes_of_every_argument_work() -> None:
    for options in (
        {"d_state": 1, "rotation": 0.0},
        {"d_state": 1, "rotation": 1.0},
        {"horizon": (1.0, 1.0), "token_shift": 0.0, "input_scale": 0.0},
        {"token_shift": None, "input_scale": 0.5},
    ):
        s7 = layer(**options)
        y, state = s7.step(torch.ones(2, 4), s7.initial_state(2), torch.tensor([True, False]))
        assert y.isfinite().all()
        assert state.shape == (2, s7.state_size)


def test_a_layer_prints_its_sizes() -> None:
    assert "d_model=4, d_state=8, rotating=4" in repr(layer(d_state=8))


@pytest.mark.parametrize(
    "options", [{"token_shift": None}, {"token_shift": 0.9}, {"token_shift": 0.9, "rectified": True}]
)
@pytest.mark.parametrize("rank", [None, 2])
def test_acting_without_gradients_gives_what_learning_sees(options: dict[str, Any], rank: int | None) -> None:
    s7 = layer(d_state=6, rank=rank, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        s7.get_parameter("selection.weight").normal_(std=0.3, generator=generator)
    x = torch.randn(30, 3, 4, generator=generator)
    reset = torch.rand(30, 3, generator=generator) < 0.2
    assert reset[1:].any()
    start = torch.randn(3, s7.state_size, generator=generator)
    expected, last = s7.scan(x, start, reset)
    state, ys = start, []
    with torch.no_grad():
        for x_t, reset_t in zip(x, reset, strict=True):
            y, state = s7.step(x_t, state, reset_t)
            ys.append(y)
    torch.testing.assert_close(torch.stack(ys), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last.detach(), rtol=1e-5, atol=1e-5)
