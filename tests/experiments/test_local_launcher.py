"""Jobs as processes: in order, a few at a time, and none that outlives the launcher.

The jobs are programs of a line or two in the place of `s7rl`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from s7rl.experiments import local_launcher
from s7rl.experiments.local_launcher import Job, run_locally

PYTHON = (sys.executable, "-I", "-S", "-c")
WAITS = """
import os, pathlib, signal, sys, time
def stop(*arguments):
    pathlib.Path(sys.argv[1] + ".asked").touch()
    sys.exit(int(sys.argv[2]))
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1] + ".pid").write_text(str(os.getpid()))
os.rename(sys.argv[1] + ".pid", sys.argv[1])
while True:
    time.sleep(0.01)
"""
"""Says its process id in a file; when asked to, stops with the exit code that it was given."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_launcher, "PROGRAM", PYTHON)
    monkeypatch.setattr(local_launcher, "POLL_SECONDS", 0.01)


class Codes(dict[str, int]):
    """Exit codes by job, in the order in which the jobs ended."""

    def job(self, folder: Path, name: str, *words: str) -> Job:
        return Job(
            name=name, words=lambda: words, log=folder / "logs" / name, note_ending=partial(self.__setitem__, name)
        )


def wait_for(path: Path, writer: subprocess.Popen[bytes] | None = None) -> None:
    while not path.exists():
        assert writer is None or writer.poll() is None, "the process has ended"
        time.sleep(0.01)


