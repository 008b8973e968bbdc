"""Cells of an experiment as tasks of Ray, on this machine or on a cluster whose nodes share the experiment's folder."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from s7rl.experiments.errors import UsageError
from s7rl.experiments.local_launcher import CANNOT_BEGIN, POLL_SECONDS, Job, exit_code, start

STOP_SECONDS = 120
"""How long a run that was asked to stop may take to save."""


def run_on_ray(
    jobs: Sequence[Job],
    processes: int,
    *,
    address: str | None,
    watch: Callable[[frozenset[str]], None],
    stop: Callable[[], bool],
) -> None:
    """Runs all jobs, and returns when each has ended.  A job whose worker is lost begins again where it was.

    Args:
        jobs: in the order in which they begin.
        processes: how many at a time, on a Ray of this process's own; a cluster has as many as it has processors.
        address: of the cluster; None: such a Ray is started, and ended with the jobs.
        watch: called several times a second, with the names of the jobs that may run.
        stop: asked as often; once it is true, those that run are asked to stop, and no other begins.

    Raises:
        UsageError: there is no cluster at the address.
    """
    options: dict[str, Any] = {"num_cpus": processes, "include_dashboard": False} if address is None else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"--address {address}: no Ray answers there: {error}") from error
    signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own there, which ends the process
    # A lost worker is no fault of the run's: it is made up for as often as it happens.
    task = ray.remote(num_cpus=1, max_retries=-1)(_run)
    try:
        pending = {task.remote(job, os.getcwd()): job for job in jobs}
        asked = False
        while pending:
            if stop() and not asked:
                asked = True
                for reference in pending:
                    ray.cancel(reference)
            watch(frozenset(job.name for job in pending.values() if job.log.exists()))
            ended, _ = ray.wait(list(pending), timeout=POLL_SECONDS)
            for reference in ended:
                _note(pending.pop(reference), reference, asked)
    finally:
        ray.shutdown()


def _note(job: Job, reference: Any, asked: bool) -> None:
    try:
        code = ray.get(reference)
    except RayError:
        if not asked:
            raise
        return  # cancelled before it had begun
    if not (asked and code > 128):
        job.note_ending(code)


def _run(job: Job, directory: str) -> int:
    """What a worker does: the job, in a process of its own; returns its exit code."""
    os.chdir(directory)  # where the user's own modules and the experiment's folder are
    process = None
    try:
        process = start(job)
        if process is None:
            return CANNOT_BEGIN
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:  # how Ray cancels a task
        if process is None:
            return 128 + signal.SIGINT
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    return exit_code(process)
