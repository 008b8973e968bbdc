"""Tensors as the CPU kernels see them, and memory for what they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes; what torch gives its own tensors
_LARGE = 4 << 20  # bytes; from here on numpy asks for huge pages


def empty_like(x: Tensor) -> Tensor:
    """A contiguous tensor of this shape, dtype and device that nobody has written to.

    The first touch of fresh memory, page by page, costs more than a scan of it.  numpy asks Linux for huge pages, where
    the system offers them (``madvise``), and torch does not.
    """
    size = x.numel() * x.element_size()
    if x.device.type != "cpu" or size < _LARGE:
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    skipped = -memory.ctypes.data % _ALIGNMENT
    return torch.from_numpy(memory[skipped : skipped + size]).view(x.dtype).view(x.shape)


class Arrays:
    """The memory of some parameters as numpy arrays, looked up again only where one of them has moved.

    A copy starts with none, since the memory is that of the original's parameters.
    """

    def __init__(self) -> None:
        self.forget()

    def __reduce__(self) -> tuple[type[Arrays], tuple[()]]:
        return Arrays, ()

    def forget(self) -> None:
        """Let go of the memory."""
        self._places: list[Any] = []
        self._arrays: list[Any] = []

    def of(self, tensors: Sequence[Tensor]) -> list[Any]:
        """One array for each, as :func:`array`."""
        # With strides, since `p.data = p.data.t()` moves nothing; a layer whose sizes fit has the same shapes there.
        places = [(tensor.data_ptr(), tensor.stride()) for tensor in tensors]
        # What stands at a place is what stood there: the arrays keep their memory from being given to others.
        if places != self._places:
            self._places, self._arrays = places, [array(tensor) for tensor in tensors]
        return self._arrays


def array(x: Tensor) -> Any:
    """The tensor's memory as a numpy array, for a kernel to read or write."""
    return (x.detach() if x.requires_grad else x).numpy()
