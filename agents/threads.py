"""How many threads torch runs on.

Small networks run fastest on one: their operations take microseconds, less than waking a second thread, and a thread
pool whose other core is busy waits for it at every operation, which slows a run down by an order of magnitude on a
machine that does anything else.  An acting step is small whatever the width: a row for each environment.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

WIDE = 512
"""Width from which matrix products are large enough to be worth a second thread."""


def choose_threads(d_model: int) -> int:
    """Threads for learning with a network of that width on the CPU."""
    return 1 if d_model < WIDE else torch.get_num_threads()


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Run the body on that many torch threads and restore the number after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
