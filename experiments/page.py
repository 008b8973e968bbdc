"""A page with text, tables and figures in one HTML file that loads nothing from anywhere, and the figures beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from s7rl.experiments.csv_table import csv_table
from s7rl.experiments.templates import load_template
from s7rl.files import write_atomically

Value: TypeAlias = "str | int | float | None"
NOTHING = "\N{EN DASH}"
"""Stands in a table where there is no number."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture, and the numbers that it shows."""

    name: str
    """Of its files, without the ending."""
    says: str
    """For who cannot see it, and below it."""
    png: bytes
    """The picture."""
    columns: Sequence[str]
    """Of the numbers."""
    lines: Sequence[Sequence[Value]]
    """The numbers."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Texts in rows."""

    head: Sequence[str]
    """Names of the columns."""
    rows: Sequence[Sequence[str]]
    """From the top."""
    names: int = 1
    """How many columns, from the left, hold names; the others hold numbers."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page."""

    title: str
    """Stands above."""
    text: Sequence[str] = ()
    """Paragraphs."""
    points: Sequence[str] = ()
    """A list below them."""
    tables: Sequence[Table] = ()
    """Below that."""
    figures: Sequence[Figure] = ()
    """Below the tables."""


def write_page(page: Path, beside: Path, sections: Sequence[Section], template: str, **values: object) -> None:
    """Writes a page, and each of its figures as NAME.png with its numbers as NAME.csv, in place of older ones.

    Args:
        page: the file.
        beside: the folder of the figures, which is there.
        sections: what the page shows.
        template: extends page.html.jinja; by its path in this folder.
        **values: what else the template wants; ``title`` at least.

    Raises:
        OSError: a file cannot be written.
    """
    for figure in (figure for section in sections for figure in section.figures):
        write_atomically(beside / f"{figure.name}.png", figure.png)
        write_atomically(beside / f"{figure.name}.csv", as_csv(figure))
    loaded = load_template(template, escape=True, filters={"data_url": data_url, "csv": as_csv})
    write_atomically(page, loaded.render(sections=sections, **values).encode())


def data_url(content: bytes, kind: str) -> str:
    """The content of a file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def as_csv(figure: Figure) -> bytes:
    """The numbers of a figure, to eight digits; what is not known, and intervals of one seed, are empty."""
    rows = (dict(zip(figure.columns, map(_written, line), strict=True)) for line in figure.lines)
    return csv_table(figure.columns, rows)


def _written(value: Value) -> Value:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.8g}"
