"""S5, S4D and LRU against their papers' equations in complex numbers, and what their modes begin as."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from s7rl import LRU, S4D, S5, Core
from s7rl.cores.modes import zero_order_hold
from s7rl.cores.s5 import hippo_normal
from tests.s7rl.core_runs import BATCH, STEPS, WIDTH, Array, build, numbers, run

MODES = 4


def perturbed(core: Core) -> Core:
    """In float64, with no parameter that is what the constructor made of it."""
    generator = torch.Generator().manual_seed(1)
    core = core.double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    return core


def loop(x: Array, state: Array, reset: Array, a: Array, drive: Callable[[Array], Array]) -> tuple[Array, Array]:
    """All states of x_k = a x_{k-1} + drive(u_k), complex, and the last one as real halves."""
    z = state[:, : state.shape[1] // 2] + 1j * state[:, state.shape[1] // 2 :]
    states = np.zeros((STEPS, *z.shape), dtype=complex)
    for k in range(STEPS):
        for row in range(BATCH):
            before = np.zeros_like(z[row]) if reset[k, row] else z[row]
            z[row] = a * before + drive(x[k, row])
        states[k] = z
    return states, np.concatenate([z.real, z.imag], axis=1)


def gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def test_s5_is_its_papers_recurrence() -> None:
    core = perturbed(build(S5, d_model=WIDTH, d_state=MODES))
    p = numbers(core)
    x, state, reset, y, last = run(core)
    lam, step = -np.exp(p["log_decay"]) + 1j * p["frequency"], np.exp(p["log_step"])
    b = p["input.weight"][:MODES] + 1j * p["input.weight"][MODES:]
    c = (p["output.weight"][:, :MODES] - 1j * p["output.weight"][:, MODES:]) / 2
    a = np.exp(lam * step)
    states, expected_last = loop(x, state, reset, a, lambda u: (a - 1) / lam * (b @ u))
    expected = 2 * (states @ c.T).real + p["skip"] * x
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(last, expected_last, rtol=1e-10, atol=1e-10)


def test_s4d_is_its_papers_recurrence_for_each_feature() -> None:
    core = perturbed(build(S4D, d_model=WIDTH, d_state=MODES))
    p = numbers(core)
    x, state, reset, y, last = run(core)
    lam, step = -np.exp(p["log_decay"]) + 1j * p["frequency"], np.exp(p["log_step"])
    a = np.exp(lam * step)
    drive = (a - 1) / lam
    states, expected_last = loop(x, state, reset, a.ravel(), lambda u: (drive * u[:, None]).ravel())
    c = p["output"][0] + 1j * p["output"][1]
    s = 2 * (states.reshape(STEPS, BATCH, WIDTH, MODES) * c).sum(-1).real + p["skip"] * x
    value, gate = np.split(gelu(s) @ p["mix.weight"].T + p["mix.bias"], 2, axis=-1)
    np.testing.assert_allclose(y, value / (1 + np.exp(-gate)), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(last, expected_last, rtol=1e-10, atol=1e-10)


def test_lru_is_its_papers_recurrence() -> None:
    core = perturbed(build(LRU, d_model=WIDTH, d_state=MODES))
    p = numbers(core)
    x, state, reset, y, last = run(core)
    lam = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    b = p["input.weight"][:MODES] + 1j * p["input.weight"][MODES:]
    c = p["output.weight"][:, :MODES] - 1j * p["output.weight"][:, MODES:]
    states, expected_last = loop(x, state, reset, lam, lambda u: np.exp(p["gamma"]) * (b @ u))
    np.testing.assert_allclose(y, (states @ c.T).real + p["skip"] * x, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(last, expected_last, rtol=1e-10, atol=1e-10)


def hippo(size: int) -> Array:
    """HiPPO-LegS plus its rank-one part, entry by entry (S5, eqs. 9 to 11 of its appendix)."""
    a = np.zeros((size, size))
    for n in range(size):
        for k in range(size):
            legs = -math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else -(n + 1.0) if n == k else 0.0
            a[n, k] = legs + math.sqrt(n + 0.5) * math.sqrt(k + 0.5)
    return a


@pytest.mark.parametrize("modes", [1, 3, 16])
def test_the_modes_of_s5_are_the_eigenmodes_of_the_normal_part_of_hippo(modes: int) -> None:
    eigenvalues, basis = (x.numpy() for x in hippo_normal(modes))
    np.testing.assert_allclose(hippo(2 * modes) @ basis, basis * eigenvalues, rtol=1e-9, atol=1e-9)
    both = np.concatenate([basis, basis.conj()], axis=1)
    np.testing.assert_allclose(both.conj().T @ both, np.eye(2 * modes), rtol=0, atol=1e-9)
    assert (eigenvalues.imag > 0).all()
    core = build(S5, d_model=2, d_state=modes)
    p = numbers(core)
    np.testing.assert_allclose(-np.exp(p["log_decay"]) + 1j * p["frequency"], eigenvalues, rtol=1e-6)


def test_the_input_of_s5_is_a_real_matrix_of_variance_1_over_its_inputs_in_the_eigenbasis() -> None:
    core = build(S5, d_model=50, d_state=64)
    basis = hippo_normal(64)[1].numpy()
    weight = numbers(core)["input.weight"]
    both = np.concatenate([basis, basis.conj()], axis=1)
    b = weight[:64] + 1j * weight[64:]
    real = both @ np.concatenate([b, b.conj()])
    np.testing.assert_allclose(real.imag, 0.0, atol=1e-5)
    assert np.sqrt(50) * real.real.std() == pytest.approx(1.0, abs=0.05)
    c = numbers(core)["output.weight"]
    assert math.sqrt((c**2).mean() * 2 * 64 / 4) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("layer", [S5, S4D])
def test_initial_steps_are_spread_log_uniformly_over_their_range(layer: Callable[..., Core]) -> None:
    core = build(layer, d_model=400, d_state=400 if layer is S5 else 1, step_range=(0.01, 1.0))
    logs = np.sort(numbers(core)["log_step"].ravel())
    uniform = (logs - math.log(0.01)) / math.log(100.0)
    assert 0 <= uniform[0] < uniform[-1] <= 1
    np.testing.assert_allclose(uniform, np.linspace(0, 1, 400), atol=0.08)


def test_the_modes_of_s4d_are_those_of_s4d_lin() -> None:
    p = numbers(build(S4D, d_model=2, d_state=3))
    expected = [[-0.5, -0.5 + math.pi * 1j, -0.5 + 2 * math.pi * 1j]] * 2
    np.testing.assert_allclose(-np.exp(p["log_decay"]) + 1j * p["frequency"], expected, rtol=1e-6)


def test_the_modes_of_lru_are_uniform_on_their_ring() -> None:
    p = numbers(build(LRU, d_model=2, d_state=2000, r_range=(0.5, 0.9), max_phase=1.5))
    magnitude, phase = np.exp(-np.exp(p["nu"])), np.exp(p["theta"])
    area = np.sort((magnitude**2 - 0.5**2) / (0.9**2 - 0.5**2))
    np.testing.assert_allclose(area, np.linspace(0, 1, 2000), atol=0.05)
    np.testing.assert_allclose(np.sort(phase) / 1.5, np.linspace(0, 1, 2000), atol=0.05)
    assert phase.min() > 0
    np.testing.assert_allclose(np.exp(p["gamma"]), np.sqrt(1 - magnitude**2), rtol=1e-5)
    assert np.corrcoef(magnitude, phase)[0, 1] == pytest.approx(0, abs=0.1)


def test_by_default_lru_begins_with_horizons_from_10_to_1000_steps() -> None:
    magnitude = np.exp(-np.exp(numbers(build(LRU, d_model=2, d_state=500))["nu"].astype(float)))
    horizons = 1 / (1 - magnitude)
    assert 10 <= horizons.min() < 12
    assert 300 < horizons.max() <= 1000.1


def test_a_slow_mode_is_discretised_to_all_digits_of_float32() -> None:
    """exp(a) - 1 in float32 would keep three digits of these."""
    log_decay = torch.tensor([math.log(0.5)] * 3)
    frequency, log_step = torch.tensor([0.0, 0.3, 2.0]), torch.tensor([math.log(1e-4)] * 3)
    magnitude, angle, gain = zero_order_hold(log_decay, frequency, log_step)
    lam, step = -np.exp(log_decay.double().numpy()) + 1j * frequency.double().numpy(), log_step.double().exp().numpy()
    exact = np.expm1(lam * step) / lam
    got = gain[0].double().numpy() + 1j * gain[1].double().numpy()
    np.testing.assert_allclose(got, exact, rtol=1e-6)
    np.testing.assert_allclose(magnitude * torch.exp(1j * angle), np.exp(lam * step), rtol=1e-6)


@pytest.mark.parametrize("layer", [S5, S4D, LRU])
def test_no_parameters_make_a_mode_grow(layer: Callable[..., Core]) -> None:
    core = build(layer, d_model=WIDTH, d_state=MODES)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
        state = torch.randn(1, core.state_size, generator=generator)
        _, last = core.scan(torch.zeros(3000, 1, WIDTH), state, torch.zeros(3000, 1, dtype=torch.bool))
    assert last.norm() <= state.norm()
