"""The commands of README's "Try it", run from top to bottom as a user would, each with less to do.

Mutations seen to fail: an option that `s7rl evaluate` has not; a pretrained agent that is not there; `make train` with
an option of another command.
"""

import shlex
import subprocess
from pathlib import Path

import pytest

from s7rl.experiments.cli import main
from s7rl.experiments.command_line import parse
from tests.project.test_guide import ROOT, code_of

LESS = {
    "train": "--n-envs 8 --n-steps 32 --d-model 16 --d-state 16 --steps 256 --eval-episodes 2",
    "evaluate": "--episodes 1 --max-steps 20",
    "watch": "--max-steps 3",
    "inspect": "--episodes 8",
}
"""What is added to a command, by its name."""


def test_they_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.strip() for line in code_of(ROOT / "README.md")[0] if line.startswith("    ")]
    printed = subprocess.run(["make", "-n", "train"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (made,) = (line for line in printed.replace("\\\n", " ").splitlines() if "s7rl train" in line)
    calls = [made, *(line for line in lines if line.startswith("s7rl "))]
    assert len(calls) >= 6
    monkeypatch.chdir(tmp_path)
    ran = []
    for call in calls:
        _, name, *words = shlex.split(call, comments=True)
        if name == "experiment":
            parse([name, *words])  # it takes minutes; what it came to is in experiments/results/basics
            continue
        # The folder is that of the run before, of which README leaves out the name.
        runs = sorted(tmp_path.glob("runs/*/"), key=lambda run: run.stat().st_mtime)
        words = [str(runs[-1]) if word == "runs/..." else word for word in words]
        assert main([name, *words, *shlex.split(LESS[name])]) == 0, call
        ran.append(name)
    assert ran[:2] == ["train", "train"]
    assert {*ran} == {*LESS}
