"""Writing files so that they are complete or not there.  Without torch: the command line needs it early."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, in place of an older one if there is one, so that nobody ever sees half of it.

    A process that is killed meanwhile, or a machine that stops, leaves the older one.

    Raises:
        OSError: if the folder is missing or cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
