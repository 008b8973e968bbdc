"""Which code runs a scan: the one place where :mod:`s7rl.scan` and :mod:`s7rl.selective_scan` choose.

=============  ====================================================================================================
``numba``      the CPU, float32 and float64; there it is what runs unless another is asked for
``triton``     CUDA, every float dtype; there it is what runs where triton can be imported
``torch``      a parallel scan of tensor operations: any device and float dtype; what runs everywhere else
``reference``  the loop over time that defines the result; only on request
=============  ====================================================================================================

The environment variable ``S7RL_SCAN`` set to one of these names forces it; it is read at every call.  Where a kernel
would have been chosen but cannot be imported, a RuntimeWarning says so once, with what is used instead.  Triton
compiles at its first call and needs a C compiler then; ``S7RL_SCAN=torch`` does without.

What ``torch.jit.trace`` or ``torch.export`` records is ``torch``, since a kernel's results would be recorded as
constants.  ``torch.compile`` goes around the kernels.

What a learning step does beside the scans has numba kernels on the CPU as well; :func:`fused` says where they serve.
"""

import functools
import os
import warnings
from importlib import import_module

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]

from s7rl.checks import one_line

VARIABLE = "S7RL_SCAN"
BACKENDS = ("numba", "reference", "torch", "triton")
_SERVES = {"numba": "float32 and float64 on the CPU", "triton": "CUDA"}
_FUSED = ({(torch.float32, True)}, {(torch.float64, True)})


def backend(x: Tensor) -> str:
    """The name of the backend that serves a tensor of this device and dtype.

    Raises:
        ValueError: if ``S7RL_SCAN`` names none, or one that cannot work here.
    """
    asked = os.environ.get(VARIABLE, "")
    if is_recorded():
        return asked if asked == "reference" else "torch"
    if not asked:
        preferred = "triton" if x.device.type == "cuda" else "numba"
        if not _serves(preferred, x):
            return "torch"
        if problem := missing(preferred):
            _say_once(preferred, problem)
            return "torch"
        return preferred
    if asked not in BACKENDS:
        raise ValueError(
            f"{VARIABLE} is {asked!r}, but the scans are {', '.join(BACKENDS)}: set it to one of them, or unset it for "
            "the fastest."
        )
    if asked in _SERVES and not _serves(asked, x):
        raise ValueError(
            f"{VARIABLE} is {asked!r}, which serves {_SERVES[asked]}, but the tensors are {x.dtype} on {x.device}: "
            "torch and reference serve them, or unset it for the fastest."
        )
    if asked in _SERVES and (problem := missing(asked)):
        raise ValueError(
            f"{VARIABLE} is {asked!r}, but {asked} cannot be imported ({problem}): install it, or set it to torch or "
            "reference."
        )
    return asked


def fused(*tensors: Tensor) -> bool:
    """Whether a numba kernel may stand in for tensor operations on these, beside the scans.

    That is on the CPU, all of one dtype, float32 or float64, unless ``S7RL_SCAN`` names something else; nothing is said
    where numba is missing, since those operations are fast too.  ``torch.compile`` fuses them itself, and what records
    them finds nothing in a kernel.
    """
    # One microsecond, not two: it is asked at every step of an agent that acts.
    return (
        {(x.dtype, x.is_cpu) for x in tensors} in _FUSED
        and os.environ.get(VARIABLE, "") in ("", "numba")
        and not torch.compiler.is_compiling()
        and not is_tracing()
        and not missing("numba")
    )


def is_recorded() -> bool:
    """Whether ``torch.jit.trace`` or ``torch.export`` is recording, so that no number can be looked at."""
    # The other way to compile is dynamo, which also records for torch.export(strict=True), and then refuses kernels.
    return is_tracing() or (torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling())


def _serves(name: str, x: Tensor) -> bool:
    if name == "triton":
        # Triton's interpreter runs kernels on CPU tensors, slowly; triton reads the variable when it is imported.
        return x.device.type == "cuda" or (x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1")
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # the compiler shall not follow the import
def missing(name: str) -> str:
    """Why a kernel's library cannot be imported, in one line; empty if it can."""
    return _import_problem(name)


@functools.cache
def _import_problem(name: str) -> str:
    try:
        import_module(name)
    except Exception as problem:  # a broken installation raises anything: OSError, AttributeError, RuntimeError
        return one_line(str(problem)) or type(problem).__name__
    return ""


@functools.cache
def _say_once(name: str, problem: str) -> None:
    warnings.warn(
        f"{name} cannot be imported ({problem}): scans use parallel tensor operations instead, which are slower.",
        RuntimeWarning,
        stacklevel=4,
    )
