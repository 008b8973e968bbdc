"""The Triton kernels where there is no GPU: interpreted on the CPU, and compiled for a GPU without running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
HERE = Path(__file__).parent


def test_interpreted_the_kernels_have_every_property_of_the_scan() -> None:
    # Triton reads the variable when it is imported, hence a process of its own.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k"]
    # Difference quotients take long; the reference, which the kernels are compared with, is held against them.
    command += ["triton and not difference_quotients"]
    command += ["--hypothesis-profile=few"]  # interpreted, each takes long
    # The interpreter computes in numpy, which warns where an operation makes a nan out of a broken state.
    command += ["-W", "ignore:invalid value encountered:RuntimeWarning"]
    command += ["--jaxtyping-packages="]  # most of the time otherwise
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [*command, str(HERE / "test_scan.py")], env=environment, cwd=HERE.parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= 39, done.stdout


COMPILE = """
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from s7rl.kernels import triton_scan

for kernel in (triton_scan._forward, triton_scan._backward):
    for memory, computed in (("fp32", tl.float32), ("bf16", tl.float32), ("fp64", tl.float64)):
        for rotating in (0, 5):
            for shared in ([{}] if kernel is triton_scan._forward else [{"SHARED": False}, {"SHARED": True}]):
                constants = {"ROTATING": rotating, "COMPUTED": computed, "BLOCK": 32, **shared}
                kinds = dict.fromkeys(constants, "constexpr") | {"reset": "*u8"}
                kinds |= dict.fromkeys(("steps", "batch", "modes", "a_step", "a_row"), "i32")
                signature = {name: kinds.get(name, "*" + memory) for name in kernel.arg_names}
                source = ASTSource(kernel, signature, constants)
                compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 1})
                assert compiled.asm["cubin"]
                print("compiled")
"""


def test_the_kernels_compile_for_cuda(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("compiled") == 18
