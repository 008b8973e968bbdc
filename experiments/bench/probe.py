"""Something that runs in a process of its own: what memory it takes at its peak, and about how long it lasts.

The process has a limit of memory and of time, so that a cell which takes too much fails by itself and takes neither
the benchmark nor the machine with it. Each is forked from a server that has imported torch and done nothing else, which
is as good as fresh and does not wait for the import.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import ClassVar

from s7rl.experiments.bench.environment import environment_variable
from s7rl.experiments.bench.measuring import FAILED, MIN_ROUNDS, failure
from s7rl.experiments.errors import is_out_of_memory

STARTUP_SECONDS = 120.0
"""What importing torch may take on a busy machine, and loading the kernels."""
SLACK = 512 * 2**20
"""Bytes of addresses beyond the limit: allocators reserve some that they never use."""
WARM_UP_LENGTH = 8


@dataclass(frozen=True, kw_only=True)
class Probed(ABC):
    """Something that can be run, and its limits."""

    modules: ClassVar[tuple[str, ...]]
    """What the server imports for it."""

    device: str
    """Where it runs."""
    threads: int
    """Threads of torch."""
    memory_bytes: int
    """The limit of its memory."""
    budget_seconds: float
    """It is given up where ``MIN_ROUNDS`` runs would take longer."""

    @abstractmethod
    def warm_up(self) -> None:
        """Compiles kernels and loads libraries, which do not count."""

    @abstractmethod
    def make(self) -> Callable[[], object]:
        """Makes what is run; its memory counts, its time does not."""


@dataclass(frozen=True, kw_only=True)
class ProbeRequest(Probed):
    """A training step of a sequence model."""

    modules: ClassVar[tuple[str, ...]] = ("s7rl.experiments.bench.peak_memory", "s7rl.experiments.bench.models")

    name: str
    """The model."""
    d_model: int
    """Its width."""
    length: int
    """Steps of the sequences."""
    batch_size: int
    """Sequences side by side."""

    def warm_up(self) -> None:
        """Runs a short one."""
        self._step(min(WARM_UP_LENGTH, self.length))()

    def make(self) -> Callable[[], object]:
        """Makes the model and its data."""
        return self._step(self.length)

    def _step(self, length: int) -> Callable[[], object]:
        from s7rl.experiments.bench.models import TrainingStep

        return TrainingStep(self.name, self.d_model, length=length, batch_size=self.batch_size, device=self.device)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What came of it: two numbers, or the reason why not."""

    peak_bytes: int = 0
    """The most memory at once."""
    seconds: float = 0.0
    """How long it took, the first time at this length."""
    left_out: str | None = None
    """Why there are no numbers."""


def probe(request: Probed) -> ProbeResult:
    """Runs something once, in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    # Heard only before the server starts.
    context.set_forkserver_preload([*request.modules])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(request, theirs), daemon=True)
    # OpenMP reads its number of threads when torch is loaded, in the server.
    with environment_variable("OMP_NUM_THREADS", str(request.threads)):
        process.start()
    theirs.close()
    allowed = request.budget_seconds / MIN_ROUNDS
    try:
        if not ours.poll(STARTUP_SECONDS + allowed):
            return ProbeResult(left_out=f"over budget: {MIN_ROUNDS} x more than {allowed:.3g} s")
        result: ProbeResult = ours.recv()
        return result
    except EOFError:
        process.join()
        return ProbeResult(left_out=f"{FAILED}: its process ended with code {process.exitcode}")
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def run_here(request: Probed) -> ProbeResult:
    """Runs it in this process, which it limits for good."""
    import torch

    from s7rl.experiments.bench.peak_memory import address_space, peak_bytes

    torch.set_num_threads(request.threads)
    device = torch.device(request.device)
    seconds = 0.0

    def run() -> None:
        nonlocal seconds
        thunk = request.make()  # Made inside, so that parameters and input count.
        began = time.perf_counter()
        thunk()
        seconds = time.perf_counter() - began

    try:
        request.warm_up()
        if device.type == "cpu":
            limit = address_space() + request.memory_bytes + SLACK
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        peak = peak_bytes(run, device)
    except (RuntimeError, ValueError, MemoryError) as error:
        if is_out_of_memory(error):
            return ProbeResult(left_out=over_memory(request.memory_bytes))
        return ProbeResult(left_out=failure(error))
    if peak > request.memory_bytes:
        return ProbeResult(left_out=over_memory(request.memory_bytes))
    return ProbeResult(peak_bytes=peak, seconds=seconds)


def over_memory(limit_bytes: int) -> str:
    """The reason of a cell that takes more memory than it may."""
    return f"over memory: more than {limit_bytes / 1e9:g} GB"


def _answer(request: Probed, connection: Connection) -> None:
    connection.send(run_here(request))
    connection.close()
