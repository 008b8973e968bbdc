"""A moment as a line of text, with the drawing above it where there is one."""

from __future__ import annotations

import numpy as np

from s7rl.experiments.watching.choices import Choice, Probabilities
from s7rl.experiments.watching.moments import Moment

_MOST = 8
"""Columns of a distribution that a line has room for."""


def moment_as_text(moment: Moment, *, scene: bool) -> str:
    """Says in a line what happened.

    Args:
        moment: what to tell.
        scene: whether to show the environment, too: its drawing above the line, or the observation in it.
    """
    drawing = moment.view.scene if scene and isinstance(moment.view.scene, str) else ""
    parts = [f"episode {moment.episode}", f"step {moment.step:>4}", f"return {moment.total:8.2f}"]
    if scene and not drawing:
        parts.append(f"observation {_numbers(moment.view.observation)}")
    if moment.choice is not None:
        assert moment.value is not None, "there is no choice without a value"
        parts += [f"value {moment.value:8.3f}", _choice(moment.choice)]
    else:
        parts.append(moment.outcome)
    return drawing + "  ".join(parts)


def _choice(choice: Choice) -> str:
    """The taken columns in brackets; of many the most probable ones, in their order."""
    if isinstance(choice, Probabilities):
        columns = list(zip(choice.labels, choice.probabilities, choice.taken, strict=True))
        shown = set(np.argsort(~choice.taken - choice.probabilities, kind="stable")[:_MOST].tolist())
        cells = [
            f"[{label}: {probability:.2f}]" if taken else f"{label}: {probability:.2f}"
            for column, (label, probability, taken) in enumerate(columns)
            if column in shown
        ]
        return "  ".join(cells) + ("  ..." if len(columns) > _MOST else "")
    spans = zip(choice.taken, choice.low, choice.mean, choice.high, strict=True)
    cells = [f"[{taken:.2f}] of {low:.2f} < {mean:.2f} < {high:.2f}" for taken, low, mean, high in spans]
    return "  ".join(cells[:_MOST]) + ("  ..." if len(cells) > _MOST else "")


def _numbers(observation: object) -> str:
    if isinstance(observation, dict):
        return "  ".join(f"{name} {_numbers(value)}" for name, value in observation.items())
    return np.array2string(np.asarray(observation), precision=2, threshold=12, edgeitems=4, max_line_width=10_000)
