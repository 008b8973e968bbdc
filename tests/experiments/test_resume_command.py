"""`s7rl resume`: a run that was killed or interrupted ends as one that was not.

Mutations that were seen to fail: lines beyond the checkpoint kept in progress.csv; the best return not taken from it;
the interruption answered in the middle of a rollout; only latest.zip written; the lock left out; a negative number of
steps left; a run begun anew whose checkpoint is gone; an evaluation kept while the agent trains on; --debug-anomalies
or compile_policy not handed on.
"""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from stable_baselines3.common.logger import Logger

from s7rl.agents import RecurrentPPO
from s7rl.experiments.cli import main
from s7rl.experiments.learning_curve import BEST_RETURN
from s7rl.experiments.run_folder import STEPS
from s7rl.experiments.run_log import ProgressCSV

TINY = ["--env-kwargs", "corridor_length=5", "--n-envs", "8", "--n-steps", "16", "--d-model", "8", "--d-state", "8"]
ROLLOUT, ROLLOUTS = 8 * 16, 12
TOTAL = ROLLOUT * ROLLOUTS
MORE = TOTAL + 2 * ROLLOUT + ROLLOUT // 2
SAVED, STOPPED = 3 * ROLLOUT, 6 * ROLLOUT
WORDS = ["train", *TINY, "--steps", str(TOTAL), "--seed", "1", "--eval-episodes", "3"]
# The process signals itself, and saves itself before, by its number of steps: no clock decides what is tested.
PROGRAM = f"""
import os, sys
from s7rl.experiments import progress, run_log
from s7rl.experiments.cli import main

class Stopping(run_log.ProgressCSV):
    def write(self, values, excluded, step=0):
        super().write(values, excluded, step)
        progress.CHECKPOINT_SECONDS = 0.0 if step == {SAVED} else float("inf")
        if step == {STOPPED}:
            os.kill(os.getpid(), int(sys.argv[1]))

run_log.ProgressCSV = Stopping
sys.exit(main(sys.argv[2:]))
"""


def log(run: Path) -> list[dict[str, Any]]:
    """Every line of the log but for what depends on the clock."""
    with (run / "progress.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    return [
        {key: value for key, value in line.items() if key not in ("time/fps", "time/time_elapsed")} for line in lines
    ]


def weights(run: Path, name: str) -> bytes:
    return ZipFile(run / name).read("policy.safetensors")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "straight"
    assert main([*WORDS, "--out", str(folder)]) == 0
    return folder


