"""Where numba keeps its compiled kernels: imported before any kernel is.

numba writes its cache beside the source or, where it may not, into the user's home.  Where neither can be written it
would refuse to define a kernel with ``cache=True``; a folder of the user's own under the temporary folder serves then.
"""

import os
import tempfile
from pathlib import Path

import numba


def _writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(existing, os.W_OK)


if not numba.config.CACHE_DIR and not _writable(Path(__file__).parent) and not _writable(Path.home() / ".cache"):
    numba.config.CACHE_DIR = str(Path(tempfile.gettempdir()) / f"s7rl-numba-{os.getuid()}")
