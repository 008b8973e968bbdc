"""Small cores, and what they make of random inputs, for comparison with their equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

from s7rl import Core

Array = NDArray[Any]
WIDTH, STEPS, BATCH = 3, 12, 2


def build(layer: Callable[..., Core], d_model: int = WIDTH, **options: Any) -> Core:
    """A core, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return layer(d_model, **options)


def numbers(core: Core) -> dict[str, Array]:
    """Its parameters by name."""
    return {name: parameter.detach().numpy() for name, parameter in core.named_parameters()}


def run(core: Core) -> tuple[Array, Array, Array, Array, Array]:
    """Random inputs, state and resets, and what the core makes of them."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(STEPS, BATCH, WIDTH, generator=generator, dtype=torch.double)
    state = torch.randn(BATCH, core.state_size, generator=generator, dtype=torch.double)
    reset = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    reset[5, 0] = reset[0, 1] = reset[9, 1] = True
    with torch.no_grad():
        y, last = core.scan(x, state, reset)
    return x.numpy(), state.numpy(), reset.numpy(), y.numpy(), last.numpy()