def start_and_signal(out: Path, number: signal.Signals) -> int:
    """A run that is sent a signal once half of its rollouts are done; returns the exit code."""
    words = [sys.executable, "-c", PROGRAM, str(int(number)), *WORDS, "--out", str(out)]
    return subprocess.run(words, check=False).returncode


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_run_that_is_resumed_ends_as_one_that_was_not(
    number: signal.Signals, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    code = start_and_signal(run, number)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    done = json.loads(ZipFile(run / "latest.zip").read("config.json"))["counters"]["num_timesteps"]
    # A run that is asked to stop stops after the update.
    assert done == (SAVED if number == signal.SIGKILL else STOPPED)
    assert log(run)[-1][STEPS] == str(STOPPED)
    (run / ".latest.zip.123").write_bytes(b"half of")
    assert main(["resume", str(run), "--eval-episodes", "3"]) == 0
    assert f"{TOTAL - done:,} steps in" in capsys.readouterr().out
    assert log(run) == log(straight)
    for name in ("latest.zip", "best.zip"):
        assert weights(run, name) == weights(straight, name)
    assert (run / "evaluation.json").read_bytes() == (straight / "evaluation.json").read_bytes()
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    config = json.loads((run / "config.json").read_text())
    assert [note["steps"] for note in config["resumptions"]] == [done]


def copy(run: Path, target: Path, *names: str) -> Path:
    target.mkdir()
    for name in names:
        (target / name).write_bytes((run / name).read_bytes())
    return target


def test_a_finished_run_says_so_and_with_more_steps_goes_on(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["config.json", "latest.zip", "latest.resume", "best.zip", "progress.csv", "evaluation.json"]
    run = copy(straight, tmp_path / "run", *names)
    assert main(["resume", str(run)]) == 0
    assert capsys.readouterr().out == f"{run} is finished: {TOTAL:,} steps are done. Give --steps to train on\n"
    assert (run / "latest.zip").read_bytes() == (straight / "latest.zip").read_bytes()
    assert main(["resume", str(run), "--steps", str(TOTAL)]) == 2
    line = f"s7rl resume: --steps {TOTAL} must be above the {TOTAL:,} that RUN {run} has done\n"
    assert capsys.readouterr().err == line
    assert main(["resume", str(run), "--steps", str(MORE), "--eval-episodes", "0"]) == 0
    assert f"the step size now falls to 0 at {MORE:,} steps, not at {TOTAL:,}" in capsys.readouterr().out
    assert log(run)[:ROLLOUTS] == log(straight)
    assert [line[STEPS] for line in log(run)[ROLLOUTS:]] == [str(TOTAL + n * ROLLOUT) for n in (1, 2, 3)]
    assert json.loads((run / "config.json").read_text())["settings"]["steps"] == MORE
    # At 0 again one rollout after the last update, as in a run of as many steps.
    last = float(log(run)[-1]["train/learning_rate"])
    assert last == pytest.approx(1e-3 * (1 - (TOTAL + 2 * ROLLOUT) / (TOTAL + 4 * ROLLOUT)))


def test_a_run_that_lacks_only_its_evaluation_is_evaluated(straight: Path, tmp_path: Path) -> None:
    run = copy(straight, tmp_path / "run", "config.json", "latest.zip", "latest.resume", "progress.csv")
    assert main(["resume", str(run), "--eval-episodes", "3"]) == 0
    assert (run / "evaluation.json").read_bytes() == (straight / "evaluation.json").read_bytes()
    assert weights(run, "latest.zip") == weights(straight, "latest.zip")


def test_a_run_whose_last_rollout_went_beyond_its_steps_is_evaluated(straight: Path, tmp_path: Path) -> None:
    # At most one rollout beyond: 80 steps fewer are as many rollouts.
    run = copy(straight, tmp_path / "run", "config.json", "latest.zip", "latest.resume", "progress.csv")
    config = json.loads((run / "config.json").read_text())
    config["settings"]["steps"] = TOTAL - 80
    (run / "config.json").write_text(json.dumps(config))
    assert main(["resume", str(run), "--eval-episodes", "3"]) == 0
    assert (run / "evaluation.json").read_bytes() == (straight / "evaluation.json").read_bytes()
    assert weights(run, "latest.zip") == weights(straight, "latest.zip")


def test_the_score_of_an_agent_that_trains_on_is_taken_away_and_made_anew(straight: Path, tmp_path: Path) -> None:
    names = ["config.json", "latest.zip", "latest.resume", "best.zip", "progress.csv", "evaluation.json"]
    run = copy(straight, tmp_path / "run", *names)
    assert main(["resume", str(run), "--steps", str(MORE), "--eval-episodes", "0"]) == 0
    assert not (run / "evaluation.json").exists()
    assert main(["resume", str(run), "--eval-episodes", "3"]) == 0
    assert json.loads((run / "evaluation.json").read_text())["episodes"] == 3


@pytest.mark.parametrize("left", ["progress.csv", "best.zip"])
def test_a_run_that_has_trained_and_lost_its_checkpoint_never_begins_anew(
    left: str, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy(straight, tmp_path / "run", "config.json", left)
    assert main(["resume", str(run)]) == 2
    message = f"RUN {run} has trained, but latest.zip and latest.resume are missing: "
    assert message in capsys.readouterr().err
    assert {path.name for path in run.iterdir()} == {"config.json", left}
    assert (run / left).read_bytes() == (straight / left).read_bytes()


@pytest.mark.parametrize("names", [["config.json"], ["config.json", "latest.zip", "latest.resume", "progress.csv"]])
def test_a_resumed_run_can_look_for_the_layer_of_a_nan(
    names: list[str], straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    learn = RecurrentPPO.learn

    def note(self: RecurrentPPO, total_timesteps: int, **kwargs: Any) -> RecurrentPPO:
        looked.append(self.debug_anomalies)
        return learn(self, 0, **kwargs)

    monkeypatch.setattr(RecurrentPPO, "learn", note)
    run = copy(straight, tmp_path / "run", *names)
    for flags in ([], ["--debug-anomalies"]):
        assert main(["resume", str(run), "--steps", str(MORE), "--eval-episodes", "0", *flags]) == 0
    assert looked == [False, True]


def test_a_run_that_was_compiled_is_compiled_when_it_is_resumed(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def note(function: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr("torch.compile", note)
    run = copy(straight, tmp_path / "run", "config.json", "latest.zip", "latest.resume", "progress.csv")
    config = json.loads((run / "config.json").read_text())
    config["settings"]["ppo_kwargs"] = {"compile_policy": True}
    (run / "config.json").write_text(json.dumps(config))
    assert main(["resume", str(run), "--steps", str(MORE), "--eval-episodes", "0"]) == 0
    assert len(compiled) == 1


def test_a_run_killed_before_its_first_checkpoint_begins(straight: Path, tmp_path: Path) -> None:
    run = copy(straight, tmp_path / "run", "config.json")
    assert main(["resume", str(run), "--eval-episodes", "0"]) == 0
    assert log(run) == log(straight)


def test_a_run_without_its_resume_file_goes_on_with_new_episodes(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy(straight, tmp_path / "run", "config.json", "latest.zip", "progress.csv")
    assert main(["resume", str(run), "--steps", str(MORE), "--eval-episodes", "0"]) == 0
    assert f"{run} has no latest.resume: its episodes start anew" in capsys.readouterr().out
    assert len(log(run)) == ROLLOUTS + 3


def test_a_run_that_cannot_be_resumed_is_one_line(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy(straight, tmp_path / "run", "config.json")
    (run / "latest.resume").write_bytes((straight / "latest.resume").read_bytes()[:999])
    assert main(["resume", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"s7rl resume: {run / 'latest.resume'} cannot be resumed by this s7rl: ")
    assert error.count("\n") == 1
    assert main(["resume", str(tmp_path / "none")]) == 2
    assert "RUN" in capsys.readouterr().err


def test_two_processes_never_train_in_one_folder(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy(straight, tmp_path / "run", "config.json", "latest.zip", "latest.resume")
    handle = os.open(run, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert main(["resume", str(run)]) == 2
    assert capsys.readouterr().err == f"s7rl resume: RUN {run} is in use by another process: wait, or stop that one\n"
    os.close(handle)


def test_a_log_is_cut_at_the_checkpoint_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    path.write_text(f"{STEPS},{BEST_RETURN}\n10,\n20,0.5\n30,0.75\n40")
    assert ProgressCSV(path, 30).best_return == 0.75
    log = ProgressCSV(path, 20)
    assert log.best_return == 0.5
    assert path.read_text() == f"{STEPS},{BEST_RETURN}\n10,\n20,0.5\n"
    logger = Logger(None, [log])
    logger.record(STEPS, 30)
    logger.record("new", 'a "word", quoted')
    logger.dump(30)
    logger.record(STEPS, 40)
    logger.dump(40)
    assert path.read_text() == f'{STEPS},{BEST_RETURN},new\n10,,\n20,0.5,\n30,,"a ""word"", quoted"\n40,,\n'


def test_a_new_log_has_no_best_return(tmp_path: Path) -> None:
    assert ProgressCSV(tmp_path / "progress.csv", 0).best_return == -float("inf")


def test_the_best_agent_so_far_is_replaced_by_a_better_one_only(straight: Path, tmp_path: Path) -> None:
    run = copy(straight, tmp_path / "run", "config.json", "latest.zip", "latest.resume", "best.zip", "progress.csv")
    columns, *_, last = (run / "progress.csv").read_text().splitlines()
    values = dict(zip(columns.split(","), last.split(","), strict=True)) | {BEST_RETURN: "5.0"}
    (run / "progress.csv").write_text(f"{columns}\n{','.join(values.values())}\n")
    assert main(["resume", str(run), "--steps", str(MORE), "--eval-episodes", "0"]) == 0
    assert (run / "best.zip").read_bytes() == (straight / "best.zip").read_bytes()
    assert [line[BEST_RETURN] for line in log(run)] == ["5.0"] * 4
