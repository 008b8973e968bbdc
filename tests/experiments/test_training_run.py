"""A whole run through the command line: train, evaluate, and interrupt, on a corridor of five.

Mutations of `s7rl evaluate` seen to fail: batches one seed apart; as many environments for several seeds as for one;
--max-steps not handed on; no limit where the environment has none.  Of --stop-return: a mean over fewer than a hundred
episodes; the wrong way round; an end within a rollout, or after the update that follows; a run that is resumed trains
on; one that is given more steps stops at once.
"""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from s7rl.agents import RecurrentPPO, load_normalization, make_vec
from s7rl.experiments.building import MOST_STEPS, step_limit
from s7rl.experiments.cli import main
from s7rl.experiments.interruption import STOPPING
from s7rl.experiments.run_folder import open_run_folder

Seen = list[tuple[NDArray[Any], bool]]
TINY = ["--env-kwargs", "corridor_length=5", "--n-envs", "8", "--n-steps", "32", "--d-model", "16", "--d-state", "16"]
HERE = ["--workers", "loop", "--worker-timeout", "0"]
"""Environments of others are made and stepped in this process, and no worker is started to try them."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What agents were asked to predict, in order: copies of the observations, and whether deterministically."""
    calls: Seen = []
    predict = RecurrentPPO.predict

    def noting(self: RecurrentPPO, observation: Any, state: Any, episode_start: Any, deterministic: bool) -> Any:
        calls.append((np.array(observation), deterministic))
        return predict(self, observation, state, episode_start, deterministic)

    monkeypatch.setattr(RecurrentPPO, "predict", noting)
    return calls


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 3,000 steps, rounded up to whole rollouts: 12 * 256 = 3,072."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", *TINY, "--steps", "3000", "--seed", "1", "--out", str(folder)]) == 0
    return folder


def test_the_run_folder_has_everything(run: Path) -> None:
    names = sorted(path.name for path in run.iterdir())
    events = [name for name in names if name.startswith("events.out.tfevents")]
    assert len(events) == 1
    expected = ["best.zip", "config.json", "evaluation.json", "latest.resume", "latest.zip", "learning_curve.png"]
    assert sorted({*names} - {*events}) == [*expected, "progress.csv"]


