"""Rewards on the command line: learned from, logged beside the environment's own, and never taken for a score.

Mutations seen to fail: the wrapper left out of the environments, put inside the monitor, or also put around those of
the evaluation; the options not saved; the discount not the run's; RewardError not caught; a checkpoint promised that is
not there, or no way to go on told; the functions not looked for before training; the working directory not searched;
best.zip by the shaped return.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from s7rl.agents import RecurrentPPO, ShapedRewardVecEnv
from s7rl.experiments.building import make_environments
from s7rl.experiments.cli import main
from s7rl.experiments.command_line import parse
from s7rl.experiments.config import RewardOptions, TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.plan import plan
from s7rl.experiments.progress import ENOUGH_EPISODES
from s7rl.experiments.run_folder import open_run_folder

TINY = [
    "train",
    "--env-kwargs",
    "corridor_length=2",
    "--n-envs",
    "8",
    "--n-steps",
    "32",
    "--d-model",
    "8",
    "--d-state",
    "8",
]
FUNCTIONS = """
def ahead(obs):
    return 5.0 - float(obs)

def nothing(obs, action, next_obs, info):
    return 0

def brittle(obs, action, next_obs, info):
    brittle.calls += 1
    return 1 / (600 - brittle.calls)

brittle.calls = 0

def blind():
    return 1.0

def lost(obs):
    return float("nan")
