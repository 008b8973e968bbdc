"""Which backend serves which tensors, and what is said where it cannot.

Mutations of :func:`s7rl.backends.fused` that were seen to fail these tests: kernels while torch compiles; for tensors
of several dtypes; without numba; while torch records.  And of :func:`s7rl.backends.backend`: kernels while torch
records; a kernel that the compiler follows.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from s7rl import backends, linear_scan
from s7rl.backends import backend, fused
from s7rl.cores import make_core
from s7rl.selective_scan import selective_scan


@pytest.fixture(autouse=True)
def nothing_asked_and_nothing_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("S7RL_SCAN", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for cached in (backends._import_problem, backends._say_once):
        cached.cache_clear()
    yield
    for cached in (backends._import_problem, backends._say_once):
        cached.cache_clear()


def on(device: str, dtype: torch.dtype = torch.float32) -> Any:
    """What looks like a tensor there: most machines have no such device."""
    return Mock(spec=Tensor, device=torch.device(device), is_cpu=device == "cpu", dtype=dtype)


@pytest.fixture
def triton_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", Mock())


@pytest.mark.usefixtures("triton_is_here")
@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cpu", torch.float32, "numba"),
        ("cpu", torch.float64, "numba"),
        ("cpu", torch.bfloat16, "torch"),
        ("cpu", torch.float16, "torch"),
        ("cuda", torch.float32, "triton"),
        ("cuda:1", torch.bfloat16, "triton"),
        ("mps", torch.float32, "torch"),
        ("xpu", torch.float32, "torch"),
    ],
)
def test_unasked_each_device_and_dtype_has_its_fastest(device: str, dtype: torch.dtype, expected: str) -> None:
    assert backend(on(device, dtype)) == expected


@pytest.mark.usefixtures("triton_is_here")
@pytest.mark.parametrize(
    ("asked", "device"),
    [("numba", "cpu"), ("triton", "cuda"), *((x, y) for x in ("torch", "reference") for y in ("cpu", "cuda", "mps"))],
)
def test_the_environment_forces_a_backend(asked: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S7RL_SCAN", asked)
    assert backend(on(device)) == asked


def test_a_name_that_is_no_backend_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S7RL_SCAN", "cuda")
    with pytest.raises(
        ValueError, match=r"^S7RL_SCAN is 'cuda', but the scans are numba, reference, torch, triton: [^\n]+$"
    ):
        linear_scan(torch.zeros(2, 1, 3), torch.zeros(2, 1, 3), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("asked", "device", "dtype"),
    [
        ("numba", "cpu", torch.bfloat16),
        ("numba", "cuda", torch.float32),
        ("triton", "cpu", torch.float32),
        ("triton", "mps", torch.float32),
    ],
)
def test_a_backend_that_cannot_serve_the_tensors_is_refused(
    asked: str, device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S7RL_SCAN", asked)
    with pytest.raises(
        ValueError, match=rf"^S7RL_SCAN is '{asked}', which serves [^\n]+ the tensors are {dtype} on {device}: [^\n]+$"
    ):
        backend(on(device, dtype))


@pytest.mark.parametrize(("asked", "device"), [("numba", "cpu"), ("triton", "cuda")])
def test_a_library_that_is_asked_for_and_missing_is_an_error_of_one_line(
    asked: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S7RL_SCAN", asked)
    monkeypatch.setitem(sys.modules, asked, None)
    with pytest.raises(
        ValueError, match=rf"^S7RL_SCAN is '{asked}', but {asked} cannot be imported \([^\n]+: install[^\n]+$"
    ):
        backend(on(device))


@pytest.mark.parametrize(("library", "device"), [("numba", "cpu"), ("triton", "cuda")])
def test_a_missing_library_is_said_once_and_replaced(
    library: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.warns(RuntimeWarning, match=rf"^{library} cannot be imported \([^\n]+\): scans use parallel[^\n]+$"):
        assert backend(on(device)) == "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backend(on(device)) == "torch"


def test_a_library_that_breaks_while_it_is_imported_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(f"lib{name}.so: cannot open\nshared object file")

    monkeypatch.setattr(backends, "import_module", broken)
    assert backends.missing("triton") == "libtriton.so: cannot open shared object file"


@pytest.mark.parametrize(("asked", "composed"), [("numba", 0), ("torch", 1), ("reference", 1)])
def test_the_inside_of_s7_is_fused_only_in_numba(asked: str, composed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Mock(side_effect=linear_scan)
    monkeypatch.setattr("s7rl.selective_scan.linear_scan", spy)
    monkeypatch.setenv("S7RL_SCAN", asked)
    steps, batch, modes, features = 3, 2, 4, 5
    selective_scan(
        torch.zeros(steps, batch, 3 * modes + features),
        torch.ones(steps, batch, modes),
        torch.ones(steps, batch, features),
        torch.ones(modes),
        torch.ones(features),
        torch.zeros(0),
        torch.zeros(batch, modes),
        torch.zeros(steps, batch, dtype=torch.bool),
        input_scale=0.5,
        offset=0.5,
    )
    assert spy.call_count == composed


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ([("cpu", torch.float32), ("cpu", torch.float32)], True),
        ([("cpu", torch.float64)], True),
        ([("cpu", torch.float32), ("cpu", torch.float64)], False),
        ([("cpu", torch.bfloat16)], False),
        ([("cuda", torch.float32)], False),
        ([("cpu", torch.float32), ("cuda", torch.float32)], False),
    ],
)
def test_beside_the_scans_kernels_serve_tensors_of_one_dtype_on_the_cpu(
    tensors: list[tuple[str, torch.dtype]], expected: bool
) -> None:
    assert fused(*(on(device, dtype) for device, dtype in tensors)) is expected


@pytest.mark.parametrize(("asked", "expected"), [("numba", True), ("torch", False), ("reference", False)])
def test_beside_the_scans_too_tensor_operations_can_be_asked_for(
    asked: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S7RL_SCAN", asked)
    assert fused(on("cpu")) is expected


def test_beside_the_scans_nothing_is_said_of_a_missing_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not fused(on("cpu"))


def test_while_torch_compiles_it_gets_the_tensor_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    assert not fused(on("cpu"))


class Steps(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("s7", d_model=8, d_state=4)

    def forward(self, x: Tensor, state: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        x, state = self.core.step(x, state, reset)
        y, state = self.core.scan(x[None], state, reset[None])
        return y[0], state


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "record", [torch.jit.trace, lambda module, example: torch.export.export(module, example).module()]
)
def test_what_torch_records_depends_on_its_inputs(record: Any) -> None:
    torch.manual_seed(0)
    module = Steps()
    x, state, reset = torch.randn(3, 8), module.core.initial_state(3), torch.zeros(3, dtype=torch.bool)
    with torch.no_grad():
        recorded = record(module, (x, state, reset))
        others = x + 1, torch.randn_like(state), ~reset
        for example in ((x, state, reset), others, (x + 1, others[1], reset)):
            torch.testing.assert_close(recorded(*example), module(*example))


def test_the_compiler_goes_around_kernels_that_nobody_has_called_yet() -> None:
    # In a process of its own: kernels that are loaded are no trouble.
    code = """
import torch
from s7rl.cores import make_core
torch.manual_seed(0)
core = make_core("s7", d_model=8, d_state=4)
x, reset = torch.randn(3, 2, 8, requires_grad=True), torch.zeros(3, 2, dtype=torch.bool)
y, _ = torch.compile(core.scan, backend="eager")(x, core.initial_state(2), reset)
torch.testing.assert_close(y, core.scan(x, core.initial_state(2), reset)[0])
y.sum().backward()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "recompile_limit" not in done.stderr
