"""`s7rl experiment --launcher ray` on a Ray of its own: skipped where Ray is not installed, and it takes a minute.

Mutations that were seen to fail these tests: Ray's own handler of SIGTERM left in place.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s7rl.experiments.cli import main
from s7rl.experiments.grid_folder import GridFolder, State
from tests.experiments.outcomes import outcome

GRID = """
agents = ["s7", "gru"]
seeds = 2
options = "--n-envs 8 --n-steps 16 --d-model 8 --steps 6000 --eval-episodes 5"
[tasks]
maze = "s7rl/TMazePassive-v0 --env-kwargs corridor_length=5"
"""
WORDS = ["experiment", "grid.toml", "--no-controls", "--processes", "2"]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("grid.toml").write_text(GRID)
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found in /proc")
def test_a_grid_whose_worker_was_lost_has_the_scores_that_it_has_on_this_machine(directory: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 's7rl[ray]'")
    process = subprocess.Popen([sys.executable, "-m", "s7rl", *WORDS, "--out", "ray", "--launcher", "ray"])
    log = directory / "ray" / "runs" / "maze" / "s7" / "seed0" / "progress.csv"
    while not log.exists() or len(log.read_text().splitlines()) < 4:
        assert process.poll() is None, "it ended before a worker was killed"
        time.sleep(0.05)
    lost = worker_of(log.parent)
    os.kill(lost, signal.SIGKILL)
    assert process.wait() == 0
    assert len(json.loads((log.parent / "config.json").read_text())["resumptions"]) == 1
    assert main([*WORDS, "--out", "local"]) == 0
    assert outcome("ray") == outcome("local")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_what_runs_which_saves_and_nothing_else_begins(
    number: signal.Signals, code: int, directory: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 's7rl[ray]'")
    (directory / "grid.toml").write_text(GRID.replace("seeds = 2", "seeds = 1").replace("6000", "1_000_000"))
    words = [*WORDS, "--processes", "1", "--out", "ray", "--launcher", "ray"]
    run = directory / "ray" / "runs" / "maze" / "s7" / "seed0"
    with subprocess.Popen([sys.executable, "-m", "s7rl", *words], stdout=subprocess.PIPE, text=True) as process:
        while not (run / "progress.csv").exists() or len((run / "progress.csv").read_text().splitlines()) < 4:
            assert process.poll() is None, "it ended before it was asked to stop"
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate()
    assert process.returncode == code
    assert output.splitlines()[-1] == "stopped; to go on: the same command again. Scores so far: ray/results.csv"
    folder = GridFolder(directory / "ray")
    assert [folder.state(cell) for cell in folder.grid().cells()] == [State.STOPPED, State.NEW]
    assert "interrupted; the agent is in" in (run.parent / "seed0.log").read_text()


def worker_of(run: Path) -> int:
    """The process that Ray gave the run to: the parent of the one that trains."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"train" in words and any(
                word.endswith(b"/".join(p.encode() for p in run.parts[-3:])) for word in words
            ):
                return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
    raise AssertionError(f"nothing trains in {run}")


def test_without_ray_a_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("s7rl.experiments.experiment.find_spec", lambda name: None)
    assert main([*WORDS, "--launcher", "ray"]) == 2
    assert "--launcher ray needs ray, which is not installed: pip install 's7rl[ray]'" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_an_address_without_ray_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--address", "10.0.0.1:6379"]) == 2
    assert "--address 10.0.0.1:6379 is that of a Ray cluster: give it with --launcher ray" in capsys.readouterr().err
