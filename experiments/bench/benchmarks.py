"""From a request to the benchmark that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from stable_baselines3.common.utils import get_device

from s7rl.agents.allocator import keep_freed_memory
from s7rl.agents.threads import torch_threads
from s7rl.experiments.bench.config import (
    BenchConfig,
    CoresBench,
    EnvsBench,
    RecallBench,
    ScanBench,
    TrainBench,
    quickened,
)
from s7rl.experiments.bench.cores import bench_cores
from s7rl.experiments.bench.envs import bench_envs
from s7rl.experiments.bench.recall import bench_recall
from s7rl.experiments.bench.scan import bench_scan
from s7rl.experiments.bench.train import bench_train
from s7rl.experiments.building import check_device
from s7rl.experiments.errors import memory_shortage
from s7rl.experiments.wording import say

BENCHMARKS: Mapping[type, Callable[[Any, Sequence[str], Console], Path]] = MappingProxyType(
    {
        ScanBench: bench_scan,
        CoresBench: bench_cores,
        RecallBench: bench_recall,
        EnvsBench: bench_envs,
        TrainBench: bench_train,
    }
)
"""By the request that each fulfils; it returns the folder that it leaves."""


def bench(config: BenchConfig, command: Sequence[str], console: Console) -> int:
    """Runs one benchmark.

    Args:
        config: the request.
        command: the words it was made of, for the folder.
        console: where everything is shown.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the request cannot be fulfilled.
    """
    request = quickened(config.what)
    check_device(request.common.device)
    request = replace(request, common=replace(request.common, device=str(get_device(request.common.device))))
    if request.common.device == "cpu":
        keep_freed_memory()  # as the trainer does
    with memory_shortage("give smaller sizes or fewer cores"), torch_threads(request.common.threads):
        folder = BENCHMARKS[type(request)](request, command, console)
    say(console, f"results: {folder}")
    return 0
