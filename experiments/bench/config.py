"""What can be asked of `s7rl bench`: one frozen dataclass per benchmark, whose attribute docstrings are ``--help``.

Without torch, and without the names of the cores: those are checked by the benchmark itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

import tyro

from s7rl.experiments.arguments import OptionalText, OptionalWholeNumber, RealNumber, WholeNumber
from s7rl.experiments.errors import UsageError

LENGTHS = (64, 256, 1024, 4096, 16384, 65536)
ALL = tyro.conf.arg(metavar="[NAME ...]", help_behavior_hint="(default: all)")
NUMBERS = tyro.conf.arg(metavar="INT [INT ...]")


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """How it runs."""

    out: Annotated[
        OptionalText, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: a new one in runs/bench)")
    ] = None
    """The folder for results.csv, the picture and machine.json. It must not exist yet."""
    quick: bool = False
    """Take less than a minute, for a first impression: fewer and smaller cells, wherever no option says otherwise."""
    threads: WholeNumber = 1
    """Threads of torch. One compares the work that is done; more also compare how well it is spread."""
    device: str = "cpu"
    """Where it runs: auto, cpu, cuda, ..."""

    def __post_init__(self) -> None:
        """Checks what tyro does not."""
        if self.threads < 1:
            raise UsageError(f"--threads {self.threads} must be positive: give 1, or the number of free cores")


@dataclass(frozen=True, kw_only=True)
class ScanBench:
    """The linear recurrence alone: forward and backward of every implementation, over the length.

    Its yardsticks are a copy of as much memory as it has to touch, which no implementation can beat, and the loop over
    time that one writes first.
    """

    QUICK: ClassVar[Mapping[str, Any]] = MappingProxyType({"lengths": (64, 1024, 4096), "repeats": 7})

    lengths: Annotated[tuple[WholeNumber, ...], NUMBERS] = LENGTHS
    """Steps of the sequences."""
    batch_size: WholeNumber = 8
    """Sequences side by side."""
    modes: WholeNumber = 128
    """Numbers in the state of each sequence."""
    repeats: WholeNumber = 31
    """Rounds that are timed, fewer where they would not fit into the budget, but never fewer than 5."""
    budget_seconds: RealNumber = 60.0
    """What may be spent on one cell of the table; where 5 rounds take longer, it is left out, and marked."""
    common: tyro.conf.OmitArgPrefixes[CommonOptions] = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Checks what tyro does not."""
        _check_positive(self, "lengths", "batch_size", "modes", "repeats", "budget_seconds")


@dataclass(frozen=True, kw_only=True)
class CoresBench:
    """The sequence models: time and memory of a training step over the length, latency of acting over the batch.

    At equal width, and at the width that gives each as many parameters as S7. torch's bare LSTM and GRU run beside
    them. All take turns, so that whatever else the machine does meets all alike.
    """

    QUICK: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lengths": (64, 1024), "batch_sizes": (1, 64), "repeats": 5, "budget_seconds": 3.0}
    )

    cores: Annotated[tuple[str, ...], ALL] = ()
    """Which of the cores to compare with S7."""
    lengths: Annotated[tuple[WholeNumber, ...], NUMBERS] = LENGTHS
    """Steps of the sequences in training."""
    batch_size: WholeNumber = 8
    """Sequences side by side in training."""
    batch_sizes: Annotated[tuple[WholeNumber, ...], NUMBERS] = (1, 4, 16, 64, 256, 1024)
    """Sequences side by side in acting."""
    d_model: WholeNumber = 64
    """Width at equal width, and of the S7 whose parameters are counted."""
    repeats: WholeNumber = 15
    """Rounds that are timed, fewer where they would not fit into the budget, but never fewer than 5; acting, which
    takes less, gets 3 times as many."""
    budget_seconds: RealNumber = 60.0
    """What may be spent on one cell of the table; where 5 rounds take longer, it is left out, and marked."""
    memory_gb: RealNumber = 8.0
    """What one training step may take in 10^9 bytes; a cell that takes more is left out, and marked."""
    common: tyro.conf.OmitArgPrefixes[CommonOptions] = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Checks what tyro does not."""
        _check_positive(
            self, "lengths", "batch_size", "batch_sizes", "d_model", "repeats", "budget_seconds", "memory_gb"
        )


@dataclass(frozen=True, kw_only=True)
class RecallBench:
    """What the sequence models can remember: supervised tasks of pure memory, trained in minutes.

    copying: repeat 8 tokens, seen at random places among noise, in order. recall: 8 pairs of a key and a value among
    noise, then the keys; say their values. parity: whether the number of ones so far is odd, after every bit.
    """

    QUICK: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lengths": (64,), "seeds": 1, "steps": 100, "batch_size": 16, "budget_seconds": 1.5}
    )

    tasks: Annotated[tuple[str, ...], ALL] = ()
    """Which tasks: copying, recall, parity."""
    cores: Annotated[tuple[str, ...], ALL] = ()
    """Which of the cores to compare with S7."""
    lengths: Annotated[tuple[WholeNumber, ...], NUMBERS] = (64, 256, 1024)
    """Steps of the sequences, in training and in the test."""
    seeds: WholeNumber = 3
    """How many times each is trained: with the seeds 0, 1, ..."""
    steps: WholeNumber = 2000
    """The most updates; training ends early once the task is solved."""
    batch_size: WholeNumber = 32
    """Sequences in an update; each is new."""
    d_model: WholeNumber = 64
    """Width of the network."""
    n_blocks: WholeNumber = 2
    """Blocks on top of each other."""
    learning_rate: RealNumber = 2e-3
    """AdamW's largest step size: it rises over the first tenth of the updates, and falls along a cosine."""
    budget_seconds: RealNumber = 600.0
    """What may be spent on one training run; one that takes longer ends there, and is marked."""
    common: tyro.conf.OmitArgPrefixes[CommonOptions] = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Checks what tyro does not."""
        sizes = ("lengths", "seeds", "steps", "batch_size", "d_model", "n_blocks", "learning_rate", "budget_seconds")
        _check_positive(self, *sizes)


@dataclass(frozen=True, kw_only=True)
class EnvsBench:
    """The environments: spaces, steps a second on one core, and the mean return of random actions.

    Those with a batched engine are stepped in it, all others one by one. `s7rl list envs` shows what came of it on the
    machine that experiments/results/bench names. An environment whose package is not installed is left out.
    """

    QUICK: ClassVar[Mapping[str, Any]] = MappingProxyType({"n_envs": 16, "repeats": 5, "budget_seconds": 0.1})

    envs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[ID ...]", help_behavior_hint="(default: all listed)")] = ()
    """Which environments."""
    n_envs: WholeNumber = 64
    """Environments side by side; fewer of a kind without batched engine where making them takes longer than the
    budget."""
    repeats: WholeNumber = 9
    """Rounds that are timed."""
    budget_seconds: RealNumber = 1.5
    """What the rounds of one environment take together, and the most that may be spent on making them, and on waiting
    for episodes to end afterwards."""
    common: tyro.conf.OmitArgPrefixes[CommonOptions] = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Checks what tyro does not."""
        _check_positive(self, "n_envs", "repeats", "budget_seconds")