"""
MODULE = "rewards_of_the_tests"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with functions in it; the module and the place are forgotten again."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{MODULE}.py").write_text(FUNCTIONS)
    yield tmp_path
    sys.modules.pop(MODULE, None)


def log(run: str) -> list[dict[str, str]]:
    with Path(run, "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_options_reach_the_environments_between_monitor_and_normaliser(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(directory)  # as main() does
    words = ["--potential", f"{MODULE}:ahead", "--reward-scale", "0.5", "--reward-clip", "2", "--gamma", "0.9"]
    request = parse([*TINY, *words, "--normalize-rewards", "True"])
    assert isinstance(request, TrainConfig)
    assert request.rewards == RewardOptions(potential=f"{MODULE}:ahead", reward_scale=0.5, reward_clip=2.0)
    env = make_environments(plan(request)[0])
    assert isinstance(env, VecNormalize)
    assert isinstance(env.venv, ShapedRewardVecEnv)
    assert isinstance(env.venv.venv, VecMonitor)
    shaping = env.venv.shaping
    assert (shaping.scale, shaping.clip, shaping.discount, shaping.reward) == (0.5, 2.0, 0.9, None)
    assert shaping.potential_of(np.int64(2)) == 3.0
    plain = parse(TINY)
    assert isinstance(plain, TrainConfig)
    assert not isinstance(make_environments(plan(plain)[0]), ShapedRewardVecEnv)


def test_a_run_on_rewards_of_its_own_is_scored_by_those_of_the_environment(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "--reward", f"{MODULE}:nothing", "--steps", "1000", "--eval-episodes", "8", "--out", "run"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"rewards  those of {MODULE}:nothing; returns below are the environment's own\n" in shown
    lines = log("run")
    assert {float(line["rollout/ep_shaped_rew_mean"]) for line in lines} == {0.0}
    means = [float(line["rollout/ep_rew_mean"]) for line in lines]
    assert max(means) < 0.0, "a random walk pays a penalty"
    # 256 steps are 8 rows of 32, in which some 40 episodes of up to 6 steps end.
    assert ENOUGH_EPISODES < 256 / 6
    for number, line in enumerate(lines, 1):
        assert float(line["rollout/best_ep_rew_mean"]) == pytest.approx(max(means[:number]), abs=1e-6)
    events = EventAccumulator("run").Reload()
    assert [event.value for event in events.Scalars("rollout/ep_shaped_rew_mean")] == [0.0] * len(lines)
    score = json.loads(Path("run", "evaluation.json").read_text())
    assert all(value != 0.0 for value in score["returns"])
    assert f"{score['mean_return']:.3f} ±" in shown
    config = json.loads(Path("run", "config.json").read_text())
    assert config["settings"]["reward_options"] == {"reward": f"{MODULE}:nothing"}

    # Nobody needs the functions to evaluate.
    (directory / f"{MODULE}.py").unlink()
    sys.modules.pop(MODULE)
    assert main(["evaluate", "run", "--episodes", "8"]) == 0
    assert f"{score['mean_return']:.3f} ±" in capsys.readouterr().out
    assert main(["resume", "run", "--steps", "2000"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(
        f"s7rl resume: --reward {MODULE}:nothing cannot be imported: there is no module '{MODULE}'"
    )
    assert errors.count("\n") == 1


MISTAKES = [
    (
        f"--potential {MODULE}:aheads",
        f"--potential {MODULE}:aheads cannot be imported: {MODULE} has no 'aheads': did you mean",
    ),
    (f"--potential {MODULE}:blind", f"--potential {MODULE}:blind takes (), but it is called with (obs); "),
    (
        f"--reward {MODULE}:ahead",
        f"--reward {MODULE}:ahead takes (obs), but it is called with (obs, action, next_obs, ",
    ),
    (
        "--reward nowhere_at_all:f",
        "--reward nowhere_at_all:f cannot be imported: there is no module 'nowhere_at_all' in ",
    ),
    ("--reward f", "--reward f is not module:function, as in "),
    (f"--reward {MODULE}.py:f", f"--reward {MODULE}.py:f names a file, not a module; write {MODULE}:f"),
    ("--reward-scale 0", "--reward-scale 0.0 must be above 0"),
    ("--reward-clip -1", "--reward-clip -1.0 must be above 0"),
    ("--reward-clip wide", "error parsing --reward-clip: 'wide' is not a number"),
    ("--potentail x:f", "there is no option --potentail; did you mean --potential?"),
]


@pytest.mark.parametrize(("words", "line"), MISTAKES, ids=[words for words, _ in MISTAKES])
@pytest.mark.usefixtures("as_users_run_it")
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: str, line: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words.split()]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"s7rl train: {line}")
    assert output.err.count("\n") == 1
    assert {path.name for path in directory.iterdir()} <= {f"{MODULE}.py", "__pycache__"}


def test_functions_are_looked_for_before_anything_is_built(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(directory)
    request = parse([*TINY, "--reward", f"{MODULE}:ahead"])
    assert isinstance(request, TrainConfig)
    with pytest.raises(UsageError, match=rf"^--reward {MODULE}:ahead takes [^\n]+$"):
        plan(request)


def test_a_function_that_fails_ends_the_run_in_one_line_and_the_last_agent_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("s7rl.experiments.progress.CHECKPOINT_SECONDS", 0.0)
    assert main([*TINY, "--reward", f"{MODULE}:brittle", "--steps", "5000", "--out", "run"]) == 1
    # The 600th call: 74 steps of 8 environments, and the eighth environment of the next.
    assert re.fullmatch(
        rf"s7rl train: in environment 7, at its step 75: the reward function {MODULE}:brittle failed: "
        rf"ZeroDivisionError: division by zero \({MODULE}\.py, line 10\): mend that function; "
        r"the last checkpoint is run/latest\.zip, to go on from it: \S+ resume run\n",
        capsys.readouterr().err,
    )
    assert RecurrentPPO.load(open_run_folder("run").latest).num_timesteps == 2 * 256
    assert not Path("run", "evaluation.json").exists()


def test_a_run_whose_potential_is_nan_at_the_first_reset_begins_once_that_is_mended(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--potential", f"{MODULE}:lost", "--steps", "512", "--out", "run"]) == 1
    assert re.fullmatch(
        rf"s7rl train: in environment 0, before its first step: the potential {MODULE}:lost returned nan, which is not "
        r"finite: mend that function; nothing had been learned yet, to begin: \S+ resume run\n",
        capsys.readouterr().err,
    )
    assert not open_run_folder("run").latest.exists()
    monkeypatch.setattr(sys.modules[MODULE], "lost", lambda obs: 0.0)
    assert main(["resume", "run", "--eval-episodes", "0"]) == 0
    assert RecurrentPPO.load(open_run_folder("run").latest).num_timesteps == 512
