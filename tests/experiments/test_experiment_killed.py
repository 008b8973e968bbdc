"""`s7rl experiment`, the real program, killed or stopped while it trains: the same command ends with the same scores.

Slow: whole grids are run, some of them twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from s7rl.experiments import local_launcher
from s7rl.experiments.cli import main
from s7rl.experiments.grid_folder import GridFolder, State
from tests.experiments.outcomes import outcome, results

GRID = """
agents = AGENTS
seeds = SEEDS
options = "--n-envs 8 --n-steps 16 --d-model 8 --steps STEPS --eval-episodes 5"
[tasks]
maze = "s7rl/TMazePassive-v0 --env-kwargs corridor_length=5"
"""
WORDS = ["experiment", "grid.toml", "--no-controls", "--out", "x"]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local_launcher, "POLL_SECONDS", 0.02)


def write_grid(agents: str, seeds: str, steps: int) -> None:
    Path("grid.toml").write_text(GRID.replace("AGENTS", agents).replace("SEEDS", seeds).replace("STEPS", str(steps)))


def states() -> list[State]:
    folder = GridFolder(Path("x"))
    return [folder.state(cell) for cell in folder.grid().cells()]


def start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """The real program, in a process of its own."""
    program = "import sys; from s7rl.experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL)


def wait_for_rollouts(process: subprocess.Popen[bytes], log: Path) -> None:
    while not log.exists() or log.read_bytes().count(b"\n") < 10:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_whose_experiment_was_killed_ends_as_the_same_words_behind_train() -> None:
    write_grid('["s7"]', "[1]", 6000)
    with start(WORDS) as process:
        wait_for_rollouts(process, Path("x/runs/maze/s7/seed1/progress.csv"))
        process.kill()
    assert states() == [State.STOPPED]
    assert main(WORDS) == 0
    words = "--n-envs 8 --n-steps 16 --d-model 8 --steps 6000 --eval-episodes 5 --env-kwargs corridor_length=5"
    assert main(["train", *words.split(), "--seed", "1", "--threads", "1", "--out", "y"]) == 0
    score = Path("y/evaluation.json").read_bytes()
    assert Path("x/runs/maze/s7/seed1/evaluation.json").read_bytes() == score
    (line,) = results("x")
    assert float(line["mean_return"]) == json.loads(score)["mean_return"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_experiment_ends_byte_for_byte_as_one_that_was_not(number: signal.Signals) -> None:
    write_grid('["s7", "gru"]', "2", 20_000)
    assert main([*WORDS[:-1], "straight"]) == 0
    # Once among the first runs, and once among the last ones.
    for cell in ("maze/s7/seed0", "maze/gru/seed1"):
        with start(WORDS) as process:
            wait_for_rollouts(process, Path("x/runs", cell, "progress.csv"))
            os.kill(process.pid, number)
            assert process.wait() == (-9 if number == signal.SIGKILL else 130)
        assert State.STOPPED in states()
    assert main(WORDS) == 0
    assert outcome("x") == outcome("straight")
    assert len(outcome("x")) == 5
