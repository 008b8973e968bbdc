"""What a report is made of: sections with text, tables and figures, and how the numbers in them are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from s7rl.experiments.report.data import Yardsticks

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
    """A part of the report."""

    title: str
    """Stands above."""
    text: Sequence[str]
    """Paragraphs."""
    tables: Sequence[Table] = ()
    """Below the text."""
    figures: Sequence[Figure] = ()
    """Below the tables."""


def levels(yardsticks: Yardsticks) -> dict[str, float]:
    """Names of the known yardsticks with their heights; those that lie on each other share one."""
    names = {"random": yardsticks.random, "no memory": yardsticks.memoryless, "optimum": yardsticks.optimal}
    known = {name: level for name, level in names.items() if level is not None}
    apart = 0.04 * (max(known.values()) - min(known.values())) if known else 0.0
    merged: dict[str, float] = {}
    for name, level in known.items():
        near = next((other for other, its in merged.items() if abs(its - level) <= apart), None)
        if near is None:
            merged[name] = level
        else:
            merged[f"{near}, {name}"] = merged.pop(near)
    return merged


def grouped(rows: Sequence[Sequence[str]], names: int = 1) -> list[list[str]]:
    """The rows, with the names on the left only where they change."""
    found: list[list[str]] = []
    for before, row in zip([None, *rows], rows, strict=False):
        same = before is not None and list(before[:names]) == list(row[:names])
        found.append([*([""] * names if same else row[:names]), *row[names:]])
    return found
