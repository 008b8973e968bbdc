"""`s7rl experiment` from one end to the other: it goes on wherever it was stopped, and ends with the same scores.

Most tests put a program of a few lines in the place of `s7rl train` and `s7rl resume`, which keeps a run folder's
promises without training.

Mutations that were seen to fail: the grid in the folder not replaced by the larger one; settings that are not compared;
a damaged score left where it is; words asked for outside of what catches their errors; results.csv written at the end
only; a cell run that one pattern of several fits not; a pattern that fits nothing let through; failures forgotten,
scores removed or cells counted that were not asked for; that it stops said whenever it is asked.
"""

from __future__ import annotations

import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from s7rl.experiments import cells_table, experiment, local_launcher
from s7rl.experiments.cli import main
from s7rl.experiments.experiment import asked_to_stop, planned
from s7rl.experiments.grid import read_grid
from s7rl.experiments.grid_folder import GridFolder, State, open_grid_folder
from s7rl.experiments.interruption import Interruption
from s7rl.experiments.run_folder import RunFolder, locked, write_json
from tests.experiments.outcomes import results

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
command, words = sys.argv[1], sys.argv[2:]
folder = Path(words[0] if command == "resume" else words[words.index("--out") + 1])
print("s7rl", *sys.argv[1:], flush=True)
if command == "train":
    folder.mkdir(parents=True)
    given = lambda name: words[len(words) - words[::-1].index(name)]
    config = {"agent": given("--agent"), "seed": int(given("--seed"))}
    (folder / "config.json").write_text(json.dumps(config))
config = json.loads((folder / "config.json").read_text())
trouble = Path("trouble", config["agent"])
signal.signal(signal.SIGTERM, lambda *arguments: sys.exit(143))
if trouble.exists():
    exec(trouble.read_text())
