"""Where the cells of an experiment stand: a live table on a terminal, a line for each that ends elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from s7rl.experiments.grid import Cell
from s7rl.experiments.grid_folder import GridFolder, State
from s7rl.experiments.wording import say

REDRAW_SECONDS = 1.0
HEADING_LINES = 4
"""Of the table, with the time that is left and the line of the cursor."""
ENDED = (State.FINISHED, State.FAILED)


class CellsTable:
    """A row for every task and agent, a column for every seed; use it in a with statement."""

    def __init__(self, folder: GridFolder, steps: Mapping[Cell, int], console: Console) -> None:
        """Prepares, and shows nothing yet.

        Args:
            folder: of the experiment.
            steps: environment steps of every cell.
            console: where it is shown.
        """
        self._folder = folder
        self._steps = steps
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._drawn = -REDRAW_SECONDS
        self._began = time.monotonic()
        self._states = {cell: folder.state(cell) for cell in steps}
        self._shown = {cell: self._text(cell) for cell in steps}
        self._before = {cell: self._steps_done(cell) for cell in steps}
        self._done = dict(self._before)
        self._moved: frozenset[str] = frozenset()

    def __enter__(self) -> CellsTable:
        """Begins to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last table, however many lines it has."""
        self._look()
        if self._console.is_terminal:
            self._live.update(self._table(list(self._rows())))
            self._live.stop()

    def show(self, running: frozenset[str]) -> None:
        """Looks and draws, but not too often.

        Args:
            running: names of the cells that run now.
        """
        self._moved |= running
        if time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._drawn = time.monotonic()
            self._look()
            self._moved = running
            if self._console.is_terminal:
                self._live.update(self._table(self._rows_that_fit(running)), refresh=True)

    def _look(self) -> None:
        """Looks at the cells that have run since the last time: no other one has moved."""
        for cell in self._steps:
            if str(cell) not in self._moved:
                continue
            before, self._states[cell] = self._states[cell], self._folder.state(cell)
            self._done[cell] = self._steps_done(cell)
            self._shown[cell] = self._text(cell) or f"{self._done[cell] / self._steps[cell]:.0%}"
            if self._states[cell] is not before and self._states[cell] in ENDED and not self._console.is_terminal:
                ended = sum(state in ENDED for state in self._states.values())
                why = f": {self._folder.error(cell)}" if self._states[cell] is State.FAILED else ""
                say(self._console, f"{ended}/{len(self._steps)}  {cell}: {self._shown[cell]}{why}")

    def _text(self, cell: Cell) -> str:
        if self._states[cell] is State.FINISHED:
            return f"{self._folder.score(cell)['mean_return']:.2f}"
        return "failed" if self._states[cell] is State.FAILED else ""

    def _steps_done(self, cell: Cell) -> int:
        return min(self._folder.run(cell).steps_done, self._steps[cell])

    def _table(self, rows: list[tuple[str, str]]) -> Group:
        seeds = dict.fromkeys(cell.seed for cell in self._steps)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("task")
        table.add_column("agent")
        for seed in seeds:
            table.add_column(f"seed {seed}", justify="right")
        texts = {(cell.task, cell.agent, cell.seed): self._shown[cell] for cell in self._steps}
        for task, agent in rows:
            table.add_row(Text(task), Text(agent), *(Text(texts[task, agent, seed]) for seed in seeds))
        return Group(table, Text(self._time_left(), style="dim"))

    def _rows(self) -> dict[tuple[str, str], set[str]]:
        """Tasks and agents, with the names of their cells."""
        rows: dict[tuple[str, str], set[str]] = {}
        for cell in self._steps:
            rows.setdefault((cell.task, cell.agent), set()).add(str(cell))
        return rows

    def _rows_that_fit(self, running: frozenset[str]) -> list[tuple[str, str]]:
        """All rows, or where the terminal is too low for them those in which something runs."""
        rows = self._rows()
        fits = len(rows) + HEADING_LINES <= self._console.height
        return [row for row, cells in rows.items() if fits or cells & running]

    def _time_left(self) -> str:
        """From the steps of this process so far: early on it knows only the agents that came first."""
        made = sum(max(0, done - self._before[cell]) for cell, done in self._done.items())
        left = sum(self._steps[cell] - self._done[cell] for cell, state in self._states.items() if state not in ENDED)
        if not made or not left:
            return ""
        seconds = (time.monotonic() - self._began) * left / made
        return f"about {seconds / 60:.0f} minutes left" if seconds >= 90 else f"about {seconds:.0f} seconds left"
