"""A moment as a picture: the environment on the left; distribution, action, value and return on the right."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from s7rl.experiments.pictures import BLUE, GREY, ORANGE
from s7rl.experiments.watching.choices import Choice, Intervals, Probabilities
from s7rl.experiments.watching.moments import Moment, View

WIDTH, HEIGHT = 960, 440
"""Of a picture, in pixels; even, as films want it."""
_DPI = 100
_MOST_COLUMNS = 120
"""Characters of a line that can still be read when a drawing is as wide as that."""
_MOST_LABELS = 24


class Painter:
    """Paints the moments of episodes, one after the other.

    Args:
        observation_space: of the environment; an observation is painted where there is neither picture nor drawing.
        title: stands above every picture.
    """

    def __init__(self, observation_space: gym.Space[Any], title: str) -> None:
        self._space = observation_space
        self._values: list[float] = []
        figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI)
        self._canvas = FigureCanvasAgg(figure)
        self._scene = figure.add_axes((0.02, 0.04, 0.47, 0.86))
        self._bars = figure.add_axes((0.57, 0.47, 0.41, 0.36))
        self._trace = figure.add_axes((0.57, 0.1, 0.41, 0.22))
        figure.text(0.02, 0.94, title, fontsize=10, parse_math=False)
        self._line = figure.text(0.57, 0.94, "", fontsize=10, family="monospace")

    def paint(self, moment: Moment) -> UInt8[np.ndarray, "height width 3"]:
        """Paints a moment; the trace of values goes on from the moments of the same episode before it."""
        if moment.step == 0:
            self._values = []
        if moment.value is not None:
            self._values.append(moment.value)
        self._line.set_text(f"episode {moment.episode}  step {moment.step:>4}  return {moment.total:8.2f}")
        self._paint_scene(moment.view)
        self._paint_choice(moment.choice, moment.outcome)
        self._paint_values()
        self._canvas.draw()
        picture: NDArray[np.uint8] = np.array(self._canvas.buffer_rgba())[..., :3]
        return picture

    def _paint_scene(self, view: View) -> None:
        axes = self._scene
        axes.clear()
        axes.set_axis_off()
        if isinstance(view.scene, np.ndarray):
            axes.imshow(view.scene)
        elif view.scene is not None and _columns(view.scene) <= _MOST_COLUMNS:
            # A character of a monospaced font is 0.6 times as wide as it is high.
            room = 72 * 0.47 * WIDTH / _DPI / 0.6
            size = min(20.0, room / max(1, _columns(view.scene)))
            drawing = view.scene.rstrip("\n")
            style: dict[str, Any] = {"fontsize": size, "family": "monospace", "parse_math": False}
            axes.text(0.5, 0.5, drawing, ha="center", va="center", **style)
        else:
            pixels = _pixels(self._space, view.observation)
            limit = float(np.nanmax(np.abs(pixels), initial=0.0)) or 1.0
            axes.imshow(pixels, cmap="RdBu_r", vmin=-limit, vmax=limit)
            hidden = "" if view.hidden is None else f"\nhidden state  {' '.join(map(str, view.hidden[:16]))}"
            axes.set_title(f"observation, from {-limit:.3g} (blue) to {limit:.3g} (red){hidden}", fontsize=9)

    def _paint_choice(self, choice: Choice | None, outcome: str) -> None:
        axes = self._bars
        axes.clear()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if choice is None:
            axes.set_axis_off()
            axes.text(0.5, 0.5, outcome, fontsize=16, ha="center", va="center")
        elif isinstance(choice, Probabilities):
            columns = np.arange(len(choice.labels))
            axes.bar(columns, choice.probabilities, color=np.where(choice.taken, ORANGE, BLUE).tolist())
            axes.set_ylim(0, 1)
            axes.set_xticks(columns, choice.labels)
            axes.set_title("probability of each action (orange: taken)", fontsize=9)
        else:
            _paint_intervals(axes, choice)
        if axes.get_xticks().size > _MOST_LABELS:
            axes.set_xticks([])

    def _paint_values(self) -> None:
        axes = self._trace
        axes.clear()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.plot(self._values, color=BLUE, marker="o" if len(self._values) == 1 else "")
        now = f"{self._values[-1]:.3f}" if self._values else "none"
        axes.set_title(f"value: {now}", fontsize=9)
        axes.set_xlim(0, max(10, len(self._values)))
        axes.set_xlabel("step", fontsize=8, labelpad=1)


def _paint_intervals(axes: Any, choice: Intervals) -> None:
    columns = np.arange(len(choice.mean))
    errors = np.stack([choice.mean - choice.low, choice.high - choice.mean])
    axes.errorbar(columns, choice.mean, errors, fmt="_", color=BLUE, capsize=4, markersize=14)
    axes.plot(columns, choice.taken, "o", color=ORANGE)
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    axes.set_xlim(-0.7, len(columns) - 0.3)
    axes.set_xticks(columns)
    axes.set_title("mean ± standard deviation of each action (orange: taken)", fontsize=9)


def _columns(drawing: str) -> int:
    return max(map(len, drawing.splitlines()), default=0)


def _pixels(space: gym.Space[Any], observation: Any) -> NDArray[np.floating[Any]]:
    """An observation as a rectangle of numbers: an image as it is, a vector row below row; symbols are one-hot."""
    if isinstance(space, spaces.Box) and len(space.shape) in (2, 3):
        image = np.asarray(observation, dtype=np.float64)
        # Channels, first or last, are averaged.
        return image if image.ndim == 2 else image.mean(axis=int(np.argmin(image.shape)))
    vector = np.asarray(spaces.flatten(space, observation), dtype=np.float64)
    width = len(vector) if len(vector) <= 16 else math.ceil(math.sqrt(2 * len(vector)))
    padded = np.full(math.ceil(len(vector) / width) * width, np.nan)
    padded[: len(vector)] = vector
    return padded.reshape(-1, width)
