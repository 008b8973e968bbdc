"""From a request to the benchmark that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from stable_baselines3.common.utils import get_device

from s7rl.agents.allocator import keep_freed_memory
from s7rl.agents.threads import torch_threads
from s7rl.experiments.bench.config import BenchConfig, CoresBench, EnvsBench, RecallBench, ScanBench, quickened
from s7rl.experiments.bench.cores import bench_cores
from s7rl.experiments.bench.envs import bench_envs
from s7rl.experiments.bench.recall import bench_recall
from s7rl.experiments.bench.scan import bench_scan
from s7rl.experiments.bench.train import bench_train
from s7rl.experiments.building import check_device
from s7rl.experiments.errors import UsageError


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
    keep_freed_memory()  # as the trainer does
    try:
        with torch_threads(request.common.threads):
            if isinstance(request, ScanBench):
                bench_scan(request, command, console)
            elif isinstance(request, CoresBench):
                bench_cores(request, command, console)
            elif isinstance(request, RecallBench):
                bench_recall(request, command, console)
            elif isinstance(request, EnvsBench):
                bench_envs(request, command, console)
            else:
                bench_train(request, command, console)
    except (MemoryError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"that does not fit this machine ({reason}): give smaller sizes or fewer cores") from error
    return 0
