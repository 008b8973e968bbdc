"""The pictures of a report: curves with bands, and rows of dots with intervals.

An agent has the same colour everywhere; controls and yardsticks are grey.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from s7rl.experiments.pictures import COLOURS, GREY, lighten, png
from s7rl.experiments.report.analysis import Agent
from s7rl.experiments.statistics import Estimate

DPI = 160
Colour: TypeAlias = str
Dashes: TypeAlias = "str | tuple[int, tuple[float, ...]]"
STEPS_FORMAT = EngFormatter(sep="")
"""20k, 1.5M."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How an agent is drawn."""

    colour: Colour
    """Of its line and dots."""
    dashes: Dashes
    """Of its line."""
    marker: str
    """Of its dots."""


def styles(agents: Sequence[Agent]) -> dict[str, Style]:
    """A style for each agent; when the colours are used up, dashes and markers change."""
    dashes: tuple[Dashes, ...] = ("-", (0, (5.0, 2.0)), (0, (1.0, 1.5)))
    greys = (GREY, "#AAAAAA", "#444444")
    found, ours, controls = {}, 0, 0
    for agent in agents:
        if agent.is_control:
            style = Style(colour=greys[controls % 3], dashes=dashes[1 + controls % 2], marker="s")
            controls += 1
        else:
            turn, colour = divmod(ours, len(COLOURS))
            style = Style(colour=COLOURS[colour], dashes=dashes[turn % 3], marker="oD^"[turn % 3])
            ours += 1
        found[agent.name] = style
    return found


@dataclass(frozen=True, kw_only=True)
class Band:
    """A line, and how far its seeds or its interval reach."""

    x: Float[np.ndarray, " points"]
    """Ascending."""
    middle: Float[np.ndarray, " points"]
    """The line."""
    low: Float[np.ndarray, " points"]
    """Lower edge; nan where there is none."""
    high: Float[np.ndarray, " points"]
    """Upper edge."""


