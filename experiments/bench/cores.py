"""`s7rl bench cores`: what a sequence model costs in training, over the length, and in acting, over the batch.

Every cell is probed first, in a process of its own, for its memory and a first idea of its time. What fits then takes
turns with everything else of the same length. Longer cells than one that was left out are left out too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from s7rl.experiments.bench.chart import Line, Panel, draw
from s7rl.experiments.bench.config import CoresBench
from s7rl.experiments.bench.findings import findings
from s7rl.experiments.bench.measuring import FAILED, Forecast, Spread, Thunk, Times, measure, ratio, too_long
from s7rl.experiments.bench.models import (
    BARE,
    MATCHINGS,
    REFERENCE,
    Acting,
    Contender,
    TrainingStep,
    chosen_cores,
    contenders,
)
from s7rl.experiments.bench.output import BenchFolder, Cell, spread_cells, spread_columns
from s7rl.experiments.bench.probe import ProbeRequest, over_memory, probe
from s7rl.experiments.bench.progress import BenchProgress
from s7rl.experiments.bench.tables import in_short, with_spread
from s7rl.experiments.wording import number, plural, say

TRAIN, ACT = "train", "act"
ACTING_ROUNDS = 3
"""So many times the rounds of training: acting takes less than a millisecond, and any other process disturbs it."""
COLUMNS = (
    "measured",
    "core",
    "matching",
    "d_model",
    "parameters",
    "state_size",
    "length",
    "batch_size",
    *spread_columns("seconds"),
    "repeats",
    "microseconds_per_step",
    "peak_mb",
    *spread_columns("over_s7"),
    "left_out",
)


@dataclass
class Results:
    """All that was measured. A cell is (train or act, contender, length or batch size)."""

    times: dict[tuple[str, Contender, int], Times] = field(default_factory=dict)
    """Seconds by round; those of one length, or of one batch size in acting, were taken in the same rounds."""
    peak_bytes: dict[tuple[Contender, int], int] = field(default_factory=dict)
    """Memory of a training step by length."""
    left_out: dict[tuple[str, Contender, int], str] = field(default_factory=dict)
    """Why a cell has no times."""


def bench_cores(request: CoresBench, command: Sequence[str], console: Console) -> Path:
    """Measures, and leaves a folder.

    Args:
        request: the request.
        command: the words it was made of.
        console: where everything is shown.

    Returns:
        The folder.

    Raises:
        UsageError: a core is not known, or the folder cannot be made.
    """
    every = contenders(chosen_cores(request.cores), request.d_model)
    lengths, batch_sizes = sorted(set(request.lengths)), sorted(set(request.batch_sizes))
    folder = BenchFolder("cores", COLUMNS, command, request.common)
    results = Results()
    try:
        with BenchProgress(console, len(every) * (len(lengths) + len(batch_sizes))) as progress:
            for batch_size in batch_sizes:
                progress.show(f"acting, batch of {batch_size:,}")
                _measure_acting(request, every, batch_size, results)
                folder.add(*(_row(request, ACT, contender, batch_size, every, results) for contender in every))
                progress.advance(len(every))
            forecasts = {contender: (Forecast(), Forecast()) for contender in every}
            for length in lengths:
                _measure_training(request, every, length, forecasts, results, progress)
                folder.add(*(_row(request, TRAIN, contender, length, every, results) for contender in every))
    finally:
        if results.times:
            _draw(folder, request, every, results)
    for table in _tables(request, every, lengths, batch_sizes, results):
        console.print(table)
    for (what, who, size), reason in results.left_out.items():
        if in_short(reason) == FAILED:
            line = f"{who.name} {who.d_model}, {what} {size:,}: {reason}"
            say(console, line)
    training = {(who, length): times for (what, who, length), times in results.times.items() if what == TRAIN}
    for line in findings(every, lengths, training):
        say(console, line)
    return folder.path


def _measure_acting(request: CoresBench, every: Sequence[Contender], batch_size: int, results: Results) -> None:
    device = request.common.device
    thunks = {who: Acting(who.name, who.d_model, batch_size=batch_size, device=device) for who in every}
    _take_turns(request, ACT, thunks, batch_size, results, repeats=ACTING_ROUNDS * request.repeats)


def _measure_training(
    request: CoresBench,
    every: Sequence[Contender],
    length: int,
    forecasts: Mapping[Contender, tuple[Forecast, Forecast]],
    results: Results,
    progress: BenchProgress,
) -> None:
    fitting = []
    for contender in every:
        progress.show(f"T = {length:,}: {contender.name}, width {contender.d_model}, memory")
        if reason := _probed(request, contender, length, forecasts[contender], results):
            results.left_out[TRAIN, contender, length] = reason
            progress.advance()
        else:
            fitting.append(contender)
    progress.show(f"T = {length:,}: {len(fitting)} models in turns")
    sizes = {"length": length, "batch_size": request.batch_size}
    thunks = {who: TrainingStep(who.name, who.d_model, **sizes, device=request.common.device) for who in fitting}
    _take_turns(request, TRAIN, thunks, length, results, repeats=request.repeats)
    progress.advance(len(fitting))


def _probed(
    request: CoresBench, contender: Contender, length: int, forecasts: tuple[Forecast, Forecast], results: Results
) -> str | None:
    """Notes the memory of a cell; returns why it is to be left out, or None where it fits."""
    shorter = [its for what, who, its in results.left_out if what == TRAIN and who == contender]
    if shorter:
        first = min(shorter)
        return f"{in_short(results.left_out[TRAIN, contender, first])}: T = {first:,} was left out already"
    seconds, memory = forecasts
    limit = int(request.memory_gb * 1e9)
    if reason := too_long(seconds(length), request.budget_seconds):
        return f"{reason}, as forecast"
    if memory(length) > limit:
        return f"{over_memory(limit)}: {memory(length) / 1e9:.3g} GB, as forecast"
    result = probe(
        ProbeRequest(
            name=contender.name,
            d_model=contender.d_model,
            length=length,
            batch_size=request.batch_size,
            device=request.common.device,
            threads=request.common.threads,
            memory_bytes=limit,
            budget_seconds=request.budget_seconds,
        )
    )
    if result.left_out is not None:
        return result.left_out
    results.peak_bytes[contender, length] = result.peak_bytes
    seconds.seen[length], memory.seen[length] = result.seconds, result.peak_bytes
    return too_long(result.seconds, request.budget_seconds)


def _take_turns(
    request: CoresBench,
    what: str,
    thunks: Mapping[Contender, Thunk],
    size: int,
    results: Results,
    *,
    repeats: int,
) -> None:
    """Times everything of one size in turns."""
    measured = measure(thunks, repeats=repeats, budget_seconds=request.budget_seconds)
    steps = Acting.STEPS if what == ACT else 1
    results.times |= {(what, who, size): times / steps for who, times in measured.times.items()}
    results.left_out |= {(what, who, size): reason for who, reason in measured.left_out.items()}


def _row(
    request: CoresBench, what: str, contender: Contender, size: int, every: Iterable[Contender], results: Results
) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "measured": what,
        "core": contender.name,
        "matching": " and ".join(contender.matchings),
        "d_model": contender.d_model,
        "parameters": contender.parameters,
        "state_size": contender.state_size,
        "length": size if what == TRAIN else 1,
        "batch_size": size if what == ACT else request.batch_size,
        "left_out": results.left_out.get((what, contender, size)),
    }
    peak = results.peak_bytes.get((contender, size)) if what == TRAIN else None
    if peak is not None:
        row["peak_mb"] = round(peak / 1e6, 2)
    times = results.times.get((what, contender, size))
    if times is None:
        return row
    spread = Spread.of(times)
    row["repeats"] = spread.repeats
    row["microseconds_per_step"] = round(1e6 * spread.median / (size if what == TRAIN else 1), 4)
    reference = next(other for other in every if other.name == REFERENCE)
    beside = results.times.get((what, reference, size))
    return (
        row
        | spread_cells("seconds", spread)
        | spread_cells("over_s7", None if beside is None else ratio(times, beside))
    )


def _tables(
    request: CoresBench,
    every: Sequence[Contender],
    lengths: Sequence[int],
    batch_sizes: Sequence[int],
    results: Results,
) -> Iterable[Table]:
    for matching, words in MATCHINGS.items():
        its = [contender for contender in every if matching in contender.matchings]
        training = f"Training at {words}, B = {request.batch_size}: "
        yield _matrix(
            f"{training}microseconds per step, forward and backward, ± half the distance between the quartiles",
            "T =",
            its,
            lengths,
            lambda contender, length: _timing(results, TRAIN, contender, length, 1e6 / length),
        )
        yield _matrix(
            f"{training}megabytes at the peak",
            "T =",
            its,
            lengths,
            lambda contender, length: _peak(results, contender, length),
        )
        yield _matrix(
            f"Acting at {words}: microseconds of one step",
            "B =",
            its,
            batch_sizes,
            lambda contender, batch_size: _timing(results, ACT, contender, batch_size, 1e6),
        )


def _matrix(
    title: str,
    over: str,
    every: Sequence[Contender],
    sizes: Sequence[int],
    cell: Callable[[Contender, int], str],
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("core")
    table.add_column("width", justify="right")
    table.add_column("parameters", justify="right")
    for size in sizes:
        table.add_column(f"{over} {size:,}", justify="right")
    for contender in every:
        table.add_row(
            contender.name,
            f"{contender.d_model:,}",
            f"{contender.parameters:,}",
            *(cell(contender, size) for size in sizes),
        )
    return table


def _timing(results: Results, what: str, contender: Contender, size: int, scale: float) -> str:
    times = results.times.get((what, contender, size))
    return in_short(results.left_out[what, contender, size]) if times is None else with_spread(Spread.of(times), scale)


def _peak(results: Results, contender: Contender, length: int) -> str:
    peak = results.peak_bytes.get((contender, length))
    return in_short(results.left_out[TRAIN, contender, length]) if peak is None else number(peak / 1e6)


def _draw(folder: BenchFolder, request: CoresBench, every: Sequence[Contender], results: Results) -> None:
    names = list(dict.fromkeys(contender.name for contender in every))
    panels = []
    for matching, words in MATCHINGS.items():
        time: dict[str, list[tuple[int, Spread]]] = {name: [] for name in names}
        step: dict[str, list[tuple[int, Spread]]] = {name: [] for name in names}
        memory: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in names}
        for (what, contender, size), times in sorted(results.times.items(), key=lambda item: item[0][2]):
            if matching in contender.matchings:
                scale = 1e6 / size if what == TRAIN else 1e6
                (time if what == TRAIN else step)[contender.name].append((size, Spread.of(times).scaled(scale)))
        for (contender, length), peak in sorted(results.peak_bytes.items(), key=lambda item: item[0][1]):
            if matching in contender.matchings and peak > 0:
                memory[contender.name].append((float(length), *3 * (peak / 1e6,)))
        panels.append(
            [
                Panel(
                    title=f"training at {words}",
                    xlabel="steps T of the sequences",
                    ylabel="microseconds per step",
                    lines=_lines(time),
                ),
                Panel(
                    title=f"training at {words}",
                    xlabel="steps T of the sequences",
                    ylabel="megabytes at the peak",
                    lines=[
                        Line(name=name, points=tuple(points), position=position, yardstick=name in BARE)
                        for position, (name, points) in enumerate(memory.items())
                    ],
                ),
                Panel(
                    title=f"acting at {words}",
                    xlabel="sequences side by side",
                    ylabel="microseconds of one step",
                    lines=_lines(step),
                ),
            ]
        )
    title = (
        f"sequence models: width {request.d_model} or as many parameters, training B = {request.batch_size}, "
        f"{plural(request.common.threads, 'thread')}, {request.common.device}"
    )
    draw(panels, folder.picture, title=title)


def _lines(points: Mapping[str, Sequence[tuple[int, Spread]]]) -> list[Line]:
    return [Line.of(name, its, position, name in BARE) for position, (name, its) in enumerate(points.items())]
