"""Sequence models under one contract, see :mod:`s7rl.cores.base`."""

from s7rl.cores.base import Core as Core
from s7rl.cores.base import split_dynamics as split_dynamics
from s7rl.cores.block import ResidualBlock as ResidualBlock
from s7rl.cores.block import Stack as Stack
from s7rl.cores.frame_stack import FrameStack as FrameStack
from s7rl.cores.gru import GRU as GRU
from s7rl.cores.gtrxl import GTrXL as GTrXL
from s7rl.cores.lru import LRU as LRU
from s7rl.cores.lstm import LSTM as LSTM
from s7rl.cores.mamba import Mamba as Mamba
from s7rl.cores.memoryless import Memoryless as Memoryless
from s7rl.cores.mingru import MinGRU as MinGRU
from s7rl.cores.registry import core_names as core_names
from s7rl.cores.registry import core_options as core_options
from s7rl.cores.registry import make_core as make_core
from s7rl.cores.s4d import S4D as S4D
from s7rl.cores.s5 import S5 as S5
from s7rl.cores.s7 import S7 as S7
from s7rl.cores.s7 import S7Block as S7Block