@dataclass(frozen=True, kw_only=True)
class TrainBench:
    """Whole trainers: environment steps per second of rollout and learning, together and alone, and their memory.

    Ours with every core, sb3-contrib's RecurrentPPO where it is installed, as it comes and with one LSTM, and SB3's PPO
    without memory, on the same environments, with minibatches and passes of the same size. All take turns.
    """

    QUICK: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"settings": ("tmaze-50",), "cores": ("gru",), "repeats": 5, "budget_seconds": 15.0}
    )

    settings: Annotated[tuple[str, ...], ALL] = ()
    """Which of tmaze-100, tmaze-500, tmaze-50, tmaze-1000, minigrid, cartpole, and, of S7 alone, flat: rollouts of
    65,536 steps over 128 to 8,192 steps per environment, and memory: 128 to 8,192 steps of 8 environments."""
    cores: Annotated[tuple[str, ...], ALL] = ()
    """Which of the cores to compare with S7."""
    d_model: WholeNumber = 64
    """Width of all networks."""
    d_state: Annotated[OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: that of each preset)")] = None
    """Modes of state space models."""
    repeats: WholeNumber = 15
    """Rounds that are timed, fewer where they would not fit into the budget, but never fewer than 5."""
    budget_seconds: RealNumber = 300.0
    """What the rounds of one setting may take; a trainer of which 5 rounds take longer is left out, and marked."""
    memory_gb: RealNumber = 8.0
    """What one trainer may take in 10^9 bytes; one that takes more is left out, and marked."""
    common: tyro.conf.OmitArgPrefixes[CommonOptions] = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Checks what tyro does not."""
        _check_positive(self, "d_model", "repeats", "budget_seconds", "memory_gb")
        if self.d_state is not None:
            _check_positive(self, "d_state")


BenchRequest: TypeAlias = ScanBench | CoresBench | RecallBench | EnvsBench | TrainBench
BENCHES: Mapping[str, type[BenchRequest]] = MappingProxyType(
    {"scan": ScanBench, "cores": CoresBench, "recall": RecallBench, "envs": EnvsBench, "train": TrainBench}
)
What: TypeAlias = (
    Annotated[ScanBench, tyro.conf.subcommand("scan", prefix_name=False)]
    | Annotated[CoresBench, tyro.conf.subcommand("cores", prefix_name=False)]
    | Annotated[RecallBench, tyro.conf.subcommand("recall", prefix_name=False)]
    | Annotated[EnvsBench, tyro.conf.subcommand("envs", prefix_name=False)]
    | Annotated[TrainBench, tyro.conf.subcommand("train", prefix_name=False)]
)


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Measure what sequence models, trainers and environments cost, and what the models can remember.

    Writes a folder with a table, mostly a picture, and a description of the machine, as it goes: a run that is stopped
    leaves what it had.
    """

    what: tyro.conf.OmitArgPrefixes[What]
    """What to measure."""


Request = TypeVar("Request", bound=BenchRequest)


def quickened(request: Request) -> Request:
    """The request with ``--quick`` worked in: what the user left at its default is replaced by less."""
    if not request.common.quick:
        return request
    defaults = {option.name: option.default for option in fields(request)}
    less = {name: value for name, value in request.QUICK.items() if getattr(request, name) == defaults[name]}
    return replace(request, **less)


def _check_positive(request: Any, *names: str) -> None:
    """Raises UsageError where an option has no number, or one that is not positive."""
    for name in names:
        value = getattr(request, name)
        option = f"--{name.replace('_', '-')}"
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers:
            raise UsageError(f"{option} is empty, and there is nothing to measure: give one number or more")
        for number in numbers:
            if number <= 0:
                raise UsageError(f"{option} {number} must be positive: give a number above 0")
