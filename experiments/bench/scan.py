"""`s7rl bench scan`: the linear recurrence, forward and backward, beside a copy of as much memory.

Of the eight arrays [T, B, N] that it has to touch, the forward pass reads a and b and writes the states; the backward
pass reads a, the states and their gradient, and writes the gradients of a and b. The copy streams eight arrays of that
size: it reads four and writes four. It writes into memory that is there, where the scan also has to get its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from s7rl import linear_scan
from s7rl.backends import BACKENDS, VARIABLE
from s7rl.experiments.bench.chart import Line, Panel, draw
from s7rl.experiments.bench.config import ScanBench
from s7rl.experiments.bench.environment import environment_variable
from s7rl.experiments.bench.measuring import Forecast, Spread, Times, measure, ratio, too_long
from s7rl.experiments.bench.models import SEED, synchronize
from s7rl.experiments.bench.output import BenchFolder, Cell, spread_cells, spread_columns
from s7rl.experiments.bench.progress import BenchProgress
from s7rl.experiments.bench.tables import in_short, with_spread
from s7rl.experiments.wording import number, plural

Arrays: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
Scan: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
COPY, LOOP = "copy", "loop"
COLUMNS = (
    "backend",
    "length",
    "batch_size",
    "modes",
    *spread_columns("seconds"),
    "repeats",
    "microseconds_per_step",
    "gigabytes_per_second",
    *spread_columns("over_copy"),
    *spread_columns("speedup_over_loop"),
    "left_out",
)


def bench_scan(request: ScanBench, command: Sequence[str], console: Console) -> Path:
    """Measures, and leaves a folder.

    Args:
        request: the request.
        command: the words it was made of.
        console: where everything is shown.

    Returns:
        The folder.

    Raises:
        UsageError: the folder cannot be made.
    """
    folder = BenchFolder("scan", COLUMNS, command, request.common)
    scans = available_scans(torch.device(request.common.device))
    names = [COPY, LOOP, *scans]
    results: dict[tuple[str, int], Spread] = {}
    table = _table(request)
    try:
        with BenchProgress(console, len(names) * len(request.lengths)) as progress:
            forecasts = {name: Forecast() for name in names}
            for length in sorted(set(request.lengths)):
                progress.show(f"T = {length:,}: {', '.join(names)}")
                times, left_out = _measure(request, scans, length, forecasts)
                rows = [_row(request, name, length, times, left_out) for name in names]
                folder.add(*rows)
                _show(table, names, length, times, left_out)
                results |= {(name, length): Spread.of(times[name]) for name in times}
                progress.advance(len(names))
    finally:
        if results:
            _draw(folder, request, names, results)
    console.print(table)
    return folder.path


def available_scans(device: torch.device) -> dict[str, Scan]:
    """Every implementation of ``linear_scan`` that works here, by name; each chooses its backend when called."""
    tensors = _on(device, arrays(1, 1, 1))
    scans = {name: _chosen(name) for name in BACKENDS}
    return {name: scan for name, scan in scans.items() if _works(scan, tensors)}


def arrays(length: int, batch_size: int, modes: int) -> Arrays:
    """Magnitudes, what is added, the state before, and resets; the same for the same sizes."""
    generator = torch.Generator().manual_seed(SEED)
    a = torch.rand(length, batch_size, modes, generator=generator)
    b = torch.randn(length, batch_size, modes, generator=generator)
    return a, b, torch.zeros(batch_size, modes), torch.zeros(length, batch_size, dtype=torch.bool)


def _on(device: torch.device, tensors: Arrays) -> Arrays:
    a, b, initial, reset = (tensor.to(device) for tensor in tensors)
    return a.requires_grad_(), b.requires_grad_(), initial, reset


def loop(a: Tensor, b: Tensor, initial: Tensor, reset: Tensor) -> Tensor:
    """What one writes first: a loop over time, without resets, without rotation."""
    state, states = initial, []
    for a_t, b_t in zip(a.unbind(), b.unbind(), strict=True):
        state = a_t * state + b_t
        states.append(state)
    return torch.stack(states)


def _chosen(backend: str) -> Scan:
    def scan(a: Tensor, b: Tensor, initial: Tensor, reset: Tensor) -> Tensor:
        with environment_variable(VARIABLE, backend):
            return linear_scan(a, b, initial, reset)

    return scan


def _works(scan: Scan, tensors: Arrays) -> bool:
    try:
        scan(*tensors).sum().backward()
    except (ValueError, RuntimeError):
        return False
    return True


def _measure(
    request: ScanBench, scans: dict[str, Scan], length: int, forecasts: dict[str, Forecast]
) -> tuple[dict[str, Times], dict[str, str]]:
    """Times all implementations of one length in turns; returns times, and why others have none."""
    device = torch.device(request.common.device)
    a, b, initial, reset = _on(device, arrays(length, request.batch_size, request.modes))
    gradient = torch.randn_like(b)
    pairs = [(torch.empty_like(a), torch.rand_like(a)) for _ in range(4)]

    def copy() -> None:
        with torch.no_grad():
            for target, source in pairs:
                target.copy_(source)
        synchronize(device)

    def forward_backward(scan: Scan) -> Callable[[], None]:
        def run() -> None:
            a.grad = b.grad = None
            scan(a, b, initial, reset).backward(gradient)
            synchronize(device)

        return run

    thunks = {COPY: copy} | {name: forward_backward(scan) for name, scan in {LOOP: loop, **scans}.items()}
    left_out = {
        name: reason for name in thunks if (reason := too_long(forecasts[name](length), request.budget_seconds))
    }
    kept = {name: thunk for name, thunk in thunks.items() if name not in left_out}
    measured = measure(kept, repeats=request.repeats, budget_seconds=request.budget_seconds)
    for name, times in measured.times.items():
        forecasts[name].seen[length] = Spread.of(times).median
    return measured.times, left_out | measured.left_out


def _row(
    request: ScanBench, name: str, length: int, times: dict[str, Times], left_out: dict[str, str]
) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "backend": name,
        "length": length,
        "batch_size": request.batch_size,
        "modes": request.modes,
        "left_out": left_out.get(name),
    }
    if name not in times:
        return row
    spread = Spread.of(times[name])
    eight_arrays = 8 * 4 * length * request.batch_size * request.modes
    row |= {
        "repeats": spread.repeats,
        "microseconds_per_step": round(1e6 * spread.median / length, 4),
        "gigabytes_per_second": round(eight_arrays / spread.median / 1e9, 4),
    }
    over_copy = ratio(times[name], times[COPY]) if COPY in times else None
    speedup = ratio(times[LOOP], times[name]) if LOOP in times else None
    return (
        row
        | spread_cells("seconds", spread)
        | spread_cells("over_copy", over_copy)
        | spread_cells("speedup_over_loop", speedup)
    )


def _table(request: ScanBench) -> Table:
    table = Table(
        title=f"linear scan, forward and backward, float32, B = {request.batch_size}, N = {request.modes}\n"
        "median ± half the distance between the quartiles",
        title_justify="left",
    )
    table.add_column("T", justify="right")
    table.add_column("implementation")
    for name in ("milliseconds", "times the copy", "faster than the loop"):
        table.add_column(name, justify="right")
    return table


def _show(table: Table, names: Sequence[str], length: int, times: dict[str, Times], left_out: dict[str, str]) -> None:
    for name in names:
        heading = f"{length:,}" if name == names[0] else ""
        if name in left_out:
            table.add_row(heading, name, Text(in_short(left_out[name]), style="dim"), "", "")
            continue
        over_copy = number(ratio(times[name], times[COPY]).median) if COPY in times else "not known"
        faster = number(ratio(times[LOOP], times[name]).median) if LOOP in times and name != COPY else ""
        table.add_row(heading, name, with_spread(Spread.of(times[name]), 1e3), over_copy, faster)
    table.add_section()


def _draw(
    folder: BenchFolder, request: ScanBench, names: Sequence[str], results: dict[tuple[str, int], Spread]
) -> None:
    lines = []
    for position, name in enumerate(names):
        known = sorted((length, spread) for (its, length), spread in results.items() if its == name)
        lines.append(
            Line.of(name, [(length, spread.scaled(1e6 / length)) for length, spread in known], position, name == COPY)
        )
    title = (
        f"linear scan, forward and backward: float32, B = {request.batch_size}, N = {request.modes}, "
        f"{plural(request.common.threads, 'thread')}, {request.common.device}"
    )
    panel = Panel(title="", xlabel="steps T of the sequences", ylabel="microseconds per step", lines=lines)
    draw([[panel]], folder.picture, title=title)
