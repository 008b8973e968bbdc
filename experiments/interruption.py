"""Ctrl-C and SIGTERM as a request that a loop answers at its next step.

The first signal only leaves a note, so that nothing is cut in the middle. A second Ctrl-C means that the user will not
wait: it raises KeyboardInterrupt, except while a ``protected`` block runs. Signals within a second of the first are the
same request, since ``timeout`` and ``make`` may deliver it to the process and to its group.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SAME_REQUEST_SECONDS = 1.0
STOPPING = "stopping after this update, then saving (Ctrl-C again: stop at once, with the last checkpoint)"
"""What a training says to the first signal."""
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
"""Their descriptors."""


class Interruption:
    """Whether the user asked to stop, and by which signal."""

    def __init__(self, note: str = "") -> None:
        """Args: note: a line, written at the first signal to a terminal where there is one, else to standard error."""
        self.signal: int | None = None
        """The first signal that came, or None."""
        self._note = note
        self._since = 0.0
        self._protected = False

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 128 and the signal's number."""
        return 128 + self.signal if self.signal is not None else 0

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Runs a block that no signal cuts short."""
        before, self._protected = self._protected, True
        try:
            yield
        finally:
            self._protected = before

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
            if self._note:
                _write_now(self._note)
        elif number == signal.SIGINT and not self._protected and now - self._since > SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt


def _write_now(line: str) -> None:
    # A handler runs wherever Python is, perhaps within a write: print() and rich would enter their buffers and locks
    # once more, which raises RuntimeError.
    if sys.__stderr__ is None:
        return  # it was closed at the start: its descriptor is another file's by now
    terminal = next((its for its in (STANDARD_ERROR, STANDARD_OUTPUT) if os.isatty(its)), None)
    with suppress(OSError):  # nobody reads it any more
        over_the_bar = b"" if terminal is None else b"\r\x1b[K"
        os.write(terminal or STANDARD_ERROR, over_the_bar + line.encode() + b"\n")


@contextmanager
def stop_on_signals(note: str = "") -> Iterator[Interruption]:
    """Handles Ctrl-C and SIGTERM during a block, and puts back what was there before.

    Outside the main thread, where Python allows no handlers, nothing is caught.

    Args:
        note: written at the first signal, as ``Interruption`` says; empty: nothing is.
    """
    interruption = Interruption(note)
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous = {number: signal.signal(number, interruption.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
