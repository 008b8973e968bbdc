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

What a learning step does beside the scans has numba kernels on the CPU as well; :func:`fused` says where they serve.
"""

import functools
import os
import warnings
from importlib import import_module

import torch
from torch import Tensor

from s7rl.checks import one_line

VARIABLE = "S7RL_SCAN"
BACKENDS = ("numba", "reference", "torch", "triton")
_SERVES = {"numba": "float32 and float64 on the CPU", "triton": "CUDA"}


def backend(x: Tensor) -> str:
    """The name of the backend that serves a tensor of this device and dtype.

    Raises:
        ValueError: if ``S7RL_SCAN`` names none, or one that cannot work here.
    """
    asked = os.environ.get(VARIABLE, "")
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
    where numba is missing, since those operations are fast too.  ``torch.compile`` fuses them itself.
    """
    first = tensors[0]
    return (
        not torch.compiler.is_compiling()
        and os.environ.get(VARIABLE, "") in ("", "numba")
        and all(x.dtype == first.dtype and _serves("numba", x) for x in tensors)
        and not missing("numba")
    )


def _serves(name: str, x: Tensor) -> bool:
    if name == "triton":
        # Triton's interpreter runs kernels on CPU tensors, slowly; triton reads the variable when it is imported.
        return x.device.type == "cuda" or (x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1")
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


@functools.cache
def missing(name: str) -> str:
    """Why a kernel's library cannot be imported, in one line; empty if it can."""
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
