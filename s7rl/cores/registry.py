"""Cores by name."""

import inspect
from typing import Any

from s7rl.checks import SIZE, check_arguments, instead, shown
from s7rl.cores.base import Core
from s7rl.cores.block import ResidualBlock, Stack
from s7rl.cores.frame_stack import FrameStack
from s7rl.cores.gru import GRU
from s7rl.cores.gtrxl import GTrXL
from s7rl.cores.lru import LRU
from s7rl.cores.lstm import LSTM
from s7rl.cores.mamba import Mamba
from s7rl.cores.memoryless import Memoryless
from s7rl.cores.mingru import MinGRU
from s7rl.cores.s4d import S4D
from s7rl.cores.s5 import S5
from s7rl.cores.s7 import S7

_LAYERS: dict[str, type[Core]] = {
    "s7": S7,
    "s5": S5,
    "s4d": S4D,
    "mamba": Mamba,
    "lru": LRU,
    "mingru": MinGRU,
    "gru": GRU,
    "lstm": LSTM,
    "gtrxl": GTrXL,
    "stack": FrameStack,
    "none": Memoryless,
}


def core_names() -> tuple[str, ...]:
    """The names that :func:`make_core` knows."""
    return tuple(_LAYERS)


def core_options(name: str) -> tuple[str, ...]:
    """The options of the layer of that name, as :func:`make_core` takes them.

    Raises:
        ValueError: if there is no such core.
    """
    return tuple(parameter for parameter in inspect.signature(_layer(name)).parameters if parameter != "d_model")


def make_core(name: str, *, d_model: int = 64, n_blocks: int = 1, **options: Any) -> Core:
    """Build a stack of layers of that name, each in a residual block unless it stands alone (``Core.stands_alone``).

    Args:
        name: one of :func:`core_names`.
        d_model: H, the width of input, output and everything between.
        n_blocks: how many blocks stand one after the other.
        options: what the layer takes, see :func:`core_options`.

    Raises:
        ValueError: if there is no such core or an option is out of its range.
        TypeError: if the layer does not take an option.
    """
    check_arguments(locals(), d_model=SIZE, n_blocks=SIZE)
    unknown = sorted(set(options) - set(core_options(name)))
    if unknown:
        known = ", ".join(core_options(name)) or "none"
        raise TypeError(f"core {name!r} has no option {unknown[0]!r}: its options are: {known}.")
    layer = _layer(name)
    layers = [layer(d_model, **options) for _ in range(n_blocks)]
    return Stack(layers if layer.stands_alone else [ResidualBlock(one) for one in layers])


def _layer(name: str) -> type[Core]:
    if not isinstance(name, str):
        raise TypeError(f"core is {shown(name)}, but it is the name of one: {instead('', _LAYERS)}")
    if name not in _LAYERS:
        raise ValueError(f"there is no core named {name!r}: {instead(name, _LAYERS)}")
    return _LAYERS[name]
