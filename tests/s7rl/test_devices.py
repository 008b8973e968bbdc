"""A GPU makes of sequences what the CPU makes of them, and bfloat16 nearly that.

The scan's own properties are in test_scan.py, whose every test runs by Triton, too.  A mutation that was seen to fail:
torch.lerp in GTrXL's gate, which takes no tensors of two dtypes.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from s7rl import Core, core_names, make_core

every_core = pytest.mark.parametrize("name", core_names())
STEPS, BATCH, WIDTH = 130, 5, 8  # more steps than any window


def build(name: str, dtype: torch.dtype) -> Core:
    """A core of two blocks on the CPU, with no parameter as the constructor makes it: S7's selection would be 0."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = make_core(name, d_model=WIDTH, n_blocks=2).to(dtype)
        with torch.no_grad():
            for parameter in core.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return core


def inputs(core: Core, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Random inputs, the state that the core came to over as many before them, and resets."""
    generator = torch.Generator().manual_seed(1)
    before, x = torch.randn(2, STEPS, BATCH, WIDTH, generator=generator, dtype=dtype)
    reset = torch.rand(STEPS, BATCH, generator=generator) < 0.03
    with torch.no_grad():
        state = core.scan(before, core.initial_state(BATCH), torch.zeros_like(reset))[1]
    return x, state, reset


def outputs_and_gradients(core: Core, x: Tensor, state: Tensor, reset: Tensor) -> list[Tensor]:
    """Outputs, last state, and the gradients of all of them for inputs, state and weights; on the CPU."""
    device = next(core.parameters()).device
    x, state = (tensor.clone().to(device).requires_grad_() for tensor in (x, state))
    y, last = core.scan(x, state, reset.to(device))
    total = y.square().sum() + last.sin().sum()
    leaves = [x, state, *core.parameters()]
    gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return [tensor.detach().cpu() for tensor in (y, last, *gradients)]


@pytest.mark.gpu
@every_core
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-9)])
def test_outputs_and_gradients_on_a_gpu_are_those_on_the_cpu(
    name: str, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # torch's LSTM and GRU round to ten bits with it
    core = build(name, dtype)
    given = inputs(core, dtype)
    on_gpu, on_cpu = outputs_and_gradients(copy.deepcopy(core).cuda(), *given), outputs_and_gradients(core, *given)
    for got, expected in zip(on_gpu, on_cpu, strict=True):
        scale = 1.0 + float(expected.abs().max()) if expected.numel() else 1.0
        torch.testing.assert_close(got / scale, expected / scale, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@every_core
def test_stepping_on_a_gpu_gives_what_its_scan_gives(name: str) -> None:
    core = build(name, torch.float64)
    x, state, reset = (tensor.cuda() for tensor in inputs(core, torch.float64))
    core.cuda()
    with torch.no_grad():
        scanned, last = core.scan(x, state, reset)
        for t in range(STEPS):
            y, state = core.step(x[t], state, reset[t])
            torch.testing.assert_close(y, scanned[t], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state, last, rtol=1e-9, atol=1e-9)


@every_core
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_autocast_to_bfloat16_comes_near_float32(name: str, device: str) -> None:
    core = build(name, torch.float32)
    x, state, reset = inputs(core, torch.float32)
    exact = core.scan(x, state, reset)[0]
    core.to(device)
    x, state, reset = (tensor.to(device) for tensor in (x, state, reset))
    with torch.autocast(device, torch.bfloat16):
        y = core.scan(x, state, reset)[0]
    y.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in core.parameters())
    assert (y.cpu() - exact).norm() < 0.02 * exact.norm()
