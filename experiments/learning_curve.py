"""The picture of a training run: return and success over steps, with what can be had without memory marked.

The shaded band reaches up to the best score of an agent without memory. A curve that leaves it remembers.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from s7rl.envs import Task
from s7rl.experiments.pictures import BLUE, GREEN, ORANGE, lighten, save_figure
from s7rl.experiments.run_folder import STEPS

RETURN, BEST_RETURN, SUCCESS = "rollout/ep_rew_mean", "rollout/best_ep_rew_mean", "rollout/success_rate"


def read_curve(progress: Path) -> dict[str, NDArray[np.float64]]:
    """Reads SB3's progress.csv.

    Returns:
        Steps, mean return and success rate by their log keys, one entry per line; missing values are NaN.
    """
    return read_columns(progress, (STEPS, RETURN, SUCCESS))


def read_columns(progress: Path, keys: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Reads columns of SB3's progress.csv, one entry per line; missing values are NaN."""
    with progress.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return {key: np.array([float(line.get(key) or "nan") for line in lines]) for key in keys}


def draw_learning_curve(progress: Path, picture: Path, *, task: Task, title: str) -> bool:
    """Draws the curve as a PNG.

    Args:
        progress: the log of the run.
        picture: the file to write; it is replaced in one step.
        task: gives the optimum and the best score without memory.
        title: names task, agent and seed.

    Returns:
        Whether there was anything to draw: False when no episode ended in the logged time.
    """
    if not progress.is_file():
        return False
    curve = read_curve(progress)
    drawn = [key for key in (RETURN, SUCCESS) if np.isfinite(curve[key]).any()]
    if not drawn:
        return False
    figure = Figure(figsize=(7.5, 3.2 * len(drawn) + 0.6), dpi=120, layout="constrained")
    panels = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title, fontsize=11)
    for axes, key in zip(panels, drawn, strict=True):
        _panel(axes, curve[STEPS], curve[key])
    _label_return(panels[0], curve[RETURN], task)
    if SUCCESS in drawn:
        panels[-1].set_ylabel("success rate")
        panels[-1].set_ylim(-0.03, 1.08)
    panels[-1].set_xlabel("environment steps")
    panels[-1].xaxis.set_major_formatter(lambda steps, _: f"{steps / 1e6:g}M" if steps >= 1e6 else f"{steps / 1e3:g}k")
    save_figure(figure, picture)
    return True


def _panel(axes: Axes, steps: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    known = np.isfinite(values)
    marker = "o" if known.sum() == 1 else ""
    axes.plot(steps[known], values[known], color=BLUE, linewidth=2.2, marker=marker, zorder=3)
    axes.set_xlim(0, float(steps.max()) * 1.02)
    lighten(axes)


def _label_return(axes: Axes, returns: NDArray[np.float64], task: Task) -> None:
    """Names the axis, and marks the optimum and the part that needs no memory."""
    axes.set_ylabel("mean return")
    marks = [mark for mark in (task.memoryless_return, task.optimal_return) if mark is not None]
    shown = [float(np.nanmin(returns)), float(np.nanmax(returns)), *marks]
    low, high = min(shown), max(shown)
    margin = 0.1 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + 1.3 * margin)
    at_left = axes.get_yaxis_transform()
    if task.optimal_return is not None:
        axes.axhline(task.optimal_return, color=GREEN, linestyle="--", linewidth=1.4)
        axes.text(
            0.01, task.optimal_return, f"optimum {task.optimal_return:.2f}", color=GREEN, va="bottom", transform=at_left
        )
    if task.memoryless_return is not None:
        axes.axhspan(low - margin, task.memoryless_return, color=ORANGE, alpha=0.10, linewidth=0)
        axes.axhline(task.memoryless_return, color=ORANGE, linestyle="--", linewidth=1.4)
        text = f"best without memory {task.memoryless_return:.2f}"
        axes.text(0.01, task.memoryless_return, text, color=ORANGE, va="bottom", transform=at_left)
