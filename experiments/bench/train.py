"""`s7rl bench train`: how many environment steps a second a whole trainer makes, and what memory it takes.

Each trainer of a setting is probed first, in a process of its own, for its memory and a first idea of its time. Those
that fit then take turns: a rollout and an update of the first, of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from s7rl.experiments.bench.config import TrainBench
from s7rl.experiments.bench.dots import Dot, Dots, draw_dots
from s7rl.experiments.bench.measuring import FAILED, MIN_ROUNDS, Spread, Thunk, Times, interleave, ratio, too_long
from s7rl.experiments.bench.models import REFERENCE, chosen_cores
from s7rl.experiments.bench.output import BenchFolder, Cell, spread_cells, spread_columns
from s7rl.experiments.bench.probe import probe
from s7rl.experiments.bench.progress import BenchProgress
from s7rl.experiments.bench.tables import in_short, with_spread
from s7rl.experiments.bench.train_findings import ROLLOUT, TRAINING, WHOLE, findings
from s7rl.experiments.bench.trainers import (
    NO_CONTRIB,
    PRODUCTS,
    SB3,
    SB3_CONTRIB,
    SHARED,
    RoundProbe,
    Run,
    Setting,
    Trainer,
    TrainerRounds,
    has_contrib,
    make_rounds,
    trainer_of,
)
from s7rl.experiments.suggestions import chosen
from s7rl.experiments.wording import number, plural, say

BOUNDS, FLAT, MEMORY = ("tmaze-100", "tmaze-50"), "flat", "memory"
"""The settings that have the products beside the trainers, and those that compare S7 with itself over the length."""
LENGTHS, FLAT_STEPS, MEMORY_ENVS = (128, 512, 2048, 8192), 65_536, 8
"""Of the latter: steps of each environment in a rollout; steps of all together; environments of the other."""
SETTINGS: Mapping[str, tuple[Setting, ...]] = MappingProxyType(
    {
        "tmaze-100": (Setting.tmaze(n_steps=128, n_envs=8, episode=100),),
        "tmaze-500": (Setting.tmaze(n_steps=512, n_envs=8, episode=500),),
        "tmaze-50": (Setting.tmaze(n_steps=256, n_envs=32, episode=50),),
        "tmaze-1000": (Setting.tmaze(n_steps=2048, n_envs=16, episode=1000),),
        "minigrid": (Setting.preset("MiniGrid-MemoryS13-v0"),),
        "cartpole": (Setting.preset("s7rl/CartPolePositionOnly-v0"),),
        FLAT: tuple(Setting.tmaze(n_steps=steps, n_envs=FLAT_STEPS // steps, episode=100) for steps in LENGTHS),
        MEMORY: tuple(Setting.tmaze(n_steps=steps, n_envs=MEMORY_ENVS, episode=100) for steps in LENGTHS),
    }
)
"""What is measured, by the name that ``--settings`` takes; the number is the length of the episodes."""
COLUMNS = (
    "setting",
    "env_id",
    "n_steps",
    "n_envs",
    "batch_size",
    "trainer",
    "d_model",
    "d_state",
    "parameters",
    "measured",
    *spread_columns("seconds"),
    "repeats",
    *spread_columns("steps_per_second"),
    *spread_columns("over_s7"),
    "peak_mb",
    "left_out",
)


@dataclass
class Results:
    """All that was measured."""

    times: dict[tuple[Run, str], Times] = field(default_factory=dict)
    """Seconds by round, of a rollout, an update or both; those of one setting were taken in the same rounds."""
    parameters: dict[Run, int] = field(default_factory=dict)
    """How many numbers a trainer learns."""
    peak_bytes: dict[Run, int] = field(default_factory=dict)
    """Memory of the first round."""
    left_out: dict[Run, str] = field(default_factory=dict)
    """Why a trainer has no times."""


def bench_train(request: TrainBench, command: Sequence[str], console: Console) -> Path:
    """Measures, and leaves a folder.

    Args:
        request: the request.
        command: the words it was made of.
        console: where everything is shown.

    Returns:
        The folder.

    Raises:
        UsageError: a core or a setting is not known, or the folder cannot be made.
    """
    runs = {name: runs_of(name, request) for name in chosen("setting", request.settings, SETTINGS, "--settings")}
    folder = BenchFolder("train", COLUMNS, command, request.common)
    results = Results()
    measured: list[str] = []
    try:
        with BenchProgress(console, sum(map(len, runs.values()))) as progress:
            for name, its in runs.items():
                _measure(request, name, its, results, progress)
                folder.add(*(row for run in its for row in _rows(name, run, its, results)))
                measured.append(name)
    finally:
        if results.times:
            title = f"whole trainers, width {request.d_model}, {plural(request.common.threads, 'thread')}"
            panels = [_dots(name, runs[name], results) for name in measured]
            draw_dots(panels, folder.picture, title=f"{title}, {request.common.device}")
    for name, its in runs.items():
        console.print(_table(name, its, results))
    for run, reason in results.left_out.items():
        if in_short(reason) == FAILED:
            say(console, f"{run}: {reason}")
    if not has_contrib():
        say(console, NO_CONTRIB)
    for name, its in runs.items():
        for line in findings(name, its, results.times, results.peak_bytes):
            say(console, line)
    return folder.path


def runs_of(name: str, request: TrainBench) -> list[Run]:
    """Who takes turns in a setting, S7 first.

    Raises:
        UsageError: a core is not known.
    """
    width = request.d_model
    ours = [trainer_of(core, width, request.d_state) for core in chosen_cores(request.cores)]
    if len(SETTINGS[name]) > 1:
        return [Run(setting, ours[0]) for setting in SETTINGS[name]]
    others = [SB3_CONTRIB, SHARED, SB3] if has_contrib() else [SB3]
    trainers = [*ours, *(Trainer(name=other, d_model=width) for other in others)]
    if name in BOUNDS:
        # The network whose products are counted has as many modes as features.
        bound = trainer_of(REFERENCE, width, width)
        trainers += [trainer for trainer in [bound] if trainer not in ours]
        trainers.append(Trainer(name=PRODUCTS, d_model=width, d_state=width))
    return [Run(setting, trainer) for setting in SETTINGS[name] for trainer in trainers]


def _measure(request: TrainBench, name: str, runs: Sequence[Run], results: Results, progress: BenchProgress) -> None:
    seconds: dict[Run, float] = {}
    for run in runs:
        progress.show(f"{name}: {run}, memory")
        if run.trainer.name == PRODUCTS:
            seconds[run] = 0.0
            continue
        result = probe(
            RoundProbe(
                setting=run.setting,
                trainer=run.trainer,
                device=request.common.device,
                threads=request.common.threads,
                memory_bytes=int(request.memory_gb * 1e9),
                budget_seconds=request.budget_seconds,
            )
        )
        reason = result.left_out or too_long(result.seconds, request.budget_seconds)
        if reason is not None:
            results.left_out[run] = reason
            progress.advance()
        else:
            seconds[run], results.peak_bytes[run] = result.seconds, result.peak_bytes
    progress.show(f"{name}: {len(seconds)} in turns")
    rounds = {run: make_rounds(run.setting, run.trainer, request.common.device) for run in seconds}
    thunks: dict[tuple[Run, str], Thunk] = {}
    for run, its in rounds.items():
        thunks |= {(run, ROLLOUT): its.rollout, (run, TRAINING): its.train}
        if isinstance(its, TrainerRounds):
            results.parameters[run] = its.parameters
    affordable = int(request.budget_seconds / max(sum(seconds.values()), 1e-9))
    results.times |= interleave(thunks, min(request.repeats, max(MIN_ROUNDS, affordable)))
    for run in rounds:
        results.times[run, WHOLE] = results.times[run, ROLLOUT] + results.times[run, TRAINING]
    progress.advance(len(rounds))


def _rows(name: str, run: Run, every: Sequence[Run], results: Results) -> Iterable[dict[str, Cell]]:
    setting, trainer = run.setting, run.trainer
    reference = every[0]  # S7 as it comes; where it is compared with itself, in the shortest rollout.
    for measured in (WHOLE, ROLLOUT, TRAINING):
        row: dict[str, Cell] = {
            "setting": name,
            "env_id": setting.env_id,
            "n_steps": setting.n_steps,
            "n_envs": setting.n_envs,
            "batch_size": setting.batch_size,
            "trainer": trainer.name,
            "d_model": trainer.d_model,
            "d_state": trainer.d_state,
            "parameters": results.parameters.get(run),
            "measured": measured,
            "left_out": results.left_out.get(run),
        }
        if measured == WHOLE and run in results.peak_bytes:
            row["peak_mb"] = round(results.peak_bytes[run] / 1e6, 2)
        times = results.times.get((run, measured))
        if times is not None:
            beside = results.times.get((reference, measured))
            row |= spread_cells("seconds", Spread.of(times)) | {"repeats": len(times)}
            row |= spread_cells("steps_per_second", Spread.of(setting.steps / times))
            row |= spread_cells("over_s7", None if beside is None else ratio(times, beside))
        yield row


def _table(name: str, runs: Sequence[Run], results: Results) -> Table:
    table = Table(title=f"{_title(name, runs)}: steps per second", title_justify="left")
    table.add_column("trainer")
    for heading in ("parameters", WHOLE, ROLLOUT, TRAINING, "time over s7's", "MB at the peak"):
        table.add_column(heading, justify="right")
    for run in runs:
        cells = [f"{results.parameters[run]:,}" if run in results.parameters else ""]
        whole = results.times.get((run, WHOLE))
        if whole is None:
            cells.append(in_short(results.left_out[run]))
        else:
            for measured in (WHOLE, ROLLOUT, TRAINING):
                cells.append(with_spread(Spread.of(run.setting.steps / results.times[run, measured])))
            beside = results.times.get((runs[0], WHOLE))
            cells.append("" if beside is None else with_spread(ratio(whole, beside)))
            cells.append(number(results.peak_bytes[run] / 1e6) if run in results.peak_bytes else "")
        table.add_row(_label(name, run), *cells)
    return table


def _dots(name: str, runs: Sequence[Run], results: Results) -> Dots:
    rows: dict[str, list[Dot]] = {}
    for run in runs:
        rows[_label(name, run)] = [
            Dot(kind=measured, spread=Spread.of(run.setting.steps / results.times[run, measured]))
            for measured in (WHOLE, ROLLOUT, TRAINING)
            if (run, measured) in results.times
        ]
    return Dots(title=_title(name, runs), xlabel="environment steps per second", rows=rows)


def _title(name: str, runs: Sequence[Run]) -> str:
    setting = runs[0].setting
    if name == FLAT:
        return f"{name}: {setting.steps:,} steps"
    environments = f"{setting.n_envs} environments"
    return f"{name}: {environments}" if name == MEMORY else f"{name}: T = {setting.n_steps:,}, {environments}"


def _label(name: str, run: Run) -> str:
    return str(run) if name in (FLAT, MEMORY) else str(run.trainer)