def draw_bands(
    bands: Mapping[str, Band],
    style: Mapping[str, Style],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    levels: Mapping[str, float] | None = None,
    in_steps: bool = False,
    at_values: bool = False,
    share: bool = False,
) -> bytes:
    """Draws lines with bands as a PNG.

    Args:
        bands: by agent.
        style: of each agent.
        title: stands above.
        xlabel: what lies on the horizontal axis.
        ylabel: what lies on the vertical axis.
        levels: thin lines across, by name.
        in_steps: whether x counts steps: it begins at 0 and is written 20k.
        at_values: whether x are a few values that stand for themselves: points are marked, the axis has these numbers
            alone, and it is logarithmic where they reach from one to ten times that.
        share: whether the vertical axis goes from 0 to 1.
    """
    figure = Figure(figsize=(5.6, 4.1), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for name, level in (levels or {}).items():
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
        right = axes.get_yaxis_transform()
        axes.text(1.01, level, name.replace(", ", ",\n"), transform=right, color=GREY, fontsize=7.5, va="center")
    for agent, band in bands.items():
        its = style[agent]
        axes.fill_between(band.x, band.low, band.high, color=its.colour, alpha=0.13, linewidth=0)
        marker = its.marker if at_values else ""
        (line,) = axes.plot(band.x, band.middle, marker=marker, markersize=4.5, label=agent)
        line.set(color=its.colour, linestyle=its.dashes, linewidth=1.9)
    if in_steps:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(STEPS_FORMAT)
    if at_values:
        _mark_values(axes, (x for band in bands.values() for x in band.x))
    if share:
        axes.set_ylim(-0.03, 1.05)
    return _finished(figure, axes, title=title, xlabel=xlabel, ylabel=ylabel, agents=len(bands))


@dataclass(frozen=True, kw_only=True)
class StepsToThreshold:
    """What an agent needed on each of several tasks, in steps."""

    x: Sequence[float]
    """Of each run: where its task stands."""
    steps: Sequence[float]
    """Of each run: until it had learned, or all that it made."""
    learned: Sequence[bool]
    """Of each run: whether it had."""
    medians: Mapping[float, float]
    """By where a task stands; infinite where half of its runs or more never learned."""


def draw_steps_to_threshold(
    needed: Mapping[str, StepsToThreshold], style: Mapping[str, Style], *, title: str, xlabel: str, ylabel: str
) -> bytes:
    """Draws a dot for each run, hollow where it never learned, and lines through the medians, as a PNG.

    There is no line where a median is a run that never learned.

    Args:
        needed: by agent.
        style: of each agent.
        title: stands above.
        xlabel: what lies on the horizontal axis.
        ylabel: what lies on the vertical one.
    """
    figure = Figure(figsize=(5.6, 4.1), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    hollow: Counter[float] = Counter()
    for agent, runs in needed.items():
        its, x, steps, learned = style[agent], np.array(runs.x), np.array(runs.steps), np.array(runs.learned)
        looks: dict[str, Any] = {"color": its.colour, "marker": its.marker}
        middle = [median if math.isfinite(median) else math.nan for median in runs.medians.values()]
        axes.plot(list(runs.medians), middle, linestyle=its.dashes, linewidth=1.9, color=its.colour)
        axes.plot(x[learned], steps[learned], linestyle="", markersize=4.5, **looks)
        for value in np.unique(x[~learned]):
            here = ~learned & (x == value)
            # Budgets are often the same: one beside the other.
            aside = ScaledTranslation(hollow[value] * 7 / 72, 0, figure.dpi_scale_trans)
            looks_here = looks | {"transform": axes.transData + aside}
            axes.plot(x[here], steps[here], linestyle="", markersize=6, fillstyle="none", **looks_here)
            axes.update_datalim(np.column_stack([x[here], steps[here]]))  # moved aside, they do not widen the axes
            hollow[value] += 1
        axes.plot([], [], linestyle=its.dashes, markersize=4.5, linewidth=1.9, label=agent, **looks)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(STEPS_FORMAT)
    _label_numbers(axes.yaxis)
    _mark_values(axes, (x for runs in needed.values() for x in runs.x))
    return _finished(figure, axes, title=title, xlabel=xlabel, ylabel=ylabel, agents=len(needed))


@dataclass(frozen=True, kw_only=True)
class Row:
    """An agent in a figure of rows."""

    agent: str
    """Stands on the left."""
    dots: Sequence[float | None]
    """One for each seed; None for one that never came so far, drawn hollow on the right."""
    estimate: Estimate | None = None
    """A bar across, and a line for its interval."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one task, on an axis of their own."""

    title: str
    """The task."""
    rows: Sequence[Row]
    """From the top."""
    levels: Mapping[str, float]
    """Thin lines upwards, by name."""
    limit: float | None = None
    """Where the axis ends and hollow dots lie; None: where the dots do."""


def draw_rows(
    groups: Sequence[Rows],
    style: Mapping[str, Style],
    *,
    xlabel: str,
    in_steps: bool = False,
    logarithmic: bool = False,
) -> bytes:
    """Draws rows of dots as a PNG.

    Args:
        groups: one below the other.
        style: of each agent.
        xlabel: what the dots are.
        in_steps: whether they are written 20k, on an axis from 0.
        logarithmic: whether the axis is.
    """
    heights = [len(group.rows) + 1.3 for group in groups]
    figure = Figure(figsize=(6.2, 0.7 + 0.3 * sum(heights)), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        if logarithmic:
            axes.set_xscale("log")
        for place, (name, level) in enumerate(sorted(group.levels.items(), key=lambda its: its[1])):
            axes.axvline(level, color=GREY, linewidth=0.8, linestyle=":")
            # Every other one stands higher: neighbours may be near.
            up = {"xy": (level, 1.0), "xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
            axes.annotate(name, xytext=(0, 1 + 8 * (place % 2)), color=GREY, fontsize=7, ha="center", **up)
        for height, row in enumerate(reversed(group.rows)):
            _row(axes, height, row, style[row.agent], group.limit)
        axes.set_ylim(-0.6, len(group.rows) - 0.4)
        axes.set_yticks(range(len(group.rows)), [row.agent for row in reversed(group.rows)], fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        if in_steps:
            axes.xaxis.set_major_formatter(STEPS_FORMAT)
        if logarithmic:
            _label_numbers(axes.xaxis)
        elif in_steps:
            axes.set_xlim(0, group.limit and group.limit * 1.04)
        _plain(axes)
        axes.spines["left"].set_visible(False)
        axes.set_title(group.title, fontsize=9.5, loc="left", pad=(5, 13, 21)[min(len(group.levels), 2)])
    panels[-1].set_xlabel(xlabel)
    return png(figure)


def _row(axes: Axes, height: int, row: Row, style: Style, limit: float | None) -> None:
    reached = [dot for dot in row.dots if dot is not None]
    spread = np.linspace(-0.16, 0.16, len(row.dots)) if len(row.dots) > 1 else np.zeros(len(row.dots))
    if row.estimate is not None:
        value, low, high = row.estimate
        if np.isfinite(low):
            axes.plot([low, high], [height, height], color=style.colour, linewidth=6, alpha=0.3, solid_capstyle="butt")
        axes.plot([value, value], [height - 0.3, height + 0.3], color=style.colour, linewidth=2.2)
    places = [height + shift for dot, shift in zip(row.dots, spread, strict=True) if dot is not None]
    axes.plot(reached, places, style.marker, color=style.colour, markersize=4, alpha=0.85, markeredgewidth=0)
    if limit is not None:
        missed = [height + shift for dot, shift in zip(row.dots, spread, strict=True) if dot is None]
        axes.plot([limit] * len(missed), missed, style.marker, color=style.colour, markersize=4.5, fillstyle="none")


def _label_numbers(axis: Axis) -> None:
    """Marks 1, 2 and 5 times powers of ten on a logarithmic axis: one that spans no decade has marks, too."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())


def _mark_values(axes: Axes, values: Iterable[float]) -> None:
    """Writes these numbers alone at the horizontal axis, logarithmic where they reach from one to ten times that."""
    numbers = sorted({float(value) for value in values})
    if 0 < 10 * numbers[0] <= numbers[-1]:
        axes.set_xscale("log")
    axes.set_xticks(numbers)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _finished(figure: Figure, axes: Axes, *, title: str, xlabel: str, ylabel: str, agents: int) -> bytes:
    _plain(axes)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize=10.5)
    figure.legend(loc="outside lower center", ncols=min(agents, 5), frameon=False, fontsize=8.5, handlelength=2.6)
    return png(figure)


def _plain(axes: Axes) -> None:
    lighten(axes)
    axes.tick_params(labelsize=8.5)
