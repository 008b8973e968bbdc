"""How much memory something takes at its peak.

On the CPU this is what the kernel counts as resident (VmHWM), above what was resident before. The peak is set back
first, because an import may have had a higher one; and it is not getrusage's ru_maxrss, which a process inherits from
the one that started it. Memory that an allocator keeps would hide what the next thing takes: measure in a fresh
process (``probe``). On a GPU torch counts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(thunk: Callable[[], object], device: torch.device) -> int:
    """Runs something and returns the most memory that it had at once, above what was taken before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        thunk()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    _RESET.write_text("5")
    before = _status_bytes("VmRSS")
    thunk()
    return max(_status_bytes("VmHWM") - before, 0)


def address_space() -> int:
    """Bytes of addresses that this process has, used or not: where a limit of them starts to count."""
    return _status_bytes("VmSize")


def _status_bytes(name: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
