"""Sequence models under one contract, see :mod:`s7rl.cores.base`."""

from s7rl.cores.base import Core as Core
from s7rl.cores.block import ResidualBlock as ResidualBlock
from s7rl.cores.block import Stack as Stack
from s7rl.cores.gru import GRU as GRU
from s7rl.cores.memoryless import Memoryless as Memoryless
from s7rl.cores.registry import core_names as core_names
from s7rl.cores.registry import core_options as core_options
from s7rl.cores.registry import make_core as make_core
from s7rl.cores.s7 import S7 as S7
