"""The pictures of the benchmarks: lines over a logarithmic axis, each named at its end.

What the colours do not suffice for is told apart by the dashes, and every line by its name. Yardsticks are grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from s7rl.experiments.bench.measuring import Spread
from s7rl.experiments.pictures import COLOURS, GREY, lighten, save_figure

DASHES = ("-", (0, (5.0, 2.0)), (0, (1.0, 1.5)))
LABEL_SIZE = 8.5


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a picture."""

    name: str
    """Stands at its end."""
    points: tuple[tuple[float, float, float, float], ...]
    """x, the median of y, and its quartiles."""
    position: int
    """Which of all lines it is: gives its colour, the same in every panel."""
    yardstick: bool = False
    """Whether it is what the others are compared with."""

    @classmethod
    def of(cls, name: str, points: Sequence[tuple[int, Spread]], position: int, yardstick: bool = False) -> Line:
        """A line through medians."""
        numbers = tuple((float(x), spread.median, spread.lower, spread.upper) for x, spread in points)
        return cls(name=name, points=numbers, position=position, yardstick=yardstick)

    @property
    def colour(self) -> str:
        """Its colour."""
        return GREY if self.yardstick else COLOURS[self.position % len(COLOURS)]

    @property
    def dashes(self) -> str | tuple[int, tuple[float, ...]]:
        """Its dashes."""
        return DASHES[(self.position if self.yardstick else self.position // len(COLOURS)) % len(DASHES)]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    """Stands above."""
    xlabel: str
    """What the lines go over, on a logarithmic axis."""
    ylabel: str
    """What they are."""
    lines: Sequence[Line]
    """In any order; a line without points is left out."""
    share: bool = False
    """Whether y is a share from 0 to 1, on a plain axis; else it is logarithmic."""
    floor: tuple[str, float] | None = None
    """A level that costs nothing, with its name."""


def draw(panels: Sequence[Sequence[Panel]], picture: Path, *, title: str) -> None:
    """Draws rows of panels as a PNG, which is replaced in one step."""
    rows, columns = len(panels), max(map(len, panels))
    figure = Figure(figsize=(1.6 + 5.6 * columns, 0.8 + 4.2 * rows), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=11, wrap=True)
    grid = figure.subplots(rows, columns, squeeze=False)
    placed = [
        (axes, panel) for row, its in zip(grid, panels, strict=True) for axes, panel in zip(row, its, strict=True)
    ]
    for axes, panel in placed:
        _panel(axes, panel)
    # Names are moved apart by their height on the paper, which is known only once everything has its place.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, panel in placed:
        _name_lines(axes, panel)
    save_figure(figure, picture)


def _panel(axes: Axes, panel: Panel) -> None:
    axes.set_xscale("log", base=2)
    for line in panel.lines:
        if not line.points:
            continue
        x, median, lower, upper = np.array(line.points).T
        axes.fill_between(x, lower, upper, color=line.colour, alpha=0.15, linewidth=0)
        axes.plot(x, median, color=line.colour, linestyle=line.dashes, linewidth=1.8, marker="o", markersize=3.5)
    ticks = sorted({x for line in panel.lines for x, *_ in line.points})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if panel.share:
        axes.set_ylim(-0.02, 1.1)
    else:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        # Within two decades the numbers between the powers of ten have room.
        between = (2, 5) if high / low < 100 else ()
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: _tick(y) if _leading(y) in between else ""))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _tick(y)))
    if panel.floor is not None:
        name, level = panel.floor
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1.2)
        axes.text(0.01, level, name, color=GREY, va="bottom", fontsize=LABEL_SIZE, transform=axes.get_yaxis_transform())
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.xlabel)
    axes.set_ylabel(panel.ylabel)
    lighten(axes)
    # Room for the names, on the right of the last point.
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * (right / left) ** 0.32)


def _name_lines(axes: Axes, panel: Panel) -> None:
    lines = [line for line in panel.lines if line.points]
    if not lines:
        return
    to_paper = axes.transData.transform
    ends = [to_paper(line.points[-1][:2]) for line in lines]
    height = 1.25 * LABEL_SIZE * axes.figure.dpi / 72
    low, high = to_paper([(1, y) for y in axes.get_ylim()])[:, 1]
    heights = spread_apart([float(y) for _, y in ends], height, float(low), float(high))
    right = max(float(x) for x, _ in ends) + 2.2 * height
    for line, (x, y), its_height in zip(lines, ends, heights, strict=True):
        place = axes.transData.inverted().transform((right, its_height))
        end = axes.transData.inverted().transform((x, y))
        axes.annotate(
            line.name,
            xy=(float(end[0]), float(end[1])),
            xytext=(float(place[0]), float(place[1])),
            color=line.colour,
            fontsize=LABEL_SIZE,
            va="center",
            arrowprops={"arrowstyle": "-", "color": line.colour, "linewidth": 0.5, "alpha": 0.6},
            annotation_clip=False,
        )


def spread_apart(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Moves heights as little as need be, so that no two are closer than a distance, in the same order.

    Args:
        wanted: heights.
        distance: the least between two.
        low: none goes below, unless there are too many.
        high: none goes above.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = list(wanted)
    floor = low
    for index in order:
        placed[index] = floor = max(placed[index], floor)
        floor += distance
    ceiling = high
    for index in reversed(order):
        placed[index] = ceiling = min(placed[index], ceiling)
        ceiling -= distance
    return placed


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _leading(value: float) -> int:
    return int(f"{value:e}"[0])
