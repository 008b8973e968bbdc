"""Ctrl-C and SIGTERM as a request that a loop answers at its next step.

The first signal only leaves a note, so that nothing is cut in the middle. A second Ctrl-C means that the user will not
wait: it raises KeyboardInterrupt, except while a ``protected`` block runs. Signals within a second of the first are the
same request, since ``timeout`` and ``make`` may deliver it to the process and to its group.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SAME_REQUEST_SECONDS = 1.0


class Interruption:
    """Whether the user asked to stop, and by which signal."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        """Args: announce: called once, with one line that says what happens now."""
        self.signal: int | None = None
        """The first signal that came, or None."""
        self._announce = announce
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
            self._announce(
                "stopping after this update, then saving (Ctrl-C again: stop at once, with the last checkpoint)"
            )
        elif number == signal.SIGINT and not self._protected and now - self._since > SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def stop_on_signals(announce: Callable[[str], None]) -> Iterator[Interruption]:
    """Handles Ctrl-C and SIGTERM during a block, and puts back what was there before.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """
    interruption = Interruption(announce)
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous = {number: signal.signal(number, interruption.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
