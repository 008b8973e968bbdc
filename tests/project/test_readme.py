"""README's Python blocks run as they stand, with fewer steps; its grid is one."""

import re
from pathlib import Path

import pytest

from s7rl.experiments.experiment import planned, with_controls
from s7rl.experiments.grid import read_grid

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_readme_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(re.sub(r"learn\(400_000, progress_bar=True\)", "learn(1)", block), str(README), "exec"), {})


def test_the_grid_of_readme_can_be_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (tmp_path / "grid.toml").write_text(block)
    runs = planned(with_controls(read_grid(tmp_path / "grid.toml")))
    assert len(runs) == 2 * 4 * 3
    assert {run.request.eval_episodes for run in runs.values()} == {50}
