"""The comparison with RL Baselines3 Zoo's tuned agents runs: skipped where the zoo is not installed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="rl_zoo3 is not installed: pip install 's7rl[zoo]'")


def test_it_trains_both_and_leaves_a_table_and_a_picture(tmp_path: Path) -> None:
    # Seen to fail it: the zoo's agent left out; runs that are there trained anew.
    from examples.beside_rl_zoo import main

    words = [str(tmp_path), "--tasks", "PendulumPositionOnly", "--seeds", "3", "--steps", "2048"]
    main(words)
    with (tmp_path / "beside_rl_zoo.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["agent"] for line in lines if line["final_return"]] == ["s7", "ppo_lstm"]
    assert all(line["task"] == "PendulumPositionOnly" and line["seed"] == "3" for line in lines)
    assert all(-2_000 < float(line["training_return"]) < 0 for line in lines)
    assert (tmp_path / "beside_rl_zoo.png").stat().st_size > 10_000
    runs = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("*/*"))
    main(words)  # trains nothing again
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("*/*")) == runs