def has_ended(process_id: int) -> bool:
    """Whether a process is gone, or has ended and nobody has asked how."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def never() -> bool:
    return False


def test_jobs_begin_in_order_as_many_at_a_time_as_was_said(tmp_path: Path) -> None:
    codes, seen = Codes(), list[frozenset[str]]()
    jobs = [codes.job(tmp_path, name, "print(1)") for name in "abcde"]
    run_locally(jobs, 2, watch=seen.append, stop=never)
    assert codes == dict.fromkeys("abcde", 0)
    assert max(map(len, seen)) == 2
    begun = "".join(dict.fromkeys("".join("".join(sorted(names)) for names in seen)))
    assert begun == "abcde"


def test_one_at_a_time_is_one_after_the_other(tmp_path: Path) -> None:
    codes, seen = Codes(), list[frozenset[str]]()
    run_locally([codes.job(tmp_path, n, "print(1)") for n in "cab"], 1, watch=seen.append, stop=never)
    assert list(codes) == ["c", "a", "b"]
    assert max(map(len, seen)) == 1


def test_exit_codes_are_told_and_a_signal_counts_as_in_a_shell(tmp_path: Path) -> None:
    codes = Codes()
    programs = {
        "good": "",
        "bad": "raise SystemExit(3)",
        "odd": "import os; os._exit(255)",
        "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    }
    jobs = [codes.job(tmp_path, name, program) for name, program in programs.items()]
    run_locally(jobs, 4, watch=lambda names: None, stop=never)
    assert codes == {"good": 0, "bad": 3, "odd": 255, "killed": 137}


def test_what_a_job_prints_goes_behind_what_its_log_has(tmp_path: Path) -> None:
    codes = Codes()
    program = "import sys; print(sys.argv[1:], flush=True); print('oh', file=sys.stderr); print(sys.stdin.read())"
    job = codes.job(tmp_path, "a", program, "two words", "$HOME; 'x'")
    job.log.parent.mkdir()
    job.log.write_text("before\n")
    run_locally([job], 1, watch=lambda names: None, stop=never)
    assert job.log.read_text() == "before\n" + "['two words', \"$HOME; 'x'\"]\noh\n\n"


def test_jobs_that_are_asked_to_stop_are_waited_for_and_told_of_only_where_they_ended_otherwise(tmp_path: Path) -> None:
    codes = Codes()
    jobs = [
        codes.job(tmp_path, name, WAITS, str(tmp_path / name), str(code))
        for name, code in {"stopped": 143, "done": 0, "failed": 1, "late": 0}.items()
    ]
    began = [tmp_path / name for name in ("stopped", "done", "failed")]
    run_locally(jobs, 3, watch=lambda names: None, stop=lambda: all(path.exists() for path in began))
    assert codes == {"done": 0, "failed": 1}
    assert all((tmp_path / f"{path.name}.asked").exists() for path in began)
    assert not (tmp_path / "late").exists()
    assert not jobs[3].log.exists()


def test_nothing_begins_where_the_stop_came_first(tmp_path: Path) -> None:
    codes = Codes()
    job = codes.job(tmp_path, "a", "print(1)")
    run_locally([job], 1, watch=lambda names: None, stop=lambda: True)
    assert not codes
    assert not job.log.exists()


def interrupt(stop_first: bool, begun: Path, *, stopping: list[bool]) -> tuple[Callable[..., None], Callable[[], bool]]:
    """What a launcher watches and asks: an exception comes once a job has begun, or has been asked to stop, too."""

    def watch(names: frozenset[str]) -> None:
        if begun.exists() and (not stop_first or stopping):
            raise KeyboardInterrupt

    def stop() -> bool:
        if stop_first and begun.exists():
            stopping.append(True)
        return bool(stopping)

    return watch, stop


@pytest.mark.parametrize("stop_first", [False, True])
def test_an_exception_asks_the_jobs_to_stop_and_kills_those_that_were_asked(stop_first: bool, tmp_path: Path) -> None:
    begun, codes = tmp_path / "a", Codes()
    program = WAITS.replace("sys.exit", "time.sleep(1000) if sys.argv[2] == '143' else sys.exit")
    job = codes.job(tmp_path, "a", program, str(begun), "143" if stop_first else "1")
    watch, stop = interrupt(stop_first, begun, stopping=[])
    with pytest.raises(KeyboardInterrupt):
        run_locally([job], 1, watch=watch, stop=stop)
    assert has_ended(int(begun.read_text()))
    assert (tmp_path / "a.asked").exists() or stop_first
    assert not codes


LAUNCHER = """
import sys
from pathlib import Path
from s7rl.experiments import local_launcher
from s7rl.experiments.local_launcher import Job, run_locally
local_launcher.PROGRAM = (sys.executable, "-I", "-S", "-c")
program, folder = sys.argv[1], Path(sys.argv[2])
jobs = [
    Job(
        name=name,
        words=lambda name=name: [program, str(folder / name), "143"],
        log=folder / f"{name}.log",
        note_ending=print,
    )
    for name in "abc"
]
run_locally(jobs, 2, watch=lambda names: None, stop=lambda: False)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such signal")
def test_jobs_are_asked_to_stop_when_the_launcher_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, WAITS, str(tmp_path)], cwd=tmp_path) as launcher:
        for name in "ab":
            wait_for(tmp_path / name, launcher)
        launcher.send_signal(signal.SIGKILL)
    for name in "ab":
        wait_for(tmp_path / f"{name}.asked")
        while not has_ended(int((tmp_path / name).read_text())):
            time.sleep(0.01)
    assert not (tmp_path / "c").exists()


def test_a_job_is_beyond_the_reach_of_ctrl_c_in_the_terminal(tmp_path: Path) -> None:
    begun, codes, groups = tmp_path / "a", Codes(), list[int]()

    def stop() -> bool:
        if begun.exists() and not groups:
            groups.append(os.getpgid(int(begun.read_text())))
        return bool(groups)

    run_locally([codes.job(tmp_path, "a", WAITS, str(begun), "0")], 1, watch=lambda names: None, stop=stop)
    assert groups != [os.getpgid(0)]


def test_modules_of_the_working_directory_stand_in_for_none_of_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local_launcher, "PROGRAM", (sys.executable, "-c"))
    codes = Codes()
    run_locally([codes.job(tmp_path, "a", "import json")], 1, watch=lambda names: None, stop=never)
    assert codes == {"a": 0}
