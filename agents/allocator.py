"""What becomes of memory that a minibatch has freed.

glibc hands large blocks back to the system at once and takes them anew for the next minibatch, page by page, each
zeroed first.  That took more than 40 % of the time of a training step on long sequences (an S7 layer of width 128 on
[65,536, 8], one thread), and 10 % of all of ``s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=5000
--n-envs 16 --n-steps 16384 --steps 262144``, as system time.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let this process keep what it has freed until it ends.  Does nothing where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)  # no block of its own for a large tensor, which goes back when it is freed
    mallopt(_M_TRIM_THRESHOLD, -1)
