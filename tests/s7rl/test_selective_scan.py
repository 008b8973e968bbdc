"""The inside of the S7 layer against its equations, written as a loop over complex numbers in numpy.

Mutations seen to fail: the gradient of what spreads the modulations out taken from one row alone; that of the selection
taken from the modulations instead of their gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from s7rl.selective_scan import INPUT_SCALES, selective_scan, selective_scan_reference

Array = NDArray[Any]
DIFFERENTIABLE = ("selection", "spread", "driven", "u", "w_0", "skip", "angle", "initial")
every_scale = pytest.mark.parametrize("scale", INPUT_SCALES)
every_offset = pytest.mark.parametrize("offset", [0.5, 1.0])


class Case(NamedTuple):
    """The arguments of a selective scan."""

    selection: Tensor
    spread: Tensor
    """With no row where the selection is the modulations."""
    driven: Tensor
    u: Tensor
    w_0: Tensor
    skip: Tensor
    angle: Tensor
    initial: Tensor
    reset: Tensor

    @property
    def differentiable(self) -> tuple[str, ...]:
        return tuple(name for name in DIFFERENTIABLE if name != "spread" or len(self.spread))

    def leaves(self, dtype: torch.dtype | None = None) -> Case:
        """The same with fresh tensors that collect gradients."""
        fresh = {name: getattr(self, name).to(dtype).clone().requires_grad_() for name in self.differentiable}
        return self._replace(**fresh)

    def run(self, function: Any, *, scale: float = 0.25, offset: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
        selection, spread, *others = self
        result: tuple[Tensor, Tensor, Tensor] = function(
            selection, *others, spread=spread if len(spread) else None, input_scale=scale, offset=offset
        )
        return result


def draw(
    steps: int,
    batch: int,
    modes: int,
    rotating: int,
    features: int = 3,
    *,
    seed: int = 0,
    resets: float = 0.1,
    rank: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    generator = torch.Generator().manual_seed(seed)
    width = modes + rotating

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    modulations = 2 * modes + width + features
    return Case(
        selection=0.5 * normal(steps, batch, rank or modulations),
        spread=normal(rank, modulations),
        driven=normal(steps, batch, width),
        u=normal(steps, batch, features),
        w_0=2 * normal(modes),
        skip=normal(features),
        angle=normal(rotating),
        initial=normal(batch, width),
        reset=torch.rand(steps, batch, generator=generator) < resets,
    )


def complex_loop(case: Case, power: float, offset: float) -> tuple[Array, Array, Array]:
    """The equations at the head of the module, row by row, step by step, mode by mode."""
    selection, spread, driven, u, w_0, skip, angle, initial = (x.double().numpy() for x in case[:-1])
    steps, batch, width = driven.shape
    modes, rotating = len(w_0), len(angle)
    theta = [0.0] * (modes - rotating) + list(angle)
    read, skipped, last = np.empty_like(driven), np.empty_like(u), np.empty_like(initial)

    def imaginary_column(n: int) -> int | None:
        return None if n < modes - rotating else n + rotating

    for row in range(batch):
        x = [complex(initial[row, n], 0.0) for n in range(modes)]
        for n in range(modes - rotating, modes):
            x[n] += 1j * initial[row, n + rotating]
        for t in range(steps):
            s = selection[t, row] @ spread if len(spread) else selection[t, row]
            s_c, s_d = s[2 * modes : 2 * modes + width], s[2 * modes + width :]
            for n in range(modes):
                magnitude = 1 - 1 / ((w_0[n] * (1 + s[n])) ** 2 + offset)
                j = imaginary_column(n)
                v = complex(driven[t, row, n], 0.0 if j is None else driven[t, row, j])
                before = 0.0 if case.reset[t, row] else x[n]
                gain = (1 - magnitude) ** power * (1 + s[modes + n])
                x[n] = magnitude * np.exp(1j * theta[n]) * before + gain * v
                read[t, row, n] = (1 + s_c[n]) * x[n].real
                last[row, n] = x[n].real
                if j is not None:
                    read[t, row, j] = (1 + s_c[j]) * x[n].imag
                    last[row, j] = x[n].imag
            skipped[t, row] = (skip + s_d) * u[t, row]
    return read, skipped, last


def loss(results: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """A number on which every result has a different influence everywhere."""
    total = torch.zeros((), dtype=torch.float64)
    for k, result in enumerate(results):
        weight = torch.randn(result.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        total = total + (result * weight).sum()
    return total


@st.composite
def cases(draw_: st.DrawFn, longest: int = 60) -> Case:
    modes = draw_(st.integers(1, 11))
    return draw(
        draw_(st.integers(1, longest)),
        draw_(st.integers(1, 3)),
        modes,
        draw_(st.integers(0, modes)),
        draw_(st.integers(1, 5)),
        seed=draw_(st.integers(0, 2**31)),
        resets=draw_(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        rank=draw_(st.sampled_from([0, 0, 1, 2, 5])),
        dtype=draw_(st.sampled_from([torch.float32, torch.float64])),
    )


@every_scale
@every_offset
@settings(max_examples=12)
@given(case=cases())
def test_the_scan_is_its_equations(scale: float, offset: float, case: Case) -> None:
    expected = complex_loop(case, scale, offset)
    tolerance = 1e-4 if case.u.dtype == torch.float32 else 1e-11
    for function in (selective_scan, selective_scan_reference):
        results = case.run(function, scale=scale, offset=offset)
        for name, got, wanted in zip(("read", "skipped", "last"), results, expected, strict=True):
            assert got.dtype == case.u.dtype
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance, err_msg=name)


@every_scale
@every_offset
@settings(max_examples=8)
@given(case=cases(longest=300))
def test_all_gradients_are_those_of_the_reference(scale: float, offset: float, case: Case) -> None:
    ours, theirs = case.leaves(), case.leaves(torch.float64)
    loss(ours.run(selective_scan, scale=scale, offset=offset)).backward()
    loss(theirs.run(selective_scan_reference, scale=scale, offset=offset)).backward()
    tolerance = 1e-3 if case.u.dtype == torch.float32 else 1e-10
    for name in ours.differentiable:
        got, expected = getattr(ours, name).grad, getattr(theirs, name).grad
        size = 1.0 + float(expected.abs().max()) if expected.numel() else 1.0
        np.testing.assert_allclose(got / size, expected / size, rtol=0, atol=tolerance, err_msg=name)


@every_scale
@pytest.mark.parametrize(("rotating", "rank"), [(0, 0), (1, 2), (3, 1)])
def test_all_gradients_are_difference_quotients(scale: float, rotating: int, rank: int) -> None:
    case = draw(4, 2, 3, rotating, 2, resets=0.3, rank=rank, seed=8).leaves()

    def scan(*tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given_ = case._replace(**dict(zip(case.differentiable, tensors, strict=True)))
        return given_.run(selective_scan, scale=scale)

    assert case.reset.any()
    assert torch.autograd.gradcheck(scan, tuple(getattr(case, name) for name in case.differentiable))


@every_scale
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("w", [0.0, 0.5**0.5, -(0.5**0.5), 1e-30, 1e8, 1e20])
def test_values_and_gradients_are_finite_where_the_transition_is_minus_1_or_0_or_1(
    scale: float, dtype: torch.dtype, w: float
) -> None:
    case = draw(30, 2, 4, 2, dtype=dtype)
    case.w_0[:] = w
    case.selection[..., :4] = 0.0  # the modulation of w
    ours, theirs = case.leaves(), case.leaves(torch.float64)
    results = ours.run(selective_scan, scale=scale)
    assert all(result.isfinite().all() for result in results)
    loss(results).backward()
    loss(theirs.run(selective_scan_reference, scale=scale)).backward()
    for name in ours.differentiable:
        got, expected = getattr(ours, name).grad, getattr(theirs, name).grad
        size = 1.0 + float(expected.abs().max())
        np.testing.assert_allclose(got / size, expected / size, rtol=0, atol=1e-4, err_msg=name)


def test_acting_without_gradients_gives_what_learning_sees() -> None:
    case = draw(7, 3, 5, 2)
    learning = case.leaves().run(selective_scan)
    with torch.no_grad():
        acting = case.run(selective_scan)
    for one, other in zip(acting, learning, strict=True):
        assert torch.equal(one, other)
        assert not one.requires_grad


def test_a_gradient_that_reaches_one_result_only_leaves_out_the_others() -> None:
    for k in range(3):
        ours, theirs = draw(6, 2, 4, 2).leaves(), draw(6, 2, 4, 2).leaves()
        ours.run(selective_scan, scale=0.5)[k].square().sum().backward()
        expected = theirs.run(selective_scan_reference, scale=0.5)[k]
        expected.square().sum().backward()
        for name in ours.differentiable:
            reference = getattr(theirs, name).grad
            torch.testing.assert_close(
                getattr(ours, name).grad, torch.zeros_like(getattr(theirs, name)) if reference is None else reference
            )


@pytest.mark.parametrize("broken", [np.inf, np.nan])
def test_a_broken_state_ends_with_its_episode(broken: float) -> None:
    case = draw(6, 2, 3, 1, resets=0.0)
    case.initial[0] = broken
    case.reset[3] = True
    read, _, last = case.run(selective_scan)
    assert not read[2, 0].isfinite().all()
    assert read[3:].isfinite().all()
    assert last.isfinite().all()


def test_the_gradient_of_an_earlier_episode_is_exactly_0() -> None:
    case = draw(12, 1, 4, 2, resets=0.0)
    case.reset[5] = True
    ours = case.leaves()
    read, _, last = ours.run(selective_scan)
    (read[5:].square().sum() + last.square().sum()).backward()
    for name in ("driven", "selection"):
        assert not getattr(ours, name).grad[:5].any(), name
        assert getattr(ours, name).grad[5:].any(), name
    assert not ours.initial.grad.any()  # type: ignore[union-attr]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("selection", "spread"), [((3, 2, 13), None), ((1, 2, 14), None), ((3, 2, 2), (3, 14)), ((3, 2, 2), (2, 9))]
)
def test_modulations_that_the_kernel_would_read_beyond_are_refused(
    selection: tuple[int, ...], spread: tuple[int, ...] | None
) -> None:
    # Mutation: without the check, the kernel gives what stands behind in memory.
    case = draw(3, 2, 4, 0, 2)._replace(selection=torch.zeros(selection, dtype=torch.float64))
    case = case._replace(spread=torch.zeros(spread or (0, 14), dtype=torch.float64))
    with pytest.raises(ValueError, match=r"^selection has shape [^\n]+ need 14 modulations: [^\n]+$"):
        case.run(selective_scan)
