"""A GPU makes of sequences what the CPU makes of them, and bfloat16 nearly that.

The scan's own properties are in test_scan.py, whose every test runs by Triton, too.  A mutation that was seen to fail:
torch.lerp in GTrXL's gate, which takes no tensors of two dtypes.
"""

from __future__ import annotations

import pytest
import torch

from s7rl import core_names
from tests.s7rl.core_cases import Case, assert_close, assert_same_gradients, gradients, random_case, random_core

every_core = pytest.mark.parametrize("name", core_names())
STEPS = 130  # more than any window
FLOAT32 = 1e-3
"""How far sums in float32 may be from the CPU's, which adds up in another order."""


def case_of(name: str, dtype: torch.dtype) -> Case:
    """Of the default options, with windows that may be full, and so little noise that bfloat16 tells something."""
    core = random_core(name, 2, dtype, seed=0, noise=0.1)
    return random_case(core, steps=STEPS, before=STEPS, batch=5, seed=1, resets=0.03)


@pytest.mark.gpu
@every_core
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_and_gradients_on_a_gpu_are_those_on_the_cpu(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # torch's LSTM and GRU round to ten bits with it
    on_cpu = case_of(name, dtype)
    on_gpu = on_cpu.to("cuda")
    got, expected = on_gpu.scan(), on_cpu.scan()
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other, FLOAT32)
    assert_same_gradients(gradients(on_gpu, *got), gradients(on_cpu, *expected), FLOAT32)


@pytest.mark.gpu
@every_core
def test_stepping_on_a_gpu_gives_what_its_scan_gives(name: str) -> None:
    case = case_of(name, torch.float64).to("cuda")
    state = case.state
    with torch.no_grad():
        scanned, last = case.scan()
        for x_t, reset_t, expected in zip(case.x, case.reset, scanned, strict=True):
            y, state = case.core.step(x_t, state, reset_t)
            assert_close(y, expected)
    assert_close(state, last)


@every_core
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_autocast_to_bfloat16_comes_near_float32(name: str, device: str) -> None:
    exact = case_of(name, torch.float32)
    case = exact.to(device)
    with torch.autocast(device, torch.bfloat16):
        y, _ = case.scan()
    y.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in case.core.parameters())
    expected, _ = exact.scan()
    assert (y.cpu() - expected).norm() < 0.02 * expected.norm()
