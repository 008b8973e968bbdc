"""What a benchmark shows while it runs: a bar, or a line now and then where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from s7rl.experiments.wording import say

LINE_SECONDS = 5.0


class BenchProgress:
    """Counts the cells that are done; draws only when told to, since a thread that draws would be measured too."""

    def __init__(self, console: Console, total: int) -> None:
        """Args: console: where it is shown; total: how many cells there are."""
        self._console = console
        self._total = total
        self._done = 0
        self._line = -LINE_SECONDS
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> BenchProgress:
        """Shows the bar on a terminal."""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes it away."""
        if self._console.is_terminal:
            self._bar.stop()

    def show(self, what: str) -> None:
        """Says what is done next."""
        if self._console.is_terminal:
            self._bar.update(self._task, description=what, completed=self._done, refresh=True)
        elif time.monotonic() - self._line >= LINE_SECONDS:
            self._line = time.monotonic()
            say(self._console, f"{self._done}/{self._total}  {what}")

    def advance(self, cells: int = 1) -> None:
        """Counts cells as done, measured or left out."""
        self._done += cells
