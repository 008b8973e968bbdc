"""Where numba keeps its compiled kernels: imported before any kernel is.

numba writes its cache beside the source or, where it may not, into the user's home.  Where neither can be written it
would refuse to define a kernel with ``cache=True``; a temporary folder serves then.
"""

import os
import tempfile
from pathlib import Path

import numba


def _writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(existing, os.W_OK)


# expanduser leaves "~" as it is where there is no home; Path.home would raise.
_places = Path(__file__).parent, Path(os.path.expanduser("~/.cache"))
if not numba.config.CACHE_DIR and not any(map(_writable, _places)):
    # A new one each time: code is loaded from it, so that a folder which somebody else could have made will not do.
    numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="s7rl-numba-")
