"""Mamba against its paper's equations, and what its time scales begin as."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s7rl import Mamba

Array = NDArray[Any]
STEPS, BATCH = 12, 2


def build(**options: Any) -> Mamba:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Mamba(**options)


def numbers(core: Mamba) -> dict[str, Array]:
    return {name: parameter.detach().numpy() for name, parameter in core.named_parameters()}


def silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-x)))


@pytest.mark.parametrize(("d_model", "d_conv"), [(3, 4), (20, 2), (3, 1)])
def test_mamba_is_its_papers_layer(d_model: int, d_conv: int) -> None:
    n, channels, rank = 3, 2 * d_model, math.ceil(d_model / 16)
    core = build(d_model=d_model, d_state=n, d_conv=d_conv).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    x = torch.randn(STEPS, BATCH, d_model, generator=generator, dtype=torch.double)
    state = torch.randn(BATCH, core.state_size, generator=generator, dtype=torch.double)
    reset = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    reset[5, 0] = reset[6, 0] = reset[0, 1] = reset[10, 1] = True
    with torch.no_grad():
        y, last = core.scan(x, state, reset)

    p = numbers(core)
    w_rank, w_b, w_c = np.split(p["selection.weight"], [rank, rank + n])
    for row in range(BATCH):
        h = state[row, : channels * n].numpy().reshape(channels, n)
        past = list(state[row, channels * n :].numpy().reshape(d_conv - 1, channels))
        for k in range(STEPS):
            if reset[k, row]:
                h, past = np.zeros((channels, n)), [np.zeros(channels)] * (d_conv - 1)
            v, z = np.split(p["input.weight"] @ x[k, row].numpy(), 2)
            past.append(v)
            c = silu(sum(p["convolution"][j] * past[-1 - j] for j in range(d_conv)) + p["convolution_bias"])
            past = past[len(past) - d_conv + 1 :]
            step = np.log1p(np.exp(p["to_step.weight"] @ (w_rank @ c) + p["step_bias"]))
            b, out = w_b @ c, w_c @ c
            s = np.zeros(channels)
            for e in range(channels):
                for m in range(n):
                    a = -math.exp(p["log_decay"][e, m])
                    h[e, m] = math.exp(step[e] * a) * h[e, m] + step[e] * b[m] * c[e]
                    s[e] += out[m] * h[e, m]
            expected = p["output.weight"] @ ((s + p["skip"] * c) * silu(z))
            np.testing.assert_allclose(y[k, row], expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(last[row], np.concatenate([h.ravel(), *past]), rtol=1e-10, atol=1e-10)


def test_the_state_holds_the_modes_and_the_convolutions_window() -> None:
    assert build(d_model=5).state_size == 2 * 5 * 16 + 2 * 5 * 3
    assert build(d_model=5, d_state=7, expand=3, d_conv=1).state_size == 15 * 7


def test_the_initial_steps_are_spread_log_uniformly_and_the_decays_are_1_to_n() -> None:
    p = numbers(build(d_model=200, d_state=5, step_range=(0.01, 1.0)))
    steps = np.log1p(np.exp(p["step_bias"].astype(float)))
    uniform = np.sort(np.log(steps / 0.01) / math.log(100.0))
    np.testing.assert_allclose(uniform, np.linspace(0, 1, 400), atol=0.08)
    np.testing.assert_allclose(np.exp(p["log_decay"]), [[1, 2, 3, 4, 5]] * 400, rtol=1e-6)
    assert np.abs(p["to_step.weight"]).max() <= math.ceil(200 / 16) ** -0.5
    assert (p["skip"] == 1).all()


def test_by_default_the_slowest_modes_forget_within_10_to_1000_steps() -> None:
    steps = np.log1p(np.exp(numbers(build(d_model=64))["step_bias"].astype(float)))
    assert 0.001 <= steps.min() * (1 + 1e-5) < 0.0013
    assert 0.08 < steps.max() <= 0.1 + 1e-5
