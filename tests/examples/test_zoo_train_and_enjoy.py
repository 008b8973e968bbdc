"""The example of RL Baselines3 Zoo runs: skipped where that is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="rl_zoo3 is not installed: pip install 's7rl[zoo]'")


def test_it_trains_and_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Seen to fail it: enjoy without the log folder.
    from examples.zoo_train_and_enjoy import main

    sizes = ["n_envs:2", "n_steps:16", "batch_size:32", "learning_rate:0.001"]
    main(["-f", str(tmp_path), "-n", "32", "--eval-freq", "-1", "--seed", "0", "-params", *sizes])
    assert "Mean reward:" in capsys.readouterr().out
    assert (tmp_path / "ppo_s7" / "s7rl-CartPolePositionOnly-v0_1" / "s7rl-CartPolePositionOnly-v0.zip").exists()
