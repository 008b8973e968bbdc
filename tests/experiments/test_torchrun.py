"""A run that torchrun starts as two processes, through the command line."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s7rl.agents import RecurrentPPO
from s7rl.experiments.cli import main

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TINY = ["--env-kwargs", "corridor_length=5", "--n-envs", "8", "--n-steps", "32", "--d-model", "16", "--d-state", "16"]


@pytest.mark.slow
def test_two_processes_write_one_run(tmp_path: Path) -> None:
    # Fails where the second process makes a run folder too, where it counts its own steps, and where it waits.
    options = ["--steps", "2000", "--eval-episodes", "10", "--runs", str(tmp_path)]
    command = [*TORCHRUN, "-m", "s7rl", "train", *TINY, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert done.stdout.count("in each of 2 processes") == 1
    with (folder / "progress.csv").open(newline="") as file:
        assert [int(line["time/total_timesteps"]) for line in csv.DictReader(file)] == list(range(256, 2049, 256))
    assert json.loads((folder / "config.json").read_text())["settings"]["n_envs"] == 8
    assert json.loads((folder / "evaluation.json").read_text())["episodes"] == 10
    assert RecurrentPPO.load(folder / "latest.zip").num_timesteps == 2048


@pytest.mark.slow  # waits for two processes to start, and to stop
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_of_two_processes_is_interrupted_by_a_signal_and_resumed_by_one(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    command = [*TORCHRUN, "-m", "s7rl", "train", *TINY, "--steps", "100000000", "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while not (folder / "progress.csv").exists() or len((folder / "progress.csv").read_text().splitlines()) < 3:
            time.sleep(0.1)
            assert process.poll() is None
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert f"interrupted; the agent is in {folder / 'latest.zip'}" in output
    steps = RecurrentPPO.load(folder / "latest.zip").num_timesteps
    assert steps >= 2 * 256

    # One process goes on with all environments and whole minibatches; fails where it keeps a rank's share of them.
    assert main(["resume", str(folder), "--steps", str(steps + 1), "--eval-episodes", "0"]) == 0
    alone = RecurrentPPO.load(folder / "latest.zip")
    assert (alone.n_envs, alone.batch_size, alone.num_timesteps) == (8, 256, steps + 256)