def test_the_log_has_the_steps_return_and_success(run: Path) -> None:
    with (run / "progress.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["time/total_timesteps"]) for line in lines] == list(range(256, 3073, 256))
    # 12 steps at most, of which each costs 1/5 at most.
    assert all(-2.4 <= float(line["rollout/ep_rew_mean"]) <= 1 for line in lines)
    assert all(0 <= float(line["rollout/success_rate"]) <= 1 for line in lines)


def test_the_score_is_of_a_hundred_episodes_on_fresh_seeds(run: Path) -> None:
    score = json.loads((run / "evaluation.json").read_text())
    assert (score["episodes"], score["seed"], score["checkpoint"]) == (100, 10_000, "latest")
    assert len(score["lengths"]) == 100
    assert all(6 <= length <= 12 for length in score["lengths"])
    assert score["mean_return"] == pytest.approx(np.mean(score["returns"]))


def test_evaluating_again_gives_the_same_score_and_writes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert main(["evaluate", str(run)]) == 0
    score = json.loads((run / "evaluation.json").read_text())
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("│ return"))
    assert row.split("│")[2].strip() == f"{score['mean_return']:.3f} ± {score['standard_error']:.3f}"
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_an_evaluation_is_written_where_asked_and_only_once(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seen: Seen
) -> None:
    words = ["evaluate", str(run), "--episodes", "7", "--seed", "5", "--checkpoint", "best"]
    words += ["--actions", "sampled"]
    out = tmp_path / "score.json"
    assert main([*words, "--out", str(out)]) == 0
    score = json.loads(out.read_text())
    assert (score["episodes"], score["seed"], score["checkpoint"], score["sample"]) == (7, 5, "best", True)
    assert {deterministic for _, deterministic in seen} == {False}
    capsys.readouterr()
    assert main([*words, "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"s7rl evaluate: --out {out} exists already")


def test_both_ways_of_choosing_actions_play_the_same_episodes_on_every_seed(run: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(run), "--episodes", "3", "--seed", "5"]
    scores = []
    for name, options in {
        "both": ["--seeds", "2"],
        "again": ["--seeds", "2", "--actions", "sampled"],
        "second": ["--actions", "deterministic", "--seed", "8"],
    }.items():
        assert main([*words, *options, "--out", str(tmp_path / name)]) == 0
        scores.append(json.loads((tmp_path / name).read_text()))
    both, sampled, second = scores
    # Three environments a batch: the seeds 5 to 7, then 8 to 10.
    assert (both["episodes"], both["seeds"], both["sample"], sampled["sample"]) == (6, [5, 8], False, True)
    assert both["returns"][3:] == second["returns"]
    assert both["mean_return_by_seed"][1] == second["mean_return"]
    # Drawn actions are reproducible, and others than the most probable ones.
    assert both["sampled"] == {key: sampled[key] for key in both["sampled"]}
    assert both["sampled"]["returns"] != both["returns"]


def test_every_file_of_scores_has_one_shape_and_says_how_many_episodes_were_cut_short(
    run: Path, tmp_path: Path
) -> None:
    words = ["evaluate", str(run), "--episodes", "3", "--actions", "deterministic"]
    # No episode of this maze has fewer than 6 steps.
    assert main([*words, "--max-steps", "4", "--out", str(tmp_path / "cut")]) == 0
    whole, cut = (json.loads(path.read_text()) for path in (run / "evaluation.json", tmp_path / "cut"))
    assert list(whole) == list(cut)
    assert (whole["seeds"], whole["cut_short"]) == ([10_000], 0)
    assert (cut["lengths"], cut["cut_short"]) == ([4, 4, 4], 3)


@pytest.mark.parametrize(
    ("env_id", "kwargs", "asked", "limit"),
    [
        ("s7rl/TMazePassive-v0", {}, None, None),
        ("s7rl/TMazePassive-v0", {}, 7, 7),
        ("CartPole-v1", {}, None, None),
        ("CartPole-v1", {}, 499, 499),
        ("CartPole-v1", {}, 501, None),
        ("CartPole-v1", {"max_episode_steps": 9}, 10, None),
        ("CartPole-v1", {"max_episode_steps": -1}, None, MOST_STEPS),
        ("Endless-v0", {}, None, MOST_STEPS),
        ("Endless-v0", {}, 5, 5),
    ],
)
def test_episodes_that_might_not_end_are_cut_short(
    env_id: str, kwargs: dict[str, Any], asked: int | None, limit: int | None, run: Path
) -> None:
    if "Endless-v0" not in gym.registry:
        gym.register("Endless-v0", "nowhere:Endless")
    settings = replace(open_run_folder(str(run)).settings(), env_id=env_id, env_kwargs=kwargs)
    assert step_limit(settings, asked) == limit


def test_what_has_no_engine_is_evaluated_seed_by_seed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", "CartPole-v1", *TINY[2:], *HERE, "--steps", "256", "--eval-episodes", "0"]
    assert main([*words, "--out", str(out)]) == 0
    words = ["evaluate", str(out), "--episodes", "2", "--actions", "deterministic"]
    scores = []
    for name, options in {"both": ["--seeds", "2"], "second": ["--seed", "10002"]}.items():
        assert main([*words, *options, "--out", str(tmp_path / name)]) == 0
        scores.append(json.loads((tmp_path / name).read_text()))
    both, second = scores
    assert both["seeds"] == [10_000, 10_002]
    assert both["returns"][2:] == second["returns"]


def test_a_checkpoint_that_is_damaged_or_missing_is_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_bytes((run / "config.json").read_bytes())
    assert main(["evaluate", str(copy), "--checkpoint", "best"]) == 2
    assert capsys.readouterr().err.endswith("has no best.zip: too few episodes ended; try --checkpoint latest\n")
    (copy / "latest.zip").write_bytes((run / "latest.zip").read_bytes()[:1000])
    assert main(["evaluate", str(copy)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("s7rl evaluate: ")
    assert error.count("\n") == 1


def test_the_same_seed_gives_the_same_run(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert main(["train", *TINY, "--steps", "3000", "--seed", "1", "--eval-episodes", "0", "--out", str(again)]) == 0
    first, second = (ZipFile(folder / "latest.zip").read("policy.safetensors") for folder in (run, again))
    assert first == second
    other = tmp_path / "other"
    assert main(["train", *TINY, "--steps", "3000", "--seed", "2", "--eval-episodes", "0", "--out", str(other)]) == 0
    assert ZipFile(other / "latest.zip").read("policy.safetensors") != first
    assert not (other / "evaluation.json").exists()


def test_a_run_ends_once_its_episodes_return_enough_and_is_then_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "enough"
    words = ["train", *TINY, "--steps", "30000", "--eval-episodes", "5", "--out", str(folder)]
    assert main([*words, "--stop-return", "-2.4"]) == 0  # which every episode of a corridor of five returns
    # Of 8 * 32 steps a rollout in episodes of 6 to 12: the hundredth ends in the third to the sixth.
    done = open_run_folder(str(folder)).steps_done
    assert done in [rollouts * 256 for rollouts in range(3, 7)]
    with (folder / "progress.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["time/total_timesteps"]) == done
    assert float(last["rollout/ep_rew_mean"]) >= -2.4
    assert float(last["rollout/best_ep_rew_mean"]) >= float(last["rollout/ep_rew_mean"]) - 1e-6  # in float32
    assert (folder / "best.zip").is_file()
    updates = float(last["train/n_updates"])  # logged with the rollout that follows them
    assert RecurrentPPO.load(folder / "latest.zip")._n_updates == updates, "it learned on after it had learned enough"
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 0
    said = (
        f"is finished: {done:,} steps are done, and it has reached its --stop-return of -2.4. Give --steps to train on"
    )
    assert said in capsys.readouterr().out
    (folder / "evaluation.json").unlink()
    assert main(["resume", str(folder), "--eval-episodes", "7"]) == 0
    assert json.loads((folder / "evaluation.json").read_text())["episodes"] == 7
    assert open_run_folder(str(folder)).steps_done == done
    assert main(["resume", str(folder), "--eval-episodes", "0", "--steps", str(done + 256)]) == 0
    assert open_run_folder(str(folder)).steps_done == done + 256


def test_a_run_whose_episodes_never_return_enough_makes_all_steps(tmp_path: Path) -> None:
    words = ["train", *TINY, "--steps", "2048", "--eval-episodes", "0", "--stop-return", "1.01"]
    assert main([*words, "--out", str(tmp_path / "never")]) == 0
    assert open_run_folder(str(tmp_path / "never")).steps_done == 2048


def test_normalised_observations_are_normalised_in_the_evaluation_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seen: Seen
) -> None:
    out = tmp_path / "cartpole"
    words = ["train", "s7rl/CartPolePositionOnly-v0", "--steps", "2000", "--d-model", "16", "--eval-episodes", "5"]
    assert main([*words, "--out", str(out)]) == 0
    assert "discount 0.99, observations and rewards scaled\n" in capsys.readouterr().out
    score = json.loads((out / "evaluation.json").read_text())
    # Rewards are not normalised: every step of CartPole counts 1.
    assert score["returns"] == score["lengths"]
    plain = make_vec("s7rl/CartPolePositionOnly-v0", 5, 10_000)
    expected = load_normalization(out / "latest.zip", plain).reset()
    observations, deterministic = seen[0]
    np.testing.assert_array_equal(observations, np.asarray(expected))
    assert deterministic
    # A cart starts within 0.05 of the middle, so a raw observation is far smaller than a scaled one.
    assert np.abs(observations).max() > 0.1


def test_it_is_said_where_the_mean_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Seen to fail it: said of neither, or of both kinds of scaling.
    words = ["train", "s7rl/Needle-v0", "--env-kwargs", "length=5", "--steps", "32", "--eval-episodes", "0"]
    words += ["--n-envs", "2", "--n-steps", "16", "--d-model", "8"]
    assert main([*words, "--out", str(tmp_path / "scaled")]) == 0
    assert ", observations (mean kept) and rewards scaled\n" in capsys.readouterr().out
    assert main([*words, "--normalize-observations", "True", "--out", str(tmp_path / "normalised")]) == 0
    assert ", observations and rewards scaled\n" in capsys.readouterr().out


def test_an_impatient_interruption_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: RecurrentPPO, *arguments: Any, **options: Any) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        raise KeyboardInterrupt

    monkeypatch.setattr(RecurrentPPO, "collect_rollouts", interrupt)
    assert main(["train", *TINY, "--out", str(tmp_path / "run")]) == 130
    assert RecurrentPPO.load(tmp_path / "run" / "latest.zip").num_timesteps == 0
    assert "interrupted; the agent is in" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_interrupted_run_leaves_a_loadable_agent_and_says_where(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", *TINY, "--steps", "100000000", "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "s7rl", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        # The log's first line comes after the first rollout: training is under way.
        while not ((out / "progress.csv").is_file() and (out / "progress.csv").stat().st_size):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.kill(process.pid, number)
        output, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors == f"{STOPPING}\n"
    assert f"interrupted; the agent is in {out / 'latest.zip'}" in output
    assert re.search(rf"s7rl resume {re.escape(str(out))}$", output, flags=re.MULTILINE)
    assert re.search(rf"s7rl evaluate {re.escape(str(out))}$", output, flags=re.MULTILINE)
    folder = open_run_folder(str(out))
    model = RecurrentPPO.load(folder.latest)
    assert model.num_timesteps > 0
    assert not folder.evaluation.exists()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_symbols_are_left_as_they_are_where_rewards_are_scaled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*TINY[2:], "--env-kwargs", "num_decks=1", "k=4", "--steps", "256"]
    assert main(["train", "s7rl/RepeatPrevious-v0", *small, "--out", str(tmp_path / "run")]) == 0
    # Seen to fail it: what the settings wish for.
    assert "discount 0.99, rewards scaled\n" in capsys.readouterr().out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["normalize_rewards"]
    # What is reported is in the units of the task, whose returns lie in [-1, 1].
    score = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert all(-1 <= value <= 1 for value in score["returns"])


def test_a_task_with_a_tuple_of_observations_is_trained_and_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*TINY[2:], *HERE, "--steps", "256", "--eval-episodes", "4"]
    assert main(["train", "Blackjack-v1", *small, "--out", str(tmp_path / "run")]) == 0
    score = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert all(-1.5 <= value <= 1.5 for value in score["returns"])


class Reader(io.StringIO):
    """The end of a pipe that is closed once progress was shown."""

    def write(self, text: str) -> int:
        if "steps/s" in self.getvalue():
            raise BrokenPipeError
        return super().write(text)


# Seen to fail it: what was learned not saved where the pipe breaks.
def test_nobody_reading_any_more_does_not_lose_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s7rl.experiments.progress.LINE_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stdout", Reader())
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # main closes it
    assert main(["train", *TINY, "--steps", "3000", "--out", str(tmp_path / "run")]) == 141
    assert 0 < RecurrentPPO.load(tmp_path / "run" / "latest.zip").num_timesteps < 3000


class Overheating(gym.Env[NDArray[np.float32], Any]):
    """Its thermometer reads nan at its 22nd step."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        reading = np.nan if self.steps == 22 else 1.0
        return np.full(1, reading, dtype=np.float32), 0.0, False, self.steps % 8 == 0, {}


# Seen to fail it: the agent saved on the way out; NumericalError not caught, which is a traceback.
@pytest.mark.parametrize("options", [pytest.param([], marks=pytest.mark.slow), ["--debug-anomalies"]])
def test_a_number_that_is_not_finite_ends_a_run_in_one_line_and_keeps_the_last_good_agent(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s7rl.experiments.progress.CHECKPOINT_SECONDS", 0.0)
    spec = gym.envs.registration.EnvSpec("Overheating-v0", entry_point=lambda **options: Overheating())
    monkeypatch.setitem(gym.registry, "Overheating-v0", spec)
    out = tmp_path / "run"
    small = ["--n-envs", "8", "--n-steps", "8", "--d-model", "16", "--d-state", "16", *HERE]
    assert main(["train", "Overheating-v0", *small, "--steps", "9999", "--out", str(out), *options]) == 1
    errors = capsys.readouterr().err
    assert re.fullmatch(
        r"s7rl train: the observation of environment 0 is nan at \[0\], at step 6 of the rollout, after 176 [^\n]+: "
        rf"[^\n]+ The agent as it was before that is in {re.escape(str(out))}/latest\.zip\n",
        errors,
    )
    kept = RecurrentPPO.load(out / "latest.zip")
    assert kept.num_timesteps == 2 * 8 * 8
    assert all(weight.isfinite().all() for weight in kept.policy.state_dict().values())
    assert not (out / "evaluation.json").exists()
