"""What all pictures have in common: their look, and how they get into a file."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from s7rl.files import write_atomically


def lighten(axes: Axes) -> None:
    """A pale grid, and no frame at the top and on the right."""
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, picture: Path) -> None:
    """Writes a PNG, which is replaced in one step."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(picture, content.getvalue())
