"""Gymnasium's spaces in a few characters, for a cell of a table."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def space_text(space: gym.Space[Any]) -> str:
    """What kind a space is, and of what size: ``Box(7,7,20)``, ``Discrete(8)``, ``Dict(0: Box(3), 1: Discrete(2))``.

    Bounds and dtypes are left out.
    """
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(f'{name}: {space_text(entry)}' for name, entry in space.items())})"
    if isinstance(space, spaces.Tuple):
        return f"Tuple({', '.join(map(space_text, space))})"
    if isinstance(space, spaces.Discrete):
        return f"Discrete({space.n})"
    if isinstance(space, spaces.MultiDiscrete):
        return f"MultiDiscrete({_sizes(np.ravel(space.nvec))})"
    if space.shape is None:
        return type(space).__name__
    return f"{type(space).__name__}({_sizes(space.shape)})"


def _sizes(sizes: Any) -> str:
    return ",".join(str(int(size)) for size in sizes)
