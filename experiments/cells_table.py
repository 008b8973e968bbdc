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
from s7rl.experiments.grid_folder import GridFolder, State, read_json
from s7rl.experiments.summary import say

REDRAW_SECONDS = 1.0
_SIGNS = {State.NEW: "", State.STOPPED: "stopped", State.FAILED: "failed"}


class CellsTable:
    """A row for every task and agent, a column for every seed; use it in a with statement."""

    def __init__(self, folder: GridFolder, steps: Mapping[Cell, int], processes: int, console: Console) -> None:
        """Prepares, and shows nothing yet.

        Args:
            folder: of the experiment.
            steps: environment steps of every cell.
            processes: how many run at a time, for the time that is left.
            console: where it is shown.
        """
        self._folder = folder
        self._steps = steps
        self._processes = processes
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._drawn = 0.0
        self._began = time.monotonic()
        self._before = {cell: self._done(cell) for cell in steps}
        self._states = {cell: folder.state(cell) for cell in steps}

    def __enter__(self) -> CellsTable:
        """Begins to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last table."""
        self._drawn = 0.0
        self.show(frozenset())
        self._live.stop()

    def show(self, running: frozenset[str]) -> None:
        """Draws, but not too often.

        Args:
            running: names of the cells that run now.
        """
        if not self._console.is_terminal:
            for cell, before in self._states.items():
                now = self._folder.state(cell)
                if now is not before and now in (State.FINISHED, State.FAILED):
                    done = sum(self._folder.state(other) is State.FINISHED for other in self._steps)
                    what = self._shown(cell, now, running=False) if now is State.FINISHED else self._folder.error(cell)
                    say(self._console, f"{done}/{len(self._steps)}  {cell}: {what}")
                self._states[cell] = now
        elif time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._drawn = time.monotonic()
            self._live.update(self._table(running), refresh=True)

    def _table(self, running: frozenset[str]) -> Group:
        seeds = list(dict.fromkeys(cell.seed for cell in self._steps))
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("task")
        table.add_column("agent")
        for seed in seeds:
            table.add_column(f"seed {seed}", justify="right")
        rows: dict[tuple[str, str], dict[int, str]] = {}
        for cell in self._steps:
            shown = self._shown(cell, self._folder.state(cell), running=str(cell) in running)
            rows.setdefault((cell.task, cell.agent), {})[cell.seed] = shown
        for (task, agent), cells in rows.items():
            table.add_row(Text(task), Text(agent), *(Text(cells[seed]) for seed in seeds))
        return Group(table, Text(self._time_left(), style="dim"))

    def _shown(self, cell: Cell, state: State, *, running: bool) -> str:
        if running:
            return f"{self._done(cell) / self._steps[cell]:.0%}"
        if state is State.FINISHED:
            return f"{read_json(self._folder.run(cell).evaluation)['mean_return']:.2f}"
        return _SIGNS[state]

    def _done(self, cell: Cell) -> int:
        return min(self._folder.run(cell).steps_done, self._steps[cell])

    def _time_left(self) -> str:
        """From the steps of this process so far: early on it knows only the agents that came first."""
        made = sum(self._done(cell) - before for cell, before in self._before.items())
        left = sum(
            self._steps[cell] - self._done(cell)
            for cell in self._steps
            if self._folder.state(cell) in (State.NEW, State.STOPPED)
        )
        if not made:
            return ""
        seconds = (time.monotonic() - self._began) * left / made
        return f"about {seconds / 60:.0f} minutes left" if seconds >= 90 else f"about {seconds:.0f} seconds left"
