"""The examples of S7 in Stable-Baselines3's and sb3-contrib's algorithms run as they stand, with fewer steps.

Mutations tried, each of which fails a test here: "MlpPolicy" in place of "MultiInputPolicy"; the wrapper left out; the
policy's name in place of its class.
"""

from __future__ import annotations

import csv
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def main_of(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / name))["main"]


def test_s7_takes_the_place_of_the_lstm_in_sb3_contribs_recurrent_ppo() -> None:
    assert -5.0 < main_of("sb3_contrib_recurrent_ppo.py")(total_timesteps=32 * 128) <= 1.0


def test_sac_gets_a_memory() -> None:
    assert -2000 < main_of("sb3_any_algorithm.py")(total_timesteps=103) < 0


def test_the_speed_of_both_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    main_of("sb3_contrib_speed.py")(rounds=1, n_steps=8, n_envs=4, corridor_length=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("steps/s" in line for line in lines)


def test_corridors_that_the_file_lacks_are_learned_by_sb3_contrib(tmp_path: Path) -> None:
    # Seen to fail it: every corridor trained anew.
    table, main = tmp_path / "table.csv", main_of("tmaze_of_sb3_contrib.py")
    for _ in range(2):
        main([str(table), *["--seeds", "3", "--corridors", "50", "--steps", "64"]])
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    kinds = [" ".join(line[name] for name in ("corridor_length", "budget", "settings", "steps")) for line in lines]
    assert kinds == ["50 64 s7rl 8192"]
    assert all(line["seed"] == "3" and 0 <= float(line["success"]) <= 1 for line in lines)


def test_sb3_contribs_training_ends_with_the_rollout_that_returns_enough() -> None:
    """Fails if it is not asked, or in the middle of a rollout."""
    module = runpy.run_path(str(EXAMPLES / "tmaze_of_sb3_contrib.py"))
    settings = replace(module["settings_for"](50, 3, 10**6), stop_return=-100.0)
    _, learned, steps, _ = module["train"](settings, defaults=False)
    # Of 32 * 256 steps in episodes of 52 to 102: the hundredth ends in the second.
    assert (learned, steps) == (True, 2 * 32 * 256)
