"""What the sections of a report have in common: yardsticks of a figure, and rows that do not repeat their names."""

from __future__ import annotations

from collections.abc import Sequence

from s7rl.experiments.yardsticks import Yardsticks


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
