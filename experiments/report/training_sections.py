"""The sections on how training went: learning curves, steps until learned, seconds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from s7rl.experiments.page import NOTHING, Figure, Section, Table, Value
from s7rl.experiments.report.analysis import Analysis, median_steps
from s7rl.experiments.report.figures import Band, Row, Rows, Style, draw_bands, draw_rows
from s7rl.experiments.report.findings import digits
from s7rl.experiments.report.parts import grouped, levels
from s7rl.experiments.wording import compact
from s7rl.experiments.yardsticks import THRESHOLD


def training_sections(analysis: Analysis, style: Mapping[str, Style]) -> Iterator[Section]:
    """All of them; one says so where there is nothing to show.

    Args:
        analysis: the numbers.
        style: of each agent.
    """
    yield _curves(analysis, style)
    yield _steps(analysis, style)
    yield _time(analysis, style)


def _curves(analysis: Analysis, style: Mapping[str, Style]) -> Section:
    figures = []
    for task in analysis.tasks:
        bands = {
            agent: Band(x=curve.steps, middle=curve.middle, low=curve.low, high=curve.high)
            for (its, agent), curve in analysis.curves.items()
            if its == task
        }
        if not bands:
            continue
        figures.append(
            Figure(
                name=f"learning_curve-{task}",
                says=f"{task}: mean return of the last training episodes over environment steps.",
                png=draw_bands(
                    bands,
                    style,
                    title=task,
                    xlabel="environment steps",
                    ylabel="mean training return",
                    levels=levels(analysis.record.yardsticks[task]),
                    in_steps=True,
                ),
                columns=["agent", "steps", "iqm", "lowest", "highest"],
                lines=[
                    [agent, *map(float, point)]
                    for agent, its in bands.items()
                    for point in zip(its.x, its.middle, its.low, its.high, strict=True)
                ],
            )
        )
    return Section(
        title="Learning curves",
        text=[
            "Return while training, when actions are drawn: the interquartile mean over the seeds (with three, their "
            "mean), and a band from the lowest seed to the highest."
            if figures
            else "No episode ended in the logged time."
        ],
        figures=figures,
    )


def _steps(analysis: Analysis, style: Mapping[str, Style]) -> Section:
    title = "Steps until learned"
    if not analysis.thresholds:
        return Section(title=title, text=["No task has a threshold: its random and optimal scores must be known."])
    rows: list[list[str]] = []
    lines: list[list[Value]] = []
    groups = []
    for task, level in analysis.thresholds.items():
        reached = {agent: its for (of, agent), its in analysis.steps_to_threshold.items() if of == task}
        for agent, its in reached.items():
            known = [steps for steps in its if steps is not None]
            middle = median_steps(its)
            each = ", ".join(NOTHING if steps is None else compact(steps) for steps in its)
            half = compact(middle) if math.isfinite(middle) else "not reached"
            rows.append([task, digits(level), agent, f"{len(known)} of {len(its)}", half, each])
            seeds = [run.cell.seed for run in analysis.record.of(task, agent)]
            lines += [[task, agent, seed, level, steps] for seed, steps in zip(seeds, its, strict=True)]
        ends = [float(run.steps[-1]) for run in analysis.record.runs if run.cell.task == task and len(run.steps)]
        budget = max(ends, default=None)
        rows_of = [Row(agent=agent, dots=its) for agent, its in reached.items()]
        groups.append(Rows(title=f"{task}, return {digits(level)}", rows=rows_of, levels={}, limit=budget))
    return Section(
        title=title,
        text=[
            f"Environment steps after which the mean training return first came {THRESHOLD:.0%} of the way from the "
            "best without memory (from random actions where that is not known) to the optimum, of finished runs. A "
            "dash is one that never came so far; the median counts it as longer than all others."
        ],
        tables=[
            Table(head=["task", "return", "agent", "learned", "median", "each seed"], rows=grouped(rows, 2), names=3),
        ],
        figures=[
            Figure(
                name="steps_to_threshold",
                says="Steps until learned: a dot for each run; hollow at the right edge: not within its training.",
                png=draw_rows(groups, style, xlabel="environment steps", in_steps=True),
                columns=["task", "agent", "seed", "threshold", "steps"],
                lines=lines,
            )
        ],
    )


def _time(analysis: Analysis, style: Mapping[str, Style]) -> Section:
    rows: list[list[str]] = []
    lines: list[list[Value]] = []
    for task, agent in analysis.pairs:
        runs = analysis.record.of(task, agent)
        lines += [
            [task, agent, run.cell.seed, run.steps_done, run.seconds, run.steps_per_second, run.resumptions]
            for run in runs
        ]
        seconds, speeds = [run.seconds for run in runs], [run.steps_per_second for run in runs]
        resumed = sum(run.resumptions for run in runs)
        rows.append([task, agent, _range(seconds, _seconds), _range(speeds, compact), str(resumed or NOTHING)])
    groups = [
        Rows(
            title=task,
            rows=[
                Row(agent=agent, dots=[s for run in analysis.record.of(task, agent) if (s := run.steps_per_second) > 0])
                for its, agent in analysis.pairs
                if its == task
            ],
            levels={},
        )
        for task in analysis.tasks
    ]
    return Section(
        title="Time",
        text=[
            "Of training alone, as it was logged: the median over the seeds, and the range. Where a run was stopped "
            "and resumed, its parts are added up; what was lost when it was stopped is not in it, nor is its last "
            "update. The first run of a kind on a machine may hold seconds of compiling, and runs side by side share "
            "it."
            + (" These runs ran on more than one machine, see the end." if len(analysis.record.machines) > 1 else "")
        ],
        tables=[Table(head=["task", "agent", "time", "steps/s", "resumed"], rows=grouped(rows), names=2)],
        figures=[
            Figure(
                name="speed",
                says="Environment steps a second while training, a dot for each run.",
                png=draw_rows(groups, style, xlabel="steps/s", in_steps=True, logarithmic=True),
                columns=["task", "agent", "seed", "steps", "seconds", "steps_per_second", "resumptions"],
                lines=lines,
            )
        ],
    )


def _range(values: Sequence[float], written: Callable[[float], str]) -> str:
    """The median of what is known, and the range: ``12 s (11 s to 13 s)``."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "not known"
    middle = written(statistics.median(known))
    return f"{middle} ({written(min(known))} to {written(max(known))})" if len(known) > 1 else middle


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"
