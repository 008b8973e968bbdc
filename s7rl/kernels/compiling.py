"""How the CPU kernels are compiled, by numba, and where what is compiled is kept.

numba takes a function from its cache for as long as the file that the function stands in is the same.  A kernel may
therefore call kernels of its own file only: of a change in another file it would not learn.

The cache is written beside the source or, where that cannot be, into the user's own cache folder.  Where neither can be
written, numba refuses to define a function with ``cache=True``; a temporary folder serves then.
"""

import atexit
import contextlib
import functools
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorate a kernel, with or without further options of ``numba.njit``."""
    if function is None:
        return functools.partial(kernel, **options)
    options = {"cache": True, "error_model": "numpy", **options}
    try:
        return numba.njit(function, **options)
    except RuntimeError:  # no folder to write to
        # For this function only: others' may have one.
        usual, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _temporary_folder()
        try:
            return numba.njit(function, **options)
        finally:
            numba.config.CACHE_DIR = usual


@functools.cache
def _temporary_folder() -> str:
    """A folder that all processes of this user share or, where somebody else could write to that, one of our own.

    Code is loaded from it.
    """
    shared = Path(tempfile.gettempdir()) / f"s7rl-numba-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        shared.mkdir(mode=0o700)
    found = shared.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return str(shared)
    own = tempfile.mkdtemp(prefix="s7rl-numba-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own
