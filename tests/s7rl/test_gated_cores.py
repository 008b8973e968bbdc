"""GRU, LSTM and minGRU against their equations, their initial horizons, and how often torch's kernels are called."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from s7rl import GRU, LSTM, Core, MinGRU
from tests.s7rl.core_runs import BATCH, STEPS, WIDTH, Array, build, numbers, run


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gru_step(p: dict[str, Array], u: Array, h: Array) -> tuple[Array, Array]:
    """Cho et al. 2014, with the reset gate after the product, as in cuDNN and torch."""
    r_u, z_u, n_u = np.split(p["gru.weight_ih_l0"] @ u + p["gru.bias_ih_l0"], 3)
    r_h, z_h, n_h = np.split(p["gru.weight_hh_l0"] @ h + p["gru.bias_hh_l0"], 3)
    z = sigmoid(z_u + z_h)
    h = (1 - z) * np.tanh(n_u + sigmoid(r_u + r_h) * n_h) + z * h
    return h, h


def lstm_step(p: dict[str, Array], u: Array, state: Array) -> tuple[Array, Array]:
    h, c = np.split(state, 2)
    both = p["lstm.weight_ih_l0"] @ u + p["lstm.bias_ih_l0"] + p["lstm.weight_hh_l0"] @ h + p["lstm.bias_hh_l0"]
    i, f, g, o = np.split(both, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, np.concatenate([h, c])


def mingru_step(p: dict[str, Array], u: Array, h: Array) -> tuple[Array, Array]:
    z = sigmoid(p["gate.weight"] @ u + p["gate_bias"])
    h = (1 - z) * h + z * (p["candidate.weight"] @ u + p["candidate.bias"])
    return h, h


@pytest.mark.parametrize(("layer", "step"), [(GRU, gru_step), (LSTM, lstm_step), (MinGRU, mingru_step)])
def test_a_gated_core_is_its_equations(
    layer: Callable[..., Core], step: Callable[[dict[str, Array], Array, Array], tuple[Array, Array]]
) -> None:
    core = build(layer).double()
    x, state, reset, y, last = run(core)
    p = numbers(core)
    for row in range(BATCH):
        h = state[row]
        for k in range(STEPS):
            expected, h = step(p, x[k, row], np.zeros_like(h) if reset[k, row] else h)
            np.testing.assert_allclose(y[k, row], expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(last[row], h, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("layer", "inside"), [(GRU, "gru"), (LSTM, "lstm")])
def test_the_fused_kernel_is_called_once_per_time_at_which_an_episode_starts(
    layer: Callable[..., Core], inside: str
) -> None:
    core = build(layer)
    lengths: list[int] = []
    core.get_submodule(inside).register_forward_pre_hook(lambda _, inputs: lengths.append(len(inputs[0])))
    reset = torch.zeros(100, 3, dtype=torch.bool)
    reset[0] = reset[40, 0] = reset[40, 2] = reset[41, 1] = reset[99] = True
    core.scan(torch.zeros(100, 3, WIDTH), core.initial_state(3), reset)
    assert lengths == [40, 1, 58, 1]


def test_a_mingru_begins_with_horizons_spread_log_uniformly() -> None:
    core = build(MinGRU, 300, horizon=(3.0, 3000.0))
    with torch.no_grad():
        core.get_parameter("candidate.bias").zero_()
        after, _ = core.step(torch.zeros(1, 300), torch.ones(1, 300), torch.tensor([False]))
    horizons = 1 / (1 - after[0].double().numpy())
    uniform = np.sort(np.log(horizons / 3) / math.log(1000.0))
    np.testing.assert_allclose(uniform, np.linspace(0, 1, 300), atol=0.08)


def test_an_lstm_begins_with_the_horizons_that_it_is_given() -> None:
    core = build(LSTM, 300, horizon=(3.0, 3000.0))
    with torch.no_grad():
        _, state = core.step(torch.zeros(1, 300), torch.tensor([[0.0] * 300 + [1.0] * 300]), torch.tensor([False]))
    bias = numbers(core)["lstm.bias_ih_l0"] + numbers(core)["lstm.bias_hh_l0"]
    np.testing.assert_allclose(bias[:300], -bias[300:600], rtol=1e-6)
    forget = sigmoid(bias[300:600].astype(float))
    uniform = np.sort(np.log(1 / (1 - forget) / 3) / math.log(1000.0))
    np.testing.assert_allclose(uniform, np.linspace(0, 1, 300), atol=0.08)
    cell = forget + sigmoid(bias[:300]) * np.tanh(bias[600:900])
    np.testing.assert_allclose(state[0, 300:], cell, rtol=1e-4, atol=1e-5)


def test_an_lstm_without_horizons_begins_as_torchs_own() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = torch.nn.LSTM(WIDTH, WIDTH)
    mine = build(LSTM).get_submodule("lstm")
    for got, expected in zip(mine.parameters(), other.parameters(), strict=True):
        assert torch.equal(got, expected)
