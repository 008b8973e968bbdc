"""The exceptions whose text is written for the user, and what is one of theirs by its text alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from s7rl.checks import error_line

NO_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "Unable to allocate",
    "Cannot allocate memory",
    "Storage size calculation overflowed",
    "std::bad_alloc",
    "ALLOC_FAILED",
    "alloc_cpu",
    "DefaultCPUAllocator",
)
"""What torch, numpy and the system say: torch has no exception of its own for the CPU."""


class UsageError(Exception):
    """Something the user can put right: the command line prints it as one line and exits with code 2."""


class TrainingError(Exception):
    """Training cannot go on: the command line prints it as one line and exits with code 1."""

    def __init__(self, message: str, details: str = "") -> None:
        """Args: message: one line.  details: printed before it, such as the traceback of an environment."""
        super().__init__(message)
        self.details = details


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is that of an allocation."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


class MemoryShortage(UsageError):
    """What was asked for does not fit this machine's memory."""


@contextmanager
def memory_shortage(remedy: str) -> Iterator[None]:
    """Turns what an allocation in the block raises into a MemoryShortage, and nothing else.

    Args:
        remedy: what ends the line.

    Raises:
        MemoryShortage: there was not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryShortage(
            f"that does not fit this machine's memory ({error_line(error).removesuffix(':')}): {remedy}"
        ) from error
