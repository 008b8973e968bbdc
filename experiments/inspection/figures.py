"""The pictures of an inspection, in the style of the learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from s7rl.experiments.inspection.findings import Horizons
from s7rl.experiments.inspection.measures import Band, Probe
from s7rl.experiments.pictures import BLUE, COLOURS, GREEN, ORANGE, lighten

Steps = Int[np.ndarray, " T"]
WIDTH = 7.5
"""Inches."""
STEP = "step of the episode"


def draw_norms(steps: Steps, norms: Mapping[str, Band]) -> Figure:
    """Length of the state over time, a line for each layer."""
    figure, panels = _figure(1)
    for color, (name, found) in zip(_colors(len(norms)), norms.items(), strict=True):
        _band(panels[0], steps, found, color, name)
    panels[0].set(ylabel="length of the state", xlabel=STEP)
    panels[0].set_ylim(bottom=0)
    if len(norms) > 1:
        panels[0].legend(frameon=False)
    return figure


def draw_horizons(steps: Steps, horizons: Mapping[str, Horizons], memory_span: int | None) -> Figure:
    """How long each number of each layer lasts: at rest, and over time where it depends on the input.

    Args:
        steps: of the episode.
        horizons: by layer.
        memory_span: steps that the task asks to remember, which are marked; None: not known.
    """
    figure = Figure(figsize=(WIDTH, 3.2 * len(horizons) + 0.4), dpi=120, layout="constrained")
    panels = figure.subplots(len(horizons), 2, squeeze=False, width_ratios=(1, 1.6))
    for (rest, play), (name, found) in zip(panels, horizons.items(), strict=True):
        order = np.argsort(found.at_rest)
        rest.plot(found.at_rest[order], np.arange(len(order)), color=BLUE, linewidth=2.2)
        rest.set(xscale="log", xlabel="steps, at rest", ylabel=f"{name}: numbers, by horizon at rest")
        rest.set_ylim(-0.5, len(order) - 0.5)
        if memory_span:
            rest.axvline(memory_span, color=ORANGE, linestyle="--", linewidth=1.4)
            rest.set_title(f"{memory_span:,} to remember", fontsize=9, color=ORANGE)
        lighten(rest)
        _label_steps(rest)
        if found.over_time is None:
            play.set_axis_off()
            play.text(0.5, 0.5, "the same at every step", ha="center", transform=play.transAxes)
            continue
        shades = np.ma.masked_invalid(found.over_time.T[order])
        edges = np.append(steps, steps[-1] + (steps[1] - steps[0] if len(steps) > 1 else 1)) - 0.5
        mesh = play.pcolormesh(edges, np.arange(len(order) + 1) - 0.5, shades, norm=LogNorm(), cmap="viridis")
        play.set_xlabel(STEP)
        play.tick_params(labelleft=False)
        figure.colorbar(mesh, ax=play, label="steps", format=_number)
    return figure


def _label_steps(axes: Axes) -> None:
    """Plain numbers on a logarithmic axis, no more than have room."""
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if high < 10 * low else (1, 3) if high < 100 * low else (1,))
    )
    axes.xaxis.set_major_formatter(_number)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _number(steps: float, _: object = None) -> str:
    return f"{steps:,g}" if steps < 1e4 else f"{steps / 1e3:,g}k"


def draw_gates(steps: Steps, gates: Mapping[str, Mapping[str, Band]]) -> Figure:
    """How far gates stand open, a panel for each."""
    named = [(f"{layer}: {gate}", found) for layer, ones in gates.items() for gate, found in ones.items()]
    figure, panels = _figure(len(named), height=2.0)
    for axes, (name, found) in zip(panels, named, strict=True):
        _band(axes, steps, found, BLUE, name)
        axes.set_title(name, fontsize=10, loc="left")
    panels[-1].set_xlabel(STEP)
    return figure


def draw_gradient(shares: Float[np.ndarray, " lags"]) -> Figure:
    """How far back a decision looks: the share of its gradient by lag, and how much lies within a lag."""
    figure, (share, within) = _figure(2, height=2.4)
    lags = np.arange(len(shares))
    marker = "o" if len(lags) < 3 else ""
    share.vlines(lags, 0, shares, color=BLUE, linewidth=max(0.6, min(3.0, 300 / len(lags))))
    share.set(ylabel="share of the gradient")
    share.set_ylim(bottom=0)
    within.plot(lags, np.cumsum(shares), color=BLUE, linewidth=2.2, marker=marker)
    within.set(ylabel="share within", xlabel="steps back from the decision", ylim=(0, 1.05))
    return figure


def draw_probes(steps: Steps, probes: Sequence[Probe]) -> Figure:
    """How well columns of the hidden state can be read from the memory, a panel for each."""
    figure, panels = _figure(len(probes), height=2.2)
    for axes, found in zip(panels, probes, strict=True):
        marker = "o" if len(steps) == 1 else ""
        axes.plot(steps, found.score, color=BLUE, linewidth=2.2, marker=marker, label="linear probe, other episodes")
        axes.plot(steps, found.chance, color=ORANGE, linestyle="--", linewidth=1.4, label="best constant answer")
        axes.axhline(1.0, color=GREEN, linestyle="--", linewidth=1.0)
        axes.set_title(f"get_state()[{found.column}]", fontsize=10, loc="left")
        axes.set(ylabel="right answers" if found.is_choice else "R²", ylim=(-0.05, 1.08))
    panels[0].legend(frameon=False, loc="lower left", fontsize=9)
    panels[-1].set_xlabel(STEP)
    return figure


def _figure(rows: int, height: float = 3.2) -> tuple[Figure, NDArray[np.object_]]:
    figure = Figure(figsize=(WIDTH, height * rows + 0.4), dpi=120, layout="constrained")
    panels: NDArray[np.object_] = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axes in panels:
        lighten(axes)
    return figure, panels


def _band(axes: Axes, steps: Steps, found: Band, color: str, label: str) -> None:
    axes.fill_between(steps, found.low, found.high, color=color, alpha=0.18, linewidth=0)
    axes.plot(steps, found.mean, color=color, linewidth=2.2, marker="o" if len(steps) == 1 else "", label=label)


def _colors(number: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(number)]
