"""A run's log: progress.csv, TensorBoard's events, and trackers; begun anew or continued where a run is resumed.

A run that was killed may have logged more than its last checkpoint holds. What lies beyond the checkpoint is taken
away: it is about to happen again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat, filter_excluded_keys
from torch.utils.tensorboard import SummaryWriter

from s7rl.experiments.learning_curve import BEST_RETURN
from s7rl.experiments.run_folder import STEPS, RunFolder
from s7rl.experiments.tracking import Trackers
from s7rl.files import write_atomically


class ProgressCSV(KVWriter):
    """progress.csv as SB3 writes it, a line per rollout. When a column is added the file is replaced in one step."""

    def __init__(self, path: Path, steps: int) -> None:
        """Keeps the lines up to a number of steps, of a file that is there.

        Args:
            path: the file.
            steps: environment steps that the run has done.
        """
        self._path = path
        self._columns: list[str] = []
        self._lines = [line for line in self._read() if _steps(line) <= steps]
        if path.exists():
            self._rewrite()

    @property
    def best_return(self) -> float:
        """The best mean return of the training so far, minus infinity at first."""
        return float((self._lines[-1].get(BEST_RETURN) if self._lines else "") or "-inf")

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Adds a line."""
        values = filter_excluded_keys(key_values, key_excluded, "csv")
        line = {key: "" if value is None else str(value) for key, value in values.items()}
        self._lines.append(line)
        new = [key for key in line if key not in self._columns]
        if new:
            self._columns += new
            self._rewrite()
        else:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                self._write(file, [line])

    def close(self) -> None:
        """Nothing is open between lines."""

    def _read(self) -> list[dict[str, str]]:
        """The whole lines of the file: the last one may have been cut off."""
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.reader(file))
        self._columns = rows[0] if rows else []
        return [dict(zip(self._columns, row, strict=True)) for row in rows[1:] if len(row) == len(self._columns)]

    def _rewrite(self) -> None:
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerow(self._columns)
        self._write(content, self._lines)
        write_atomically(self._path, content.getvalue().encode())

    def _write(self, file: Any, lines: list[dict[str, str]]) -> None:
        csv.DictWriter(file, self._columns, lineterminator="\n").writerows(lines)


class _TensorBoard(TensorBoardOutputFormat):
    def __init__(self, folder: Path, steps: int) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=steps + 1 if steps else None)
        self._is_closed = False


class _Tracked(KVWriter):
    """What goes into progress.csv, for the trackers."""

    def __init__(self, trackers: Trackers) -> None:
        self._trackers = trackers

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self._trackers.log(filter_excluded_keys(key_values, key_excluded, "csv"), step)

    def close(self) -> None:
        """The evaluation is still to come."""


def open_log(folder: RunFolder, steps: int, trackers: Trackers) -> tuple[Logger, float]:
    """Opens the log of a run that has done some steps, 0 for a new one.

    Args:
        folder: of the run.
        steps: environment steps that it has done.
        trackers: are logged to as well, and stay open when the log is closed.

    Returns:
        The logger, and the best mean return of the training so far.
    """
    progress = ProgressCSV(folder.progress, steps)
    writers = [progress, _TensorBoard(folder.path, steps), _Tracked(trackers)]
    return Logger(str(folder.path), writers), progress.best_return


def _steps(line: Mapping[str, str]) -> float:
    try:
        return float(line[STEPS])
    except (KeyError, ValueError):
        return float("inf")
