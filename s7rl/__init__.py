"""Reinforcement learning agents with a long memory.

This floor holds the sequence models: :func:`linear_scan`, :class:`S7` and the cores it is measured against.
``s7rl.envs`` has tasks that need memory, ``s7rl.agents`` the PPO that trains on them, ``s7rl.experiments`` the command
line.  Importing this package does not import torch; the names below do when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s7rl.cores import GRU as GRU
    from s7rl.cores import LRU as LRU
    from s7rl.cores import LSTM as LSTM
    from s7rl.cores import S4D as S4D
    from s7rl.cores import S5 as S5
    from s7rl.cores import S7 as S7
    from s7rl.cores import Core as Core
    from s7rl.cores import FrameStack as FrameStack
    from s7rl.cores import GTrXL as GTrXL
    from s7rl.cores import Mamba as Mamba
    from s7rl.cores import Memoryless as Memoryless
    from s7rl.cores import MinGRU as MinGRU
    from s7rl.cores import ResidualBlock as ResidualBlock
    from s7rl.cores import S7Block as S7Block
    from s7rl.cores import Stack as Stack
    from s7rl.cores import core_names as core_names
    from s7rl.cores import core_options as core_options
    from s7rl.cores import make_core as make_core
    from s7rl.cores import split_dynamics as split_dynamics
    from s7rl.scan import linear_scan as linear_scan
    from s7rl.scan import linear_scan_reference as linear_scan_reference

__version__ = "0.1.0"

_HOMES = {
    "linear_scan": "s7rl.scan",
    "linear_scan_reference": "s7rl.scan",
    "Core": "s7rl.cores",
    "FrameStack": "s7rl.cores",
    "GRU": "s7rl.cores",
    "GTrXL": "s7rl.cores",
    "LRU": "s7rl.cores",
    "LSTM": "s7rl.cores",
    "Mamba": "s7rl.cores",
    "Memoryless": "s7rl.cores",
    "MinGRU": "s7rl.cores",
    "ResidualBlock": "s7rl.cores",
    "S4D": "s7rl.cores",
    "S5": "s7rl.cores",
    "S7": "s7rl.cores",
    "S7Block": "s7rl.cores",
    "Stack": "s7rl.cores",
    "core_names": "s7rl.cores",
    "core_options": "s7rl.cores",
    "make_core": "s7rl.cores",
    "split_dynamics": "s7rl.cores",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
