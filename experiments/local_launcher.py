"""Cells of an experiment as processes of this machine, a few at a time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from s7rl.experiments.errors import UsageError

POLL_SECONDS = 0.2
CANNOT_BEGIN = 2
"""The exit code of a request that cannot be fulfilled."""
PROGRAM = (sys.executable, "-m", "s7rl")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command, and what becomes of it."""

    name: str
    """For messages."""
    words: Callable[[], Sequence[str]]
    """What stands behind `s7rl`, asked for when the job begins, or begins again: a part of it may have been done."""
    log: Path
    """Where its output goes, behind what is there already."""
    note_ending: Callable[[int], None]
    """Told the exit code, 128 and more for a signal's; not told where the job was asked to stop and did."""


def run_locally(
    jobs: Sequence[Job], processes: int, *, watch: Callable[[frozenset[str]], None], stop: Callable[[], bool]
) -> None:
    """Runs all jobs, and returns when each has ended.

    If this process dies, however it does, theirs are asked to stop, which they do after the update they are at (on
    Linux; elsewhere they go on to their end).

    Args:
        jobs: in the order in which they begin.
        processes: how many at a time.
        watch: called several times a second, with the names of the jobs that run.
        stop: asked as often; once it is true, those that run are asked to stop, and no other begins.
    """
    waiting = deque(jobs)
    running: dict[subprocess.Popen[bytes], Job] = {}
    asked = False
    try:
        while waiting or running:
            if not asked and stop():
                asked = True
                waiting.clear()
                for process in running:
                    process.terminate()
            while waiting and len(running) < processes:
                job = waiting.popleft()
                begun = start(job)
                if begun is None:
                    job.note_ending(CANNOT_BEGIN)
                else:
                    running[begun] = job
            watch(frozenset(job.name for job in running.values()))
            time.sleep(POLL_SECONDS)
            for process in [process for process in running if process.poll() is not None]:
                job, code = running.pop(process), exit_code(process)
                if not (asked and code > 128):
                    job.note_ending(code)
    finally:
        for process in running:
            # Only who was asked and could not wait loses anything: a second Ctrl-C.
            process.kill() if asked else process.terminate()
        for process in running:
            process.wait()


def start(job: Job) -> subprocess.Popen[bytes] | None:
    """Begins a job in a process of its own, which stops when this one dies; None where it cannot: its log says why."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        try:
            words = job.words()
        except (UsageError, OSError) as error:
            log.write(f"s7rl experiment: {error}\n".encode())
            return None
        return subprocess.Popen(
            [*PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONSAFEPATH": "1"},  # modules in the working directory stand in for none of Python's
            # Ctrl-C is for the process that shows the table; it hands it on.
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )


def exit_code(process: subprocess.Popen[bytes]) -> int:
    """That of a process that has ended; 128 and the signal's number where one ended it, as in a shell."""
    code = process.wait()
    return code if code >= 0 else 128 - code


def _end_with_parent() -> Callable[[], None] | None:
    """What a new process calls to get a SIGTERM when this one dies; None where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return None
    # Looked up before the fork: afterwards only the simplest calls are safe.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # It has died since the fork.
            os._exit(128 + signal.SIGTERM)

    return end_with_parent
