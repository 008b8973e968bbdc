"""What is read from an experiment's folder, against folders written by hand.

Mutations that were seen to fail these tests: yardsticks of any of several environments; a missing log that ends the
report; a report of nothing; the machine of a resumption not noted; a run counted twice for a machine; lines read
before the lock; a run of an agent that is not known taken for one that can be read.
"""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from s7rl.envs import find_task
from s7rl.experiments.errors import UsageError
from s7rl.experiments.grid_folder import GridFolder
from s7rl.experiments.report.data import read_record
from s7rl.experiments.yardsticks import Yardsticks
from tests.experiments.report.by_hand import TMAZE, UNKNOWN, begin, cell_of, fail, finish, start


def test_runs_are_finished_or_named_with_what_became_of_them(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=5)
    finish(folder, "maze", "s7", [0.5, 0.75], success=0.5)
    fail(folder, "maze", "s7", 2, "the loss is nan: lower --learning-rate")
    start(folder, cell_of(folder, "maze", "s7", 3))
    folder.run(cell_of(folder, "maze", "s7", 1)).progress.unlink()
    record = read_record(folder.path)
    (run,) = record.runs
    assert (str(run.cell), run.score, run.success_rate, run.seconds, run.steps_per_second, run.resumptions) == (
        "maze/s7/seed0",
        0.5,
        0.5,
        6.0,
        50.0,
        0,
    )
    np.testing.assert_array_equal(run.returns, [-1.0, 0.0, 1.0])
    assert [(str(its.cell), its.state) for its in record.unfinished] == [
        ("maze/s7/seed1", "damaged"),
        ("maze/s7/seed2", "failed"),
        ("maze/s7/seed3", "stopped"),
        ("maze/s7/seed4", "new"),
    ]
    assert "progress.csv" in record.unfinished[0].error
    assert record.unfinished[1].error == "the loss is nan: lower --learning-rate"
    assert record.command == ("s7rl", "experiment", "by_hand.toml")
    assert set(record.machine) == {"processor", "cores", "memory_gb"}


def test_a_resumed_run_says_how_often_and_with_what(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=1)
    finish(folder, "maze", "s7", [0.5], log=[(100, 0.0, 10, 10), (200, 0.0, 5, 20)])
    run = folder.run(cell_of(folder, "maze", "s7", 0))
    run.note_resumption(run.settings(), ["s7rl", "resume"], 100)
    (read,) = read_record(folder.path).runs
    assert (read.resumptions, read.seconds) == (1, 15.0)
    assert len(read.machines) == 2
    assert list(read_record(folder.path).machines.values()) == [1]
    assert [versions["s7rl"] for versions in read.versions] == [read.versions[0]["s7rl"]] * 2


def test_a_run_of_an_agent_that_is_not_known_is_damaged_and_the_others_are_read(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=2)
    finish(folder, "maze", "s7", [0.5, 0.75])
    config = folder.run(cell_of(folder, "maze", "s7", 0)).config
    config.write_text(config.read_text().replace('"agent": "s7"', '"agent": "s8"'))
    record = read_record(folder.path)
    assert [run.score for run in record.runs] == [0.75]
    (damaged,) = record.unfinished
    assert damaged.state == "damaged"
    assert "names an agent 's8', which this s7rl does not have" in damaged.error


def test_a_line_that_came_before_the_folder_was_free_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=2)
    finish(folder, "maze", "s7", [0.5, 0.75])
    read_record(folder.path)
    lines = folder.lines.read_bytes().splitlines(keepends=True)
    shutil.rmtree(folder.path / "runs")
    folder.lines.write_bytes(lines[0])
    locked = GridFolder.locked

    def later(self: GridFolder) -> AbstractContextManager[None]:
        folder.lines.write_bytes(b"".join(lines))  # as by another process, which then lets go
        return locked(self)

    monkeypatch.setattr(GridFolder, "locked", later)
    assert [run.score for run in read_record(folder.path).runs] == [0.5, 0.75]
    assert folder.lines.read_bytes() == b"".join(lines)


def test_yardsticks_are_those_of_the_registry_where_all_runs_have_one_environment(tmp_path: Path) -> None:
    agents = {"s7": "--agent s7", "far": "--agent s7 --env-kwargs corridor_length=9"}
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE, "car": UNKNOWN}, agents=agents, seeds=1)
    finish(folder, "maze", "s7", [0.5])
    finish(folder, "car", "s7", [0.5])
    found = read_record(folder.path).yardsticks
    assert (found["maze"].memoryless, found["maze"].optimal) == (0.5, 1.0)
    assert found["maze"].random == pytest.approx(-1.7747, abs=1e-4)
    assert found["car"] == Yardsticks(random=find_task("s7rl/CartPolePositionOnly-v0").random_return)
    # An agent whose options make it another maze: what is to be had there is not the same.
    finish(folder, "maze", "far", [0.5])
    assert read_record(folder.path).yardsticks["maze"] == Yardsticks()


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist: give the folder of an experiment"):
        read_record(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is not the folder of an experiment: give one that `s7rl experiment` made"):
        read_record(tmp_path)
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE})
    fail(folder, "maze", "s7", 0, "no")
    with pytest.raises(UsageError, match="grid has no finished run yet: begin or go on with `s7rl experiment`"):
        read_record(folder.path)
