"""The folder that a benchmark leaves behind.

    results.csv   one line per cell, with all its numbers
    NAME.png      the picture of them
    machine.json  what ran where: processor, threads, versions, command

Each file is replaced in one step, and the table after every cell, so that a run that is stopped leaves what it had.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch

from s7rl.backends import backend
from s7rl.experiments.bench.config import CommonOptions
from s7rl.experiments.bench.measuring import Spread
from s7rl.experiments.csv_table import csv_table
from s7rl.experiments.machine import machine as local_machine
from s7rl.experiments.run_folder import make_folder, versions, write_json
from s7rl.files import write_atomically

HOME = Path("runs") / "bench"
Cell: TypeAlias = str | int | float | None


class BenchFolder:
    """A new folder, and the table in it."""

    def __init__(self, name: str, columns: Sequence[str], command: Sequence[str], common: CommonOptions) -> None:
        """Makes the folder and writes machine.json into it.

        Args:
            name: of the benchmark.
            columns: of the table.
            command: the words that started it.
            common: where it goes, and what to say of the machine.

        Raises:
            UsageError: the folder exists or cannot be made.
        """
        self.path, created = make_folder(name, out=common.out, home=HOME)
        self.picture = self.path / f"{name}.png"
        self._columns = list(columns)
        self._rows: list[Mapping[str, Cell]] = []
        write_json(self.path / "machine.json", {"created": created, "command": list(command)} | machine(common))

    def add(self, *rows: Mapping[str, Cell]) -> None:
        """Adds lines to the table, and writes it. What a row does not have stays empty."""
        for row in rows:
            assert set(row) <= set(self._columns), set(row) - set(self._columns)
        self._rows += rows
        write_atomically(self.path / "results.csv", csv_table(self._columns, self._rows))


def spread_columns(name: str) -> list[str]:
    """The columns of a spread."""
    return [f"{name}_{part}" for part in ("median", "q1", "q3", "min", "max")]


def spread_cells(name: str, spread: Spread | None) -> dict[str, Cell]:
    """A spread as cells of a row; none where there is none."""
    if spread is None:
        return {}
    values = spread.median, spread.lower, spread.upper, spread.minimum, spread.maximum
    return dict(zip(spread_columns(name), map(_short, values), strict=True))


def machine(common: CommonOptions) -> dict[str, object]:
    """What ran where, as far as it decides how fast."""
    on_gpu = torch.device(common.device).type == "cuda"
    return {
        **local_machine(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "device": torch.cuda.get_device_name(common.device) if on_gpu else common.device,
        "threads": common.threads,
        "scan": backend(torch.empty(0, device=common.device)),
        "versions": versions(),
    }


def _short(number: float) -> float:
    """Six digits say more than any clock."""
    return float(f"{number:.6g}")
