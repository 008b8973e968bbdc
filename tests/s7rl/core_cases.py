"""Random cores and sequences, and comparisons of what the ones make of the others."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from s7rl import Core, make_core

WIDTH = 6


class Case(NamedTuple):
    """A core with random weights and a batch of sequences for it."""

    core: Core
    x: Tensor
    state: Tensor
    reset: Tensor

    def to(self, device: str) -> Case:
        """A copy on another device."""
        x, state = (tensor.detach().to(device).requires_grad_() for tensor in (self.x, self.state))
        return Case(copy.deepcopy(self.core).to(device), x, state, self.reset.to(device))

    def scan(self) -> tuple[Tensor, Tensor]:
        return self.core.scan(self.x, self.state, self.reset)


def random_core(name: str, n_blocks: int, dtype: torch.dtype, seed: int, *, noise: float = 0.3, **options: Any) -> Core:
    """A core with noise on every parameter: the selection of S7 starts at zero, nothing selective would be tested."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        core = make_core(name, d_model=WIDTH, n_blocks=n_blocks, **options).to(dtype)
        with torch.no_grad():
            for parameter in core.parameters():
                parameter.add_(noise * torch.randn_like(parameter))
    return core


def random_case(core: Core, *, steps: int, batch: int, seed: int, resets: float, before: int = 9) -> Case:
    """Random inputs and resets, of which ``resets`` is the share, for a core that has seen up to ``before`` steps."""
    generator = torch.Generator().manual_seed(seed)
    state = reachable_state(core, batch, seed, before)
    x = torch.randn(steps, batch, WIDTH, generator=generator, dtype=state.dtype, requires_grad=True)
    return Case(core, x, state, torch.rand(steps, batch, generator=generator) < resets)


def reachable_state(core: Core, batch: int, seed: int, steps: int) -> Tensor:
    """A state that the core itself came to, after 1 to ``steps`` inputs: not every row of numbers is a state."""
    generator = torch.Generator().manual_seed(seed + 1)
    state = core.initial_state(batch)
    x = torch.randn(steps, batch, WIDTH, generator=generator, dtype=state.dtype)
    starts = torch.arange(steps)[:, None] == torch.randint(steps, (batch,), generator=generator)
    with torch.no_grad():
        return core.scan(x, state, starts)[1].clone().requires_grad_()


def gradients(case: Case, y: Tensor, state: Tensor) -> list[Tensor]:
    """Of a number that depends on all outputs and on the last state, for inputs, initial state and weights."""
    generator = torch.Generator().manual_seed(9)
    total = (y * torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device)).sum()
    total = total + (state * torch.randn(state.shape, generator=generator, dtype=y.dtype).to(y.device)).sum()
    leaves = [case.x, case.state, *case.core.parameters()]
    return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


def assert_close(got: Tensor, expected: Tensor, float32_tolerance: float = 2e-4) -> None:
    """Up to 1e-9 in float64."""
    tolerance = 1e-9 if got.dtype == torch.float64 else float32_tolerance
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance, check_device=False)


def assert_same_gradients(got: list[Tensor], expected: list[Tensor], float32_tolerance: float = 2e-4) -> None:
    """Each close relative to 1 + its largest entry."""
    for one, other in zip(got, expected, strict=True):
        scale = 1.0 + float(other.abs().max()) if other.numel() else 1.0
        assert_close(one / scale, other / scale, float32_tolerance)


def assert_same(case: Case, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> None:
    """Same outputs, same last state, same gradients."""
    for got, expected in zip(one, other, strict=True):
        assert_close(got, expected)
    assert_same_gradients(gradients(case, *one), gradients(case, *other))
