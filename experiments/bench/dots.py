"""Pictures of rates: a row for each thing, a dot for each of its rates, over a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from s7rl.experiments.bench.chart import LABEL_SIZE
from s7rl.experiments.bench.measuring import Spread
from s7rl.experiments.pictures import COLOURS, lighten, save_figure

MARKERS = ("o", "<", ">")
COLUMNS = 2
"""So many panels stand side by side."""


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A rate of something."""

    kind: str
    """Gives its colour, and stands in the legend."""
    spread: Spread
    """Its median, which the dot stands at, and its quartiles, which a line joins."""


@dataclass(frozen=True, kw_only=True)
class Dots:
    """One pair of axes."""

    title: str
    """Stands above."""
    xlabel: str
    """What the dots are."""
    rows: Mapping[str, Sequence[Dot]]
    """By name, from top to bottom; the dots of the first row with some say which kinds there are."""


def draw_dots(panels: Sequence[Dots], picture: Path, *, title: str) -> None:
    """Draws panels side by side and below each other as a PNG, which is replaced in one step."""
    columns = min(COLUMNS, len(panels))
    lines = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [1.2 + 0.25 * max(len(panel.rows) for panel in line) for line in lines]
    figure = Figure(figsize=(6.5 * columns, 0.8 + sum(heights)), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=11, wrap=True)
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        _panel(axes, panel)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, picture)


def _panel(axes: Axes, panel: Dots) -> None:
    kinds = list(dict.fromkeys(dot.kind for row in panel.rows.values() for dot in row))
    axes.set_xscale("log")
    for kind, colour, marker in zip(kinds, COLOURS, MARKERS, strict=False):
        its = [(y, dot.spread) for y, row in enumerate(panel.rows.values()) for dot in row if dot.kind == kind]
        heights, medians = [y for y, _ in its], [spread.median for _, spread in its]
        axes.hlines(heights, [spread.lower for _, spread in its], [spread.upper for _, spread in its], color=colour)
        axes.plot(medians, heights, marker, color=colour, markersize=4.5, label=kind)
    axes.set_yticks(range(len(panel.rows)), list(panel.rows), fontsize=LABEL_SIZE)
    axes.invert_yaxis()
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(FuncFormatter(lambda x, _: f"{x:,.0f}" if f"{x:e}"[0] in "125" else ""))
    axes.tick_params(axis="x", which="both", labelsize=LABEL_SIZE)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.xlabel)
    lighten(axes)
