"""Signals leave a note first; only an impatient second Ctrl-C cuts anything short.

Mutations seen to fail: the note printed to sys.stderr; written at every signal, or to standard error wherever that is;
a closed standard error not borne.
"""

import io
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from s7rl.experiments.interruption import Interruption, stop_on_signals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock of one entry, set by hand."""
    now = [100.0]
    monkeypatch.setattr("s7rl.experiments.interruption.time.monotonic", lambda: now[0])
    return now


def test_a_signal_is_noted_and_announced_once(clock: list[float], capfd: pytest.CaptureFixture[str]) -> None:
    with stop_on_signals("stopping soon") as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interruption.requested, interruption.exit_code) == (True, 143)
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err == "stopping soon\n"


class Interrupted(io.RawIOBase):
    """A file that is being written to when Ctrl-C comes."""

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        signal.raise_signal(signal.SIGINT)
        return len(bytes(content))  # type: ignore[call-overload]


def test_a_signal_in_the_middle_of_a_write_is_noted_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = io.TextIOWrapper(io.BufferedWriter(Interrupted()), write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with stop_on_signals("stopping soon") as interruption:
        print("75%", flush=True)
    assert interruption.exit_code == 130
    assert capfd.readouterr().err == "stopping soon\n"


def test_the_note_is_seen_where_standard_error_alone_is_redirected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    master, terminal = os.openpty()
    monkeypatch.setattr("s7rl.experiments.interruption.STANDARD_OUTPUT", terminal)
    with (tmp_path / "errors").open("w") as errors:
        monkeypatch.setattr("s7rl.experiments.interruption.STANDARD_ERROR", errors.fileno())
        Interruption("stopping soon").handle(signal.SIGINT, None)
    os.set_blocking(master, False)
    assert os.read(master, 100).endswith(b"stopping soon\r\n")
    assert (tmp_path / "errors").read_text() == ""
    os.close(master)
    os.close(terminal)


def test_the_note_goes_to_no_file_that_has_taken_the_place_of_standard_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "__stderr__", None)  # as Python has it where it was closed at the start
    Interruption("stopping soon").handle(signal.SIGINT, None)
    assert capfd.readouterr().err == ""


def test_nobody_need_read_the_note() -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        interruption = Interruption("stopping soon")
        interruption.handle(signal.SIGTERM, None)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert interruption.requested


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_ctrl_c_stops_at_once_unless_it_is_the_same_request(clock: list[float]) -> None:
    interruption = Interruption()
    interruption.handle(signal.SIGINT, None)
    clock[0] += 0.5
    interruption.handle(signal.SIGINT, None)
    clock[0] += 1.0
    with pytest.raises(KeyboardInterrupt):
        interruption.handle(signal.SIGINT, None)
    assert interruption.exit_code == 130


def test_saving_is_not_cut_short(clock: list[float]) -> None:
    interruption = Interruption()
    interruption.handle(signal.SIGINT, None)
    clock[0] += 60.0
    with interruption.protected():
        interruption.handle(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        interruption.handle(signal.SIGINT, None)


def test_other_threads_run_without_handlers() -> None:
    outcome: list[bool] = []

    def work() -> None:
        with stop_on_signals() as interruption:
            outcome.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [False]
