"""A core with random weights, a batch of sequences for it, and all that it makes of them: for comparisons."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from s7rl import Core, core_options, make_core

WIDTH = 6
SMALL: dict[str, dict[str, int]] = {
    "s4d": {"d_state": 3},
    "mamba": {"d_state": 3},
    "gtrxl": {"window": 5, "n_heads": 2, "d_head": 3},
    "stack": {"n_frames": 3},
}
"""Sizes at which a short sequence is longer than a window."""


class Case(NamedTuple):
    """A core with random weights and a batch of sequences for it."""

    core: Core
    x: Tensor
    state: Tensor
    reset: Tensor
    cut: int
    """A time from 1 to T - 1."""

    def on(self, device: str) -> Case:
        """The same elsewhere, with its own weights."""
        x, state = (tensor.detach().to(device).requires_grad_() for tensor in (self.x, self.state))
        return Case(copy.deepcopy(self.core).to(device), x, state, self.reset.to(device), self.cut)

    def scan(self) -> tuple[Tensor, Tensor]:
        return self.core.scan(self.x, self.state, self.reset)


def build(name: str, n_blocks: int, dtype: torch.dtype, seed: int, *, spread: float = 0.3, small: bool = True) -> Core:
    """A core none of whose parameters is what the constructor made of it: a random number is added to each.

    The selection of S7 starts at zero: nothing selective would be tested.
    """
    options = SMALL.get(name, {"d_state": 5} if "d_state" in core_options(name) else {}) if small else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        core = make_core(name, d_model=WIDTH, n_blocks=n_blocks, **options).to(dtype)
        with torch.no_grad():
            for parameter in core.parameters():
                parameter.add_(spread * torch.randn_like(parameter))
    return core


def make(core: Core, *, steps: int, cut: int, batch: int, seed: int, resets: float) -> Case:
    """Random inputs and resets, of which ``resets`` is the share, for a core on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    state = reachable_state(core, batch, seed)
    x = torch.randn(steps, batch, WIDTH, generator=generator, dtype=state.dtype, requires_grad=True)
    return Case(core, x, state, torch.rand(steps, batch, generator=generator) < resets, cut)


def reachable_state(core: Core, batch: int, seed: int) -> Tensor:
    """A state that the core itself came to, after one to nine random inputs: not every row of numbers is a state."""
    generator = torch.Generator().manual_seed(seed + 1)
    state = core.initial_state(batch)
    x = torch.randn(9, batch, WIDTH, generator=generator, dtype=state.dtype)
    starts = torch.arange(9)[:, None] == torch.randint(9, (batch,), generator=generator)
    with torch.no_grad():
        return core.scan(x, state, starts)[1].clone().requires_grad_()


def gradients(case: Case, y: Tensor, state: Tensor) -> list[Tensor]:
    """Of a number that depends on all outputs and on the last state, for inputs, initial state and weights."""
    generator = torch.Generator().manual_seed(9)
    total = (y * torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device)).sum()
    total = total + (state * torch.randn(state.shape, generator=generator, dtype=y.dtype).to(y.device)).sum()
    leaves = [case.x, case.state, *case.core.parameters()]
    return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


def assert_close(got: Tensor, expected: Tensor, single: float = 2e-4) -> None:
    """Up to 1e-9 in float64, and up to ``single`` in float32."""
    tolerance = 1e-9 if got.dtype == torch.float64 else single
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def assert_same_gradients(got: list[Tensor], expected: list[Tensor], single: float = 2e-4) -> None:
    """Each up to the tolerance times its largest."""
    for one, other in zip(got, expected, strict=True):
        scale = 1.0 + float(other.abs().max()) if other.numel() else 1.0
        assert_close(one / scale, other / scale, single)


def assert_same(case: Case, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> None:
    """Same outputs, same last state, same gradients."""
    for got, expected in zip(one, other, strict=True):
        assert_close(got, expected)
    assert_same_gradients(gradients(case, *one), gradients(case, *other))
