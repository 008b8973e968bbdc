"""Reading a TOML file that a user wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from s7rl.experiments.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path, name: str) -> dict[str, Any]:
    """Reads a file.

    Args:
        path: of the file.
        name: what it is called in messages.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} is not TOML: {error}") from error
    return content
