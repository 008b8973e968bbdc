"""The section on how far an agent gets: scores over an argument that makes a task harder, as a corridor's length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from s7rl.experiments.page import Figure, Section, Value
from s7rl.experiments.report.analysis import Analysis, median_steps
from s7rl.experiments.report.figures import Band, StepsToThreshold, Style, draw_bands, draw_steps_to_threshold
from s7rl.experiments.statistics import Estimate

FEWEST_VALUES = 3
"""Two make no curve."""


@dataclass(frozen=True)
class Series:
    """Tasks that are one environment, with one number changed."""

    environment: str
    """The environment, with the arguments and wrappers that all of them have."""
    env_id: str
    """Its id."""
    argument: str
    """Its keyword argument that changes."""
    tasks: Mapping[int | float, str]
    """By the argument's value, in its order."""


def difficulty_section(analysis: Analysis, style: Mapping[str, Style]) -> Iterator[Section]:
    """One, where there are at least three such tasks.

    Args:
        analysis: the numbers.
        style: of each agent.
    """
    figures = []
    names: Counter[str] = Counter()
    for series in series_of(analysis):
        name = f"{series.env_id.rpartition('/')[2]}-{series.argument}"
        names[name] += 1  # two may differ in another argument alone, and a figure is a file
        name += "" if names[name] == 1 else f"-{names[name]}"
        figures.append(_scores(analysis, style, series, f"difficulty-{name}"))
        if all(task in analysis.thresholds for task in series.tasks.values()):
            figures.append(_steps_to_threshold(analysis, style, series, f"steps_to_threshold-{name}"))
    if figures:
        text = "Tasks that are one environment with one number changed: interquartile means, and their 95% intervals."
        yield Section(title="How far each agent gets", text=[text], figures=figures)


def series_of(analysis: Analysis) -> list[Series]:
    """All that the experiment has, as far as they have finished runs."""
    found: dict[tuple[str, str, str], list[tuple[int | float, str]]] = {}
    for task in analysis.tasks:
        runs = [run for run in analysis.record.runs if run.cell.task == task]
        if len({run.conditions.environment for run in runs}) > 1:
            continue
        settings = runs[0].settings
        for argument, value in settings.env_kwargs.items():
            if type(value) in (int, float):
                others = {name: its for name, its in settings.env_kwargs.items() if name != argument}
                rest = replace(runs[0], settings=replace(settings, env_kwargs=others)).conditions.environment
                found.setdefault((rest, settings.env_id, argument), []).append((value, task))
    return [
        Series(environment, env_id, argument, dict(sorted(tasks)))
        for (environment, env_id, argument), tasks in found.items()
        # Two tasks of one value differ in how they were trained: neither is the one to draw.
        if len({value for value, _ in tasks}) == len(tasks) >= FEWEST_VALUES
    ]


def _scores(analysis: Analysis, style: Mapping[str, Style], series: Series, name: str) -> Figure:
    # The share of episodes that succeed has one scale whatever the difficulty, and returns may not.
    tells_success = all(pair in analysis.success for pair in analysis.pairs if pair[0] in series.tasks.values())
    scores, what = (analysis.success, "success rate") if tells_success else (analysis.estimates, "mean return")
    bands = {}
    lines: list[list[Value]] = []
    for agent in analysis.names:
        points = {value: scores[task, agent] for value, task in series.tasks.items() if (task, agent) in scores}
        if points:
            bands[agent] = _band(points)
            lines += [[agent, value, *point] for value, point in points.items()]
    return Figure(
        name=name,
        says=f"{series.environment}: {what} of the evaluation over {series.argument}.",
        png=draw_bands(
            bands,
            style,
            title=series.environment,
            xlabel=series.argument,
            ylabel=what,
            at_values=True,
            share=tells_success,
        ),
        columns=["agent", series.argument, "iqm", "low", "high"],
        lines=lines,
    )


def _steps_to_threshold(analysis: Analysis, style: Mapping[str, Style], series: Series, name: str) -> Figure:
    needed, lines = {}, []
    for agent in analysis.names:
        runs: list[tuple[int | float, int, float, bool]] = []
        medians = {}
        for value, task in series.tasks.items():
            reached = analysis.steps_to_threshold.get((task, agent), [])
            if reached:
                medians[value] = median_steps(reached)
            for run, steps in zip(analysis.record.of(task, agent), reached, strict=True):
                done = run.steps_done or run.settings.steps
                runs.append((value, run.cell.seed, float(done) if steps is None else steps, steps is not None))
        if runs:
            x, _, steps_of, learned = zip(*runs, strict=True)
            needed[agent] = StepsToThreshold(x=x, steps=steps_of, learned=learned, medians=medians)
            lines += [[agent, value, seed, steps, int(ever)] for value, seed, steps, ever in runs]
    return Figure(
        name=name,
        says=f"{series.environment}: steps until learned over {series.argument}; a dot is a run, a hollow one has not "
        "learned in so many steps, and lines go through medians.",
        png=draw_steps_to_threshold(
            needed, style, title=series.environment, xlabel=series.argument, ylabel="environment steps until learned"
        ),
        columns=["agent", series.argument, "seed", "steps", "learned"],
        lines=lines,
    )


def _band(points: Mapping[int | float, Estimate]) -> Band:
    middle, low, high = (np.array(its) for its in zip(*points.values(), strict=True))
    return Band(x=np.array(list(points), dtype=np.float64), middle=middle, low=low, high=high)
