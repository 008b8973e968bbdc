"""Signals leave a note first; only an impatient second Ctrl-C cuts anything short."""

import os
import signal
import threading

import pytest

from s7rl.experiments.interruption import Interruption, stop_on_signals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock of one entry, set by hand."""
    now = [100.0]
    monkeypatch.setattr("s7rl.experiments.interruption.time.monotonic", lambda: now[0])
    return now


def test_a_signal_is_noted_and_announced_once(clock: list[float]) -> None:
    said: list[str] = []
    with stop_on_signals(said.append) as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interruption.requested, interruption.exit_code) == (True, 143)
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(said) == 1


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals(lambda line: None):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_ctrl_c_stops_at_once_unless_it_is_the_same_request(clock: list[float]) -> None:
    interruption = Interruption(lambda line: None)
    interruption.handle(signal.SIGINT, None)
    clock[0] += 0.5
    interruption.handle(signal.SIGINT, None)
    clock[0] += 1.0
    with pytest.raises(KeyboardInterrupt):
        interruption.handle(signal.SIGINT, None)
    assert interruption.exit_code == 130


def test_saving_is_not_cut_short(clock: list[float]) -> None:
    interruption = Interruption(lambda line: None)
    interruption.handle(signal.SIGINT, None)
    clock[0] += 60.0
    with interruption.protected():
        interruption.handle(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        interruption.handle(signal.SIGINT, None)


def test_other_threads_run_without_handlers() -> None:
    outcome: list[bool] = []

    def work() -> None:
        with stop_on_signals(lambda line: None) as interruption:
            outcome.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [False]
