"""Which cores a test of agents runs with: an agent asks nothing of a core but what all of its family do alike.

The others are for `make slow`. Each core is held to the laws in `tests/s7rl/test_core_laws.py`, and learns, is saved
and exported in tests that run over all of them.
"""

from typing import Any

import pytest

from s7rl import core_names

FAMILIES = ("s7", "mamba", "gru", "gtrxl", "none")
"""A linear scan, one beside a window, gates, a window alone, and no memory."""


def with_core(names: tuple[str, ...], *values: Any) -> list[Any]:
    """Each of the cores, and further values; those beyond one of a family are for `make slow`."""
    return [pytest.param(name, *values, marks=() if name in FAMILIES else pytest.mark.slow) for name in names]


every_core = pytest.mark.parametrize("core", with_core(core_names()))
every_core_with_memory = pytest.mark.parametrize("core", with_core(tuple(n for n in core_names() if n != "none")))
