"""The linear scan against an independent loop over complex numbers in numpy.

Every property holds for every backend; Triton runs on a GPU (``make gpu``).  Under ``TRITON_INTERPRET=1`` Triton alone
runs, on the CPU and slowly, hence with shorter sequences and fewer examples; test_triton_scan.py runs this file so.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from s7rl import linear_scan, linear_scan_reference

Array = NDArray[Any]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BACKENDS = ["triton"] if INTERPRETED else ["numba", "reference", "torch", "triton"]
LONGEST, EXAMPLES, GRADIENT_EXAMPLES = (14, 6, 4) if INTERPRETED else (300, 60, 25)


class Scan(Protocol):
    """What linear_scan looks like."""

    def __call__(
        self, a: Tensor, b: Tensor, initial: Tensor, reset: Tensor | None = None, angle: Tensor | None = None
    ) -> Tensor: ...


def scan_by(
    backend: str, a: Tensor, b: Tensor, initial: Tensor, reset: Tensor | None = None, angle: Tensor | None = None
) -> Tensor:
    """linear_scan by one backend, on the device that it serves; arguments and result are on the CPU."""
    device = "cuda" if backend == "triton" and not INTERPRETED else "cpu"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S7RL_SCAN", backend)
        optional = (None if x is None else x.to(device) for x in (reset, angle))
        return linear_scan(a.to(device), b.to(device), initial.to(device), *optional).cpu()


SCANS = {
    name: pytest.param(
        partial(scan_by, name), id=name, marks=[pytest.mark.gpu] if name == "triton" and not INTERPRETED else []
    )
    for name in BACKENDS
}
by_every_backend = pytest.mark.parametrize("scan", SCANS.values())
in_half_precision = pytest.mark.parametrize("scan", [scan for name, scan in SCANS.items() if name != "numba"])


class Case(NamedTuple):
    """The arguments of a scan, in the order in which it takes them."""

    a: Tensor
    b: Tensor
    initial: Tensor
    reset: Tensor
    angle: Tensor

    def leaves(self) -> Case:
        """The same with fresh tensors that collect gradients."""
        a, b, initial, angle = (x.clone().requires_grad_() for x in (self.a, self.b, self.initial, self.angle))
        return Case(a, b, initial, self.reset, angle)

    def gradients(self) -> dict[str, Tensor]:
        """What the leaves have collected, zeros where the gradient is no tensor at all."""
        named = {"a": self.a, "b": self.b, "initial": self.initial, "angle": self.angle}
        return {name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in named.items()}


def draw(
    steps: int,
    batch: int,
    modes: int,
    rotating: int,
    *,
    seed: int = 0,
    resets: float = 0.1,
    dtype: torch.dtype = torch.float64,
) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    a = (torch.rand(steps, batch, modes, generator=generator, dtype=torch.float64) * 2 - 1).to(dtype)
    reset = torch.rand(steps, batch, generator=generator) < resets
    width = modes + rotating
    return Case(a, normal(steps, batch, width), normal(batch, width), reset, normal(rotating))


def complex_loop(case: Case) -> Array:
    """X <- a e^{i theta} x + b, row by row and step by step, on one complex number per mode."""
    a, b, initial, reset, angle = (x.double().numpy() if x.dtype != torch.bool else x.numpy() for x in case)
    steps, batch, modes = a.shape
    still = modes - len(angle)

    def to_complex(parts: Array) -> Array:
        return parts[:modes] + 1j * np.concatenate([np.zeros(still), parts[modes:]])

    turn = np.exp(1j * np.concatenate([np.zeros(still), angle]))
    states = np.empty(b.shape)
    for row in range(batch):
        x = to_complex(initial[row])
        for t in range(steps):
            kept = np.zeros(modes) if reset[t, row] else a[t, row] * turn * x
            x = kept + to_complex(b[t, row])
            states[t, row] = np.concatenate([x.real, x.imag[still:]])
    return states


@st.composite
def cases(draw_: st.DrawFn) -> Case:
    modes = draw_(st.integers(1, 19))
    return draw(
        draw_(st.integers(1, LONGEST)),
        draw_(st.integers(1, 4)),
        modes,
        draw_(st.integers(0, modes)),
        seed=draw_(st.integers(0, 2**31)),
        resets=draw_(st.sampled_from([0.0, 0.02, 0.5, 1.0])),
        dtype=draw_(st.sampled_from([torch.float32, torch.float64])),
    )


@by_every_backend
@settings(max_examples=EXAMPLES)
@given(case=cases())
def test_the_scan_is_the_loop_over_complex_numbers(case: Case, scan: Scan) -> None:
    got = scan(*case)
    assert got.dtype == case.b.dtype
    tolerance = 1e-5 if got.dtype == torch.float32 else 1e-11
    expected = complex_loop(case)
    scale = 1.0 + np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=tolerance)


@by_every_backend
@settings(max_examples=GRADIENT_EXAMPLES)
@given(case=cases())
def test_all_gradients_are_those_of_the_reference(case: Case, scan: Scan) -> None:
    weight = torch.randn(case.b.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, theirs = case.leaves(), Case(*(x if x.dtype == torch.bool else x.double() for x in case)).leaves()
    (scan(*ours) * weight).sum().backward()
    (linear_scan_reference(*theirs) * weight).sum().backward()
    tolerance = 1e-4 if case.b.dtype == torch.float32 else 1e-11
    for (name, got), expected in zip(ours.gradients().items(), theirs.gradients().values(), strict=True):
        scale = 1.0 + float(expected.abs().max()) if expected.numel() else 1.0
        np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=tolerance, err_msg=name)


@by_every_backend
@pytest.mark.parametrize("rotating", [0, 1, 3])
@pytest.mark.parametrize("resets", [0.0, 0.4])
def test_all_gradients_are_difference_quotients(rotating: int, resets: float, scan: Scan) -> None:
    case = draw(5, 2, 3, rotating, resets=resets, seed=3).leaves()

    def states(a: Tensor, b: Tensor, initial: Tensor, angle: Tensor) -> Tensor:
        return scan(a, b, initial, case.reset, angle)

    assert torch.autograd.gradcheck(states, (case.a, case.b, case.initial, case.angle), fast_mode=INTERPRETED)


@by_every_backend
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("rotating", [0, 2, 5])
def test_a_transition_of_exactly_0_or_of_magnitude_1_has_exact_values_and_gradients(
    value: float, rotating: int, scan: Scan
) -> None:
    case = draw(min(40, LONGEST), 2, 5, rotating, seed=4)
    case = case._replace(a=torch.full_like(case.a, value))
    np.testing.assert_allclose(scan(*case), complex_loop(case), rtol=1e-11, atol=1e-11)
    ours, theirs = case.leaves(), case.leaves()
    scan(*ours).square().sum().backward()
    linear_scan_reference(*theirs).square().sum().backward()
    for got, expected in zip(ours.gradients().values(), theirs.gradients().values(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@by_every_backend
@pytest.mark.parametrize("rotating", [0, 2])
@pytest.mark.parametrize("broken", [np.inf, np.nan])
@pytest.mark.parametrize("at", [2, 3])  # on either side of a pair, where neighbours are combined
def test_a_broken_state_ends_with_its_episode(broken: float, rotating: int, at: int, scan: Scan) -> None:
    case = draw(9, 2, 3, rotating, resets=0.0)
    case.b[at, 0] = broken
    case.reset[5] = True
    states = scan(*case)
    assert states[:at].isfinite().all()
    assert not states[at:5, 0].isfinite().any()
    assert states[5:].isfinite().all()
    assert states[:, 1].isfinite().all(), "another row's"


@by_every_backend
@pytest.mark.parametrize("rotating", [0, 2])
@pytest.mark.parametrize("broken", [np.inf, np.nan])
def test_a_broken_gradient_reaches_nothing_before_its_episode(broken: float, rotating: int, scan: Scan) -> None:
    case = draw(9, 1, 3, rotating, resets=0.0)
    case.reset[5] = True
    ours = case.leaves()
    weight = torch.ones_like(case.b)
    weight[7] = broken
    (scan(*ours) * weight).sum().backward()
    gradients = ours.gradients()
    for name in ("a", "b"):
        assert gradients[name][:5].isfinite().all(), name
        assert not gradients[name][7].isfinite().any(), name
    assert gradients["initial"].isfinite().all()


@by_every_backend
@pytest.mark.parametrize("rotating", [0, 2])
def test_a_broken_initial_state_reaches_no_value_and_no_gradient_if_the_first_step_starts_an_episode(
    rotating: int, scan: Scan
) -> None:
    case = draw(4, 2, 3, rotating, resets=0.0)
    case.reset[0] = True
    broken = case._replace(initial=torch.full_like(case.initial, torch.inf)).leaves()
    states = scan(*broken)
    torch.testing.assert_close(states.detach(), scan(*case), rtol=0, atol=0)
    states.square().sum().backward()
    for name, gradient in broken.gradients().items():
        assert gradient.isfinite().all(), name
    assert not broken.gradients()["initial"].any()


@by_every_backend
def test_without_resets_and_angles_it_is_the_plain_real_scan(scan: Scan) -> None:
    a = torch.tensor([0.5, 2.0, -1.0]).reshape(3, 1, 1)
    b = torch.tensor([1.0, 0.0, 3.0]).reshape(3, 1, 1)
    assert scan(a, b, torch.tensor([[4.0]])).flatten().tolist() == [3.0, 6.0, -3.0]


@by_every_backend
@pytest.mark.parametrize("sizes", [(1, 1), (1, 3), (7, 1)])
@pytest.mark.parametrize("rotating", [0, 2])
def test_a_transition_of_size_1_in_time_or_batch_stands_for_all(
    sizes: tuple[int, int], rotating: int, scan: Scan
) -> None:
    case = draw(7, 3, 5, rotating, resets=0.2)
    short, full = case.leaves(), case.leaves()
    short = short._replace(a=case.a[: sizes[0], : sizes[1]].clone().requires_grad_())
    full = full._replace(a=short.a.detach().expand(7, 3, 5).clone().requires_grad_())
    one, other = scan(*short), scan(*full)
    torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
    (one * case.b).sum().backward()
    (other * case.b).sum().backward()
    total = full.gradients()["a"].sum_to_size(*sizes, 5)
    torch.testing.assert_close(short.gradients()["a"], total)
    for name in ("b", "initial", "angle"):
        torch.testing.assert_close(short.gradients()[name], full.gradients()[name], msg=name)


@pytest.mark.parametrize("sizes", [(2, 3), (7, 2)])
def test_a_transition_of_another_size_is_refused(sizes: tuple[int, int]) -> None:
    unchecked = getattr(linear_scan, "__wrapped__", linear_scan)
    with pytest.raises(ValueError, match=r"^a has shape [^\n]+$"):
        unchecked(torch.zeros(*sizes, 5), torch.zeros(7, 3, 5), torch.zeros(3, 5))


@by_every_backend
def test_an_eighth_of_a_turn_comes_back_after_eight_steps(scan: Scan) -> None:
    a, b = torch.ones(8, 1, 1, dtype=torch.float64), torch.zeros(8, 1, 2, dtype=torch.float64)
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    states = scan(a, b, start, None, torch.tensor([np.pi / 4], dtype=torch.float64))[:, 0]
    torch.testing.assert_close(states[1], torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(states[7], start[0])


@by_every_backend
def test_tensors_of_any_memory_layout_give_the_same_and_are_not_changed(scan: Scan) -> None:
    case = draw(6, 3, 4, 2, resets=0.3)
    strided = Case(
        case.a.transpose(0, 2).contiguous().transpose(0, 2),
        case.b.flip(0).flip(0).transpose(0, 1).contiguous().transpose(0, 1),
        case.initial.t().contiguous().t(),
        case.reset.t().contiguous().t(),
        case.angle,
    )
    before = [x.clone() for x in strided]
    torch.testing.assert_close(scan(*strided), scan(*case), rtol=1e-14, atol=1e-14)
    for x, y in zip(strided, before, strict=True):
        assert torch.equal(x, y)


@in_half_precision
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rotating", [0, 2])
def test_half_precision_loses_no_more_than_its_own_digits(scan: Scan, dtype: torch.dtype, rotating: int) -> None:
    case = draw(min(30, LONGEST), 2, 4, rotating, dtype=dtype)
    ours, exact = case.leaves(), Case(*(x if x.dtype == torch.bool else x.double() for x in case)).leaves()
    states, expected = scan(*ours), linear_scan_reference(*exact)
    assert states.dtype == dtype
    states.sum().backward()
    expected.sum().backward()
    close = partial(np.testing.assert_allclose, rtol=0.01, atol=0.03)
    close(states.double().detach(), expected.detach())
    for (name, got), wanted in zip(ours.gradients().items(), exact.gradients().values(), strict=True):
        assert got.dtype == dtype
        close(got.double(), wanted, err_msg=name)


@in_half_precision
def test_a_turn_keeps_the_magnitude_of_the_state_in_half_precision(scan: Scan) -> None:
    steps, angle = min(500, 5 * LONGEST), torch.tensor([0.3, 1.1, 2.5], dtype=torch.bfloat16)
    a, b = (torch.full((steps, 1, n), value, dtype=torch.bfloat16) for n, value in ((3, 1.0), (6, 0.0)))
    start, reset = torch.ones(1, 6, dtype=torch.bfloat16), torch.zeros(steps, 1, dtype=torch.bool)
    last = scan(a, b, start, reset, angle)[-1, 0].float()
    torch.testing.assert_close(torch.hypot(last[:3], last[3:]), torch.full((3,), 2**0.5), rtol=0.01, atol=0)


@by_every_backend
def test_a_wider_transition_than_the_input_is_taken_and_gets_a_gradient_of_its_own_width(scan: Scan) -> None:
    case = draw(min(30, LONGEST), 2, 4, 2, dtype=torch.float32)
    mixed, plain = case.leaves(), case.leaves()
    mixed = mixed._replace(a=case.a.double().requires_grad_())
    states = scan(*mixed)
    torch.testing.assert_close(states.float(), scan(*plain), rtol=1e-5, atol=1e-5)
    states.float().square().sum().backward()
    scan(*plain).square().sum().backward()
    assert mixed.gradients()["a"].dtype == torch.float64
    torch.testing.assert_close(mixed.gradients()["a"].float(), plain.gradients()["a"], rtol=1e-3, atol=1e-3)


@by_every_backend
def test_the_gradient_of_an_earlier_episode_is_exactly_0(scan: Scan) -> None:
    case = draw(20, 1, 6, 3, resets=0.0)
    case.reset[12] = True
    ours = case.leaves()
    scan(*ours)[12:].square().sum().backward()
    gradients = ours.gradients()
    assert not gradients["b"][:12].any()
    assert not gradients["a"][:13].any()
    assert not gradients["initial"].any()
    assert gradients["b"][12:].all()


@pytest.mark.parametrize(("width", "rotating"), [(4, None), (4, 0), (3, 1), (6, 2)])
def test_widths_that_do_not_fit_together_are_refused_in_one_line(width: int, rotating: int | None) -> None:
    angle = None if rotating is None else torch.zeros(rotating)
    with pytest.raises(ValueError, match=rf"^b has width {width}, but 3 modes of which {rotating or 0} rotate[^\n]*$"):
        linear_scan(torch.zeros(2, 1, 3), torch.zeros(2, 1, width), torch.zeros(1, width), None, angle)


def test_a_scan_of_no_steps_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^there are no time steps[^\n]*$"):
        linear_scan(torch.zeros(0, 1, 3), torch.zeros(0, 1, 3), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("name", "initial", "reset"),
    [("initial", (1, 3), (4, 8)), ("initial", (8, 2), (4, 8)), ("reset", (8, 3), (4, 1)), ("reset", (8, 3), (3, 8))],
)
def test_a_shape_that_the_kernel_would_read_beyond_is_refused(
    name: str, initial: tuple[int, int], reset: tuple[int, int]
) -> None:
    # Without the hook that checks shapes in tests: users do not have it.
    unchecked = getattr(linear_scan, "__wrapped__", linear_scan)
    with pytest.raises(ValueError, match=rf"^{name} has shape [^\n]+$"):
        unchecked(
            torch.zeros(4, 8, 3), torch.zeros(4, 8, 3), torch.zeros(initial), torch.zeros(reset, dtype=torch.bool)
        )
