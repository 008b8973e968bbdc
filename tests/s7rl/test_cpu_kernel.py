"""What is particular to the CPU kernels of the scan: the memory that they read and write.

Mutations of :class:`s7rl.kernels.arrays.Arrays` seen to fail: places without strides; places that are not compared.
"""

from __future__ import annotations

import pytest
import torch

from s7rl import linear_scan, linear_scan_reference
from s7rl.kernels import cpu_scan
from s7rl.kernels.arrays import Arrays, empty_like


@pytest.mark.parametrize("sizes", [(1, 1), (1, 3), (7, 1)])
def test_a_transition_of_size_1_is_read_where_it_lies(sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S7RL_SCAN", "numba")
    seen = []
    kernel = cpu_scan.scan_forward

    def spy(*arrays: object) -> None:
        seen.append(arrays[0])
        kernel(*arrays)

    monkeypatch.setattr(cpu_scan, "scan_forward", spy)
    a = torch.rand(*sizes, 5)
    linear_scan(a, torch.ones(7, 3, 5), torch.zeros(3, 5))
    assert [x.shape for x in seen] == [(*sizes, 5)]  # type: ignore[attr-defined]
    assert seen[0].ctypes.data == a.data_ptr()  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [3, 1100])  # 12 KiB and more than 4 MiB
def test_fresh_memory_is_like_what_it_is_for(steps: int, dtype: torch.dtype) -> None:
    x = torch.zeros(8, steps, 128, dtype=dtype).transpose(0, 1)
    fresh = empty_like(x)
    assert (fresh.shape, fresh.dtype, fresh.device) == (x.shape, x.dtype, x.device)
    assert fresh.is_contiguous()
    assert fresh.data_ptr() % 64 == 0
    other = empty_like(x)
    fresh.fill_(1.0)
    other.fill_(2.0)
    assert fresh.sum() == x.numel()
    assert fresh.untyped_storage().nbytes() == x.numel() * x.element_size()


def test_arrays_are_looked_up_again_where_a_parameter_moves_or_turns() -> None:
    weight, arrays = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]])), Arrays()
    (kept,) = arrays.of([weight])
    assert arrays.of([weight])[0] is kept
    weight.data = weight.data.t()
    assert arrays.of([weight])[0].tolist() == [[1.0, 3.0], [2.0, 4.0]]
    weight.data = torch.zeros(2, 2)
    assert arrays.of([weight])[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert kept.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_long_scan_in_large_memory_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S7RL_SCAN", "numba")
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(1100, 8, 128, generator=generator), torch.randn(1100, 8, 128, generator=generator)
    leaves = a.requires_grad_(), b.requires_grad_()
    initial, reset, angle = torch.zeros(8, 128), torch.rand(1100, 8, generator=generator) < 0.01, torch.zeros(0)
    ours, theirs = linear_scan(a, b, initial, reset, angle), linear_scan_reference(a, b, initial, reset, angle)
    torch.testing.assert_close(ours, theirs)
    for got, expected in zip(
        torch.autograd.grad(ours.square().sum(), leaves),
        torch.autograd.grad(theirs.square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