episodes = int(words[words.index("--eval-episodes") + 1])
(folder / "progress.csv").write_text("time/total_timesteps,time/time_elapsed,time/fps\\n2048,4,512\\n")
score = {"episodes": episodes, "mean_return": config["seed"] + 0.5, "standard_error": 0.0, "mean_length": 7.0}
(folder / ".evaluation.json.1").write_text(json.dumps({**score, "success_rate": None}))
(folder / ".evaluation.json.1").rename(folder / "evaluation.json")
"""
GRID = """
agents = ["s7", "gru"]
seeds = 2
options = "--n-envs 8 --n-steps 16 --d-model 8 --steps 2000 --eval-episodes 5"
[tasks]
maze = "s7rl/TMazePassive-v0 --env-kwargs corridor_length=5"
"""
CELLS = [f"maze/{agent}/seed{seed}" for seed in (0, 1) for agent in ("s7", "gru")]
WORDS = ["experiment", "grid.toml", "--no-controls", "--out", "x"]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local_launcher, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(cells_table, "REDRAW_SECONDS", 0.0)
    Path("grid.toml").write_text(GRID)
    return tmp_path


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_launcher, "PROGRAM", (sys.executable, "-I", "-S", "-c", STAND_IN))
    monkeypatch.setattr(experiment, "write_report", lambda folder: folder / "report.html")  # it has its own tests
    Path("trouble").mkdir()


def states(out: str = "x") -> dict[str, State]:
    folder = GridFolder(Path(out))
    return {str(cell): folder.state(cell) for cell in folder.grid().cells()}


def logs(out: str = "x") -> dict[str, list[str]]:
    """Lines of every log, by cell."""
    return {
        "/".join(path.with_suffix("").parts[-3:]): path.read_text().splitlines() for path in Path(out).rglob("*.log")
    }


def trouble(agent: str, program: str) -> Path:
    """Has a program run in every run of an agent."""
    path = Path("trouble", agent)
    path.write_text(program)
    return path


@pytest.mark.usefixtures("stand_in")
def test_a_grid_is_run_and_what_is_finished_is_not_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    trouble("gru", "Path(f'seen{config[\"seed\"]}').write_text(Path('x/results.csv').read_text())")
    assert main([*WORDS, "--processes", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "x: 4 runs, 4 to do, 1 at a time; scores of 2 seeds say little of the next: take 3 or more",
        "1/4  maze/s7/seed0: 0.50",
        "2/4  maze/gru/seed0: 0.50",
        "3/4  maze/s7/seed1: 1.50",
        "4/4  maze/gru/seed1: 1.50",
        "results: x/results.csv",
        "report: x/report.html",
    ]
    common = "--n-envs 8 --n-steps 16 --d-model 8 --steps 2000 --eval-episodes 5 --env-kwargs corridor_length=5"
    printed = logs()
    assert printed["maze/gru/seed1"] == [
        f"s7rl train s7rl/TMazePassive-v0 {common} --agent gru --seed 1 --threads 1 --out x/runs/maze/gru/seed1"
    ]
    seen = [Path(name).read_text().count("\n") for name in ("seen0", "seen1")]
    assert seen == [2, 4], "the scores so far can be read while others run"
    before, lines = Path("x/results.csv").read_bytes(), results("x")
    assert [f"{line['task']}/{line['agent']}/seed{line['seed']}" for line in lines] == CELLS
    assert [line["mean_return"] for line in lines] == ["0.5", "0.5", "1.5", "1.5"]
    Path("x/results.csv").unlink()
    assert main(WORDS) == 0
    assert capsys.readouterr().out.splitlines() == [
        "x: 4 runs, none to do",
        "results: x/results.csv",
        "report: x/report.html",
    ]
    assert logs() == printed
    assert Path("x/results.csv").read_bytes() == before


@pytest.mark.usefixtures("stand_in")
def test_a_run_that_failed_is_named_and_taken_up_again_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    path = trouble("gru", "print('s7rl train: the door is stuck'); sys.exit(1)")
    assert main([*WORDS, "--processes", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[-5:] == [
        "failed: maze/gru/seed0: the door is stuck (x/runs/maze/gru/seed0.log)",
        "failed: maze/gru/seed1: the door is stuck (x/runs/maze/gru/seed1.log)",
        "2 runs failed; the same command with --retry takes them up again",
        "results: x/results.csv",
        "report: x/report.html",
    ]
    assert Path("x/results.csv").read_text().count("\n") == 3
    path.unlink()
    assert main(WORDS) == 1
    assert "none to do" in capsys.readouterr().out
    assert main([*WORDS, "--retry"]) == 0
    assert "4 runs, 2 to do" in capsys.readouterr().out
    assert logs()["maze/gru/seed1"][-1] == "s7rl resume x/runs/maze/gru/seed1 --eval-episodes 5"
    assert set(states().values()) == {State.FINISHED}


@pytest.mark.usefixtures("stand_in")
def test_a_run_that_ends_well_but_without_a_score_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    trouble("s7", "os._exit(0)")
    assert main(WORDS) == 1
    assert "maze/s7/seed0: ended with exit code 0 and without a score" in capsys.readouterr().out


@pytest.mark.usefixtures("stand_in")
def test_a_run_that_a_signal_ended_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    trouble("s7", "os.kill(os.getpid(), signal.SIGKILL)")
    assert main(WORDS) == 1
    assert "maze/s7/seed0: ended by SIGKILL, perhaps for want of memory" in capsys.readouterr().out
    assert states()["maze/gru/seed1"] is State.FINISHED


def test_a_signal_is_said_once_however_often_a_launcher_asks(capsys: pytest.CaptureFixture[str]) -> None:
    interruption = Interruption()
    stop = asked_to_stop(interruption, Console())
    assert not stop()
    assert capsys.readouterr().out == ""
    interruption.handle(signal.SIGTERM, None)
    assert (stop(), stop()) == (True, True)
    assert capsys.readouterr().out.count("stopping after this update") == 1


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stopped_experiment_says_so_and_the_same_command_goes_on(
    number: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    # The second agent's first run sends the signal to the experiment, and waits until it is asked to stop.
    path = trouble("gru", f"os.kill(os.getppid(), signal.{number}); time.sleep(100)")
    assert main([*WORDS, "--processes", "1"]) == code
    output = capsys.readouterr().out.splitlines()
    assert output[2].startswith("stopping after this update")
    assert output[-1] == "stopped; to go on: the same command again. Scores so far: x/results.csv"
    assert list(states().values()) == [State.FINISHED, State.STOPPED, State.NEW, State.NEW]
    assert Path("x/results.csv").read_text().count("\n") == 2
    path.unlink()
    assert main(WORDS) == 0
    assert "4 runs, 3 to do" in capsys.readouterr().out
    assert [line.split()[1] for line in logs()["maze/gru/seed0"]] == ["train", "resume"]


@pytest.mark.usefixtures("stand_in")
def test_a_run_killed_before_it_had_written_anything_begins_again() -> None:
    left = Path("x/runs/maze/s7/seed0")
    trouble("gru", "sys.exit(1)")
    assert main(WORDS) == 1
    for path in left.iterdir():
        path.unlink()
    (left / ".config.json.123").touch()
    Path("x/runs.jsonl").unlink()
    assert main(WORDS) == 1
    assert states()["maze/s7/seed0"] is State.FINISHED
    assert not (left / ".config.json.123").exists()


@pytest.mark.usefixtures("stand_in")
def test_a_run_that_still_saves_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble("s7", "sys.exit(0)")
    assert main(WORDS) == 1
    capsys.readouterr()
    # As `s7rl resume` does.
    trouble("s7", "import fcntl; fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)")
    with RunFolder(Path("x/runs/maze/s7/seed1")).locked():
        monkeypatch.setattr(experiment, "SAVING_SECONDS", 0.1)
        assert main([*WORDS, "--retry"]) == 1
    output = capsys.readouterr().out
    assert "waiting for maze/s7/seed1, which still runs, to stop and save\n" in output
    assert "failed: maze/s7/seed1: BlockingIOError" in output
    assert states()["maze/s7/seed0"] is State.FINISHED
    assert main([*WORDS, "--retry"]) == 0


@pytest.mark.usefixtures("stand_in")
def test_of_a_larger_grid_only_the_new_cells_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS) == 0
    before = logs()
    Path("grid.toml").write_text(GRID.replace("seeds = 2", "seeds = 3").replace('"gru"', '"gru", "lstm"'))
    assert main(WORDS) == 0
    assert "x: 9 runs, 5 to do" in capsys.readouterr().out
    after = logs()
    assert {cell: after[cell] for cell in before} == before
    new = {"maze/s7/seed2", "maze/gru/seed2", "maze/lstm/seed0", "maze/lstm/seed1", "maze/lstm/seed2"}
    assert after.keys() - before.keys() == new
    assert set(states().values()) == {State.FINISHED}
    assert Path("x/results.csv").read_text().count("\n") == 10


@pytest.mark.usefixtures("stand_in")
def test_only_what_was_asked_for_is_run_and_the_rest_another_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--only", "*/s7/seed1", "*/gru/seed[1-9]"]) == 0
    assert "x: 4 runs, 2 to do" in capsys.readouterr().out
    assert {cell for cell, state in states().items() if state is State.FINISHED} == {"maze/s7/seed1", "maze/gru/seed1"}
    assert main(WORDS) == 0
    assert "x: 4 runs, 2 to do" in capsys.readouterr().out
    assert set(states().values()) == {State.FINISHED}


@pytest.mark.usefixtures("stand_in")
def test_what_was_not_asked_for_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    trouble("s7", "sys.exit(3)")
    assert main([*WORDS, "--only", "*/seed0"]) == 1
    damaged = Path("x/runs/maze/gru/seed0/evaluation.json")
    damaged.write_text("{")
    Path("x/runs.jsonl").unlink()
    capsys.readouterr()
    assert main([*WORDS, "--only", "*/gru/seed1", "--retry"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "x: 4 runs, 1 to do, 1 at a time; scores of 2 seeds say little of the next: take 3 or more",
        "1/1  maze/gru/seed1: 1.50",
    ]
    assert states()["maze/s7/seed0"] is State.FAILED
    assert damaged.read_text() == "{"


@pytest.mark.usefixtures("stand_in")
def test_what_is_finished_is_not_run_again_where_its_folder_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS) == 0
    before = Path("x/runs.jsonl").read_text().splitlines()
    shutil.rmtree("x/runs")
    Path("x/results.csv").unlink()
    Path("grid.toml").write_text(GRID.replace("seeds = 2", "seeds = 3"))
    capsys.readouterr()
    assert main(WORDS) == 0
    assert "x: 6 runs, 2 to do" in capsys.readouterr().out
    assert logs().keys() == {"maze/s7/seed2", "maze/gru/seed2"}
    assert Path("x/runs.jsonl").read_text().splitlines()[:4] == before
    assert [line["mean_return"] for line in results("x")] == ["0.5", "0.5", "1.5", "1.5", "2.5", "2.5"]


@pytest.mark.usefixtures("stand_in")
def test_a_damaged_line_is_one_line_and_nothing_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS) == 0
    with Path("x/runs.jsonl").open("a") as file:
        file.write("=======\n")
    capsys.readouterr()
    assert main(WORDS) == 2
    assert capsys.readouterr().err.startswith("s7rl experiment: x/runs.jsonl has a line 5 that cannot be read (JSON")


@pytest.mark.usefixtures("stand_in")
def test_a_preset_that_has_changed_is_refused_where_a_run_learned_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.toml").write_text("gamma = 0.9")
    Path("grid.toml").write_text(GRID.replace("--n-envs", "--preset p.toml --n-envs"))
    grid = read_grid(Path("grid.toml"))
    folder = open_grid_folder(Path("x"), grid, [])
    for cell, run in planned(grid).items():
        folder.run(cell).path.mkdir(parents=True)
        write_json(folder.run(cell).config, {"settings": asdict(run.settings)})
    Path("p.toml").write_text("gamma = 0.8")
    assert main(WORDS) == 2
    assert capsys.readouterr().err == (
        "s7rl experiment: x: maze/s7/seed0 was begun with gamma 0.9, now it would be 0.8 (a preset's file has changed, "
        "or a default): put it back, add what is new under another name, or give another folder with --out\n"
    )


@pytest.mark.usefixtures("stand_in")
def test_a_run_whose_score_is_damaged_is_evaluated_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS) == 0
    before, score = Path("x/results.csv").read_bytes(), Path("x/runs/maze/gru/seed1/evaluation.json")
    score.write_text(score.read_text()[:20])
    capsys.readouterr()
    assert main(WORDS) == 0
    assert capsys.readouterr().out.startswith("x: 4 runs, none to do"), "it is in runs.jsonl"
    Path("x/runs.jsonl").unlink()
    assert main(WORDS) == 0
    said, introduction, *_ = capsys.readouterr().out.splitlines()
    assert said == f"maze/gru/seed1: {score} cannot be read, it is evaluated again"
    assert introduction.startswith("x: 4 runs, 1 to do")
    assert [line.split()[1] for line in logs()["maze/gru/seed1"]] == ["train", "resume"]
    assert Path("x/results.csv").read_bytes() == before


@pytest.mark.usefixtures("stand_in")
def test_a_run_that_cannot_begin_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    open_grid_folder(Path("x"), read_grid(Path("grid.toml")), [])
    Path("x/runs/maze/gru/seed0").mkdir(parents=True)
    Path("x/runs/maze/gru/seed0/notes").touch()
    assert main(WORDS) == 1
    output = capsys.readouterr().out
    assert "/4  maze/gru/seed0: failed: [Errno 39] Directory not empty: " in output
    assert [cell for cell, state in states().items() if state is State.FAILED] == ["maze/gru/seed0"]


@pytest.mark.usefixtures("stand_in")
def test_another_grid_and_a_second_process_in_the_same_folder_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS) == 0
    before = Path("x/results.csv").read_bytes()
    Path("grid.toml").write_text(GRID.replace("seeds = 2", "seeds = [0, 2]"))
    capsys.readouterr()
    assert main(WORDS) == 2
    assert capsys.readouterr().err.startswith(
        "s7rl experiment: x holds an experiment with other seeds ([0, 1], now [0, 2]): "
    )
    assert Path("x/results.csv").read_bytes() == before
    Path("grid.toml").write_text(GRID)
    with locked(Path("x"), "x"):
        assert main(WORDS) == 2
    assert "x is in use by another process" in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in")
def test_what_a_run_overrides_does_not_stand_in_its_command() -> None:
    Path("grid.toml").write_text(GRID.replace("length=5", "length=5 --steps 3000"))
    assert main(WORDS) == 0
    ((train, *_),) = [lines for cell, lines in logs().items() if cell == "maze/gru/seed0"]
    assert "--steps 3000" in train
    assert train.count("--steps ") == 1


@pytest.mark.usefixtures("stand_in")
def test_controls_are_run_and_the_folder_is_named_after_the_grid() -> None:
    assert main(["experiment", "grid.toml", "--runs", "here"]) == 0
    agents = dict.fromkeys(cell.split("/")[1] for cell in states("here/grid"))
    assert list(agents) == ["s7", "gru", "none", "stack"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("grid.toml --processes 0", "--processes 0 must be at least 1, or left out"),
        ("grid.toml --processes -1", "--processes -1 must be at least 1, or left out"),
        ("grid.toml --only */s8/*", "--only */s8/* fits no run of the grid; one is called maze/s7/seed0"),
        ("none.toml", "none.toml cannot be read: No such file or directory"),
        ("basic", "there is no grid 'basic'; did you mean basics? (see `s7rl list experiments`, or give a file that"),
        ("tmaze-50", "'tmaze-50' is a single run and no grid; to start it: s7rl train s7rl/TMazePassive-v0"),
        ("missing.toml", "nook/s7: "),
    ],
)
def test_what_cannot_be_run_is_one_line_and_leaves_nothing(
    words: str, message: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "missing.toml").write_text(GRID + 'nook = "no_such_package:Nook-v0"')
    before = set(directory.iterdir())
    assert main(["experiment", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"s7rl experiment: {message}")
    assert error.count("\n") == 1
    assert set(directory.iterdir()) == before
