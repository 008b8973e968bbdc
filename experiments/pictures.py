"""What all pictures have in common: their colours and their look, and how they get into a file.

Colours are those of Okabe and Ito, which can be told apart with any kind of colour vision.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from s7rl.files import write_atomically

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, ORANGE, GREEN = COLOURS[:3]
GREY = "#777777"


def lighten(axes: Axes) -> None:
    """A pale grid behind everything, and no frame at the top and on the right."""
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def png(figure: Figure) -> bytes:
    """A figure as a PNG, its texts as they are: names of agents and tasks may have dollar signs."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def save_figure(figure: Figure, picture: Path) -> None:
    """Writes a PNG, which is replaced in one step."""
    write_atomically(picture, png(figure))
