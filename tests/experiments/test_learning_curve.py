"""The picture is drawn from the log as SB3 writes it.

Mutation seen to fail: dollar signs read as formulas.
"""

from pathlib import Path

import numpy as np
import pytest

from s7rl.envs import find_task
from s7rl.experiments.learning_curve import RETURN, SUCCESS, draw_learning_curve, read_curve
from s7rl.experiments.run_folder import STEPS

LOG = f"""{RETURN},{STEPS},{SUCCESS},train/loss
,1000,,
-0.5,2000,0.25,0.1
1.0,3000,1.0,0.1
"""


@pytest.fixture
def progress(tmp_path: Path) -> Path:
    path = tmp_path / "progress.csv"
    path.write_text(LOG)
    return path


def test_missing_values_are_gaps(progress: Path) -> None:
    curve = read_curve(progress)
    np.testing.assert_array_equal(curve[STEPS], [1000, 2000, 3000])
    np.testing.assert_array_equal(curve[RETURN], [np.nan, -0.5, 1.0])
    np.testing.assert_array_equal(curve[SUCCESS], [np.nan, 0.25, 1.0])


@pytest.mark.parametrize("env_id", ["s7rl/TMazePassive-v0", "CartPole-v1"])
def test_a_png_is_written_with_and_without_known_scores(env_id: str, progress: Path) -> None:
    picture = progress.with_name("curve.png")
    assert draw_learning_curve(progress, picture, task=find_task(env_id), title="of $^$")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in progress.parent.iterdir()) == ["curve.png", "progress.csv"]


@pytest.mark.parametrize("log", [None, "", f"{STEPS},{RETURN}\n100,\n"])
def test_a_log_without_episodes_gives_no_picture(log: str | None, tmp_path: Path) -> None:
    progress, picture = tmp_path / "progress.csv", tmp_path / "curve.png"
    if log is not None:
        progress.write_text(log)
    assert not draw_learning_curve(progress, picture, task=find_task("s7rl/TMazePassive-v0"), title="title")
    assert not picture.exists()
