"""`s7rl tune` on a corridor of five: a study from nothing to a preset that `s7rl train` takes, and gone on with.

Mutations seen to fail: the lowest return taken for the best; one sampler seed, or one learning seed, for all trials;
scored on the evaluations' seeds; another score; four times the steps; pruned at the last look, or looked at after every
rollout, or not pruned at all; a nan that ends the study; a preset without what was drawn, or kept only at the end; as
many steps as a training; exit code 0 after Ctrl-C; a study with nothing to search; cmaes not asked for; other settings
that follow let through, or another search; a default of what is searched compared.
"""

from __future__ import annotations

import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s7rl.agents import NumericalError, RecurrentPPO
from s7rl.envs import find_task
from s7rl.experiments.building import MEMORY_REMEDY, build
from s7rl.experiments.cli import main
from s7rl.experiments.presets import SUITES
from s7rl.experiments.run_folder import open_run_folder
from s7rl.experiments.train import evaluate_agent

optuna = pytest.importorskip("optuna")
from s7rl.experiments.tuning.search_spaces import COMMON  # noqa: E402
from s7rl.experiments.tuning.study import LOOKS, OPTIONS, REQUEST  # noqa: E402
from s7rl.experiments.tuning.trials import ENDED, LEARNING_SEED  # noqa: E402

TASK = ["s7rl/TMazePassive-v0", "--env-kwargs", "corridor_length=5"]
TINY = ["--n-envs", "8", "--n-steps", "32", "--d-model", "8", "--n-blocks", "1", "--n-epochs", "1", "--d-state", "8"]
STUDY = ["tune", *TASK, *TINY, "--steps", "1000", "--eval-episodes", "5", "--threads", "1"]


def loaded(runs: Path, name: str = "TMazePassive-v0-s7") -> Any:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{runs}/tune/{name}/study.db")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs, with a study of three trials."""
    runs = tmp_path_factory.mktemp("runs")
    assert main([*STUDY, "--trials", "3", "--runs", str(runs)]) == 0
    return runs


def test_a_study_has_its_trials_with_scores_and_returns_at_each_look(tuned: Path) -> None:
    trials = loaded(tuned).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert len({trial.params["learning_rate"] for trial in trials}) == 3
    for trial in trials:
        # Four rollouts of 256 steps: after 2, 5, 7 and 10 tenths of 1,000.
        assert list(trial.intermediate_values) == [2, 5, 7, 10]
        assert all(-2.4001 <= value <= 1 for value in (trial.value, *trial.intermediate_values.values()))


def test_the_best_is_a_preset_that_train_takes(tuned: Path, tmp_path: Path) -> None:
    study = loaded(tuned)
    options = study.best_trial.user_attrs[OPTIONS]
    out = tmp_path / "run"
    preset = str(tuned / "tune" / "TMazePassive-v0-s7" / "best.toml")
    words = ["train", *TASK, "--preset", preset, "--steps", "256", "--eval-episodes", "0", "--out", str(out)]
    assert main(words) == 0
    settings = open_run_folder(str(out)).settings()
    core = options.pop("core_kwargs")
    assert {name: getattr(settings, name) for name in options} == options
    assert settings.core_kwargs == {**core, "horizon": tuple(core["horizon"])}
    assert (settings.n_envs, settings.n_steps, settings.d_model, settings.agent) == (8, 32, 8, "s7")


def test_the_same_command_goes_on_to_the_number_of_trials(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert main([*STUDY, "--trials", "2", "--runs", str(runs)]) == 0
    assert main([*STUDY, "--trials", "3", "--runs", str(runs)]) == 0
    # As if it had not been stopped.
    straight, stopped = loaded(tuned).trials, loaded(runs).trials
    assert [(trial.params, trial.values) for trial in stopped] == [(trial.params, trial.values) for trial in straight]
    capsys.readouterr()
    assert main([*STUDY, "--trials", "3", "--runs", str(runs)]) == 0
    text = capsys.readouterr().out
    assert "3 trials with a score, 0 pruned" in text
    assert re.search(
        r"best: +\S+/best.toml\nnext: +\S*s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=5 "
        r"--preset \S+/best.toml\n$",
        text,
    )
    assert len(loaded(runs).trials) == 3


def test_trials_leave_nothing_where_temporary_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("SB3_LOGDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert main([*STUDY, "--trials", "1", "--runs", str(tmp_path / "runs")]) == 0
    assert not list((tmp_path / "temporary").iterdir())


def test_trials_learn_and_are_scored_on_seeds_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[tuple[str, int]] = []
    returns: list[float] = []

    def noting_build(settings: Any) -> Any:
        seeds.append(("learn", settings.seed))
        return build(settings)

    def noting_evaluate(model: RecurrentPPO, *arguments: Any, seed: int, **options: Any) -> Any:
        assert model.num_timesteps == 256
        seeds.append(("score", seed))
        evaluations = evaluate_agent(model, *arguments, seed=seed, **options)
        returns.append(evaluations[0].mean_return)
        return evaluations

    monkeypatch.setattr("s7rl.experiments.tuning.trials.build", noting_build)
    monkeypatch.setattr("s7rl.experiments.tuning.trials.evaluate_agent", noting_evaluate)
    assert main([*STUDY, "--steps", "256", "--seed", "7", "--trials", "2", "--runs", str(tmp_path)]) == 0
    score = ("score", 1_000_000)
    # Those of evaluations begin at 10,000.
    assert seeds == [("learn", 2_000_007), score, ("learn", 2_000_008), score]
    assert [trial.value for trial in loaded(tmp_path).trials] == returns


def test_returns_are_compared_ten_times_however_many_rollouts_there_are(tmp_path: Path) -> None:
    # 40 rollouts of 16 steps, and no episode is longer than 12.
    assert (
        main([*STUDY, "--n-envs", "2", "--n-steps", "8", "--steps", "640", "--trials", "1", "--runs", str(tmp_path)])
        == 0
    )
    assert list(loaded(tmp_path).trials[0].intermediate_values) == list(range(1, LOOKS + 1))


def test_a_trial_takes_a_quarter_of_a_training_where_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("s7rl.experiments.tuning.tune.run_trials", lambda *arguments, **options: None)
    assert main(["tune", *TASK, "--runs", str(tmp_path)]) == 0
    steps = find_task("s7rl/TMazePassive-v0", {"corridor_length": 5}).steps // 4
    assert f"20 trials of {steps:,} steps\n" in capsys.readouterr().out
    assert loaded(tmp_path).user_attrs[REQUEST]["steps"] == steps


def test_a_trial_that_is_behind_ends_early_and_has_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    assert main([*STUDY, "--trials", "2", "--runs", str(tmp_path)]) == 0
    first, second = loaded(tmp_path).trials
    assert (first.state.name, second.state.name) == ("COMPLETE", "PRUNED")
    assert list(second.intermediate_values) == [2]
    assert "trial 1    pruned: behind others after 20% of the steps" in capsys.readouterr().out


def test_nothing_is_pruned_at_the_last_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: looks.append(trial.number))
    assert main([*STUDY, "--steps", "256", "--trials", "1", "--runs", str(tmp_path)]) == 0
    assert looks == []
    assert list(loaded(tmp_path).trials[0].intermediate_values) == [LOOKS]


def test_a_study_does_not_go_on_with_other_defaults(
    tuned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    searched = replace(SUITES["memory"], vf_coef=0.7)
    monkeypatch.setattr("s7rl.experiments.settings.SUITES", {**SUITES, "memory": searched})
    assert main([*STUDY, "--trials", "3", "--runs", str(tuned)]) == 0
    memory = replace(SUITES["memory"], normalize_rewards=False)
    monkeypatch.setattr("s7rl.experiments.settings.SUITES", {**SUITES, "memory": memory})
    assert main([*STUDY, "--trials", "4", "--runs", str(tuned)]) == 2
    assert "was begun with normalize_rewards True, now it would be False (a default" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setitem(COMMON, "max_grad_norm", COMMON["vf_coef"])
    assert main([*STUDY, "--trials", "4", "--runs", str(tuned)]) == 2
    assert "was begun with searched [" in capsys.readouterr().err
    assert len(loaded(tuned).trials) == 3


NO_ROOM = f"that does not fit this machine's memory (MemoryError: no room): {MEMORY_REMEDY}"


@pytest.mark.parametrize(
    ("where", "error", "why"),
    [
        ("s7rl.agents.RecurrentPPO.learn", NumericalError("the loss is nan."), "the loss is nan."),
        ("s7rl.experiments.building.RecurrentPPO", MemoryError("no room"), NO_ROOM),
        ("s7rl.agents.RecurrentPPO.learn", MemoryError("no room"), NO_ROOM),
        ("s7rl.experiments.tuning.trials.evaluate_agent", MemoryError("no room"), NO_ROOM),
    ],
)
def test_a_trial_whose_numbers_explode_or_do_not_fit_is_pruned_and_the_study_goes_on(
    where: str,
    error: Exception,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Seen to fail it: a want of memory let through, or noticed while the agent learns only.
    def exploding(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(where, exploding)
    assert main([*STUDY, "--steps", "512", "--trials", "2", "--runs", str(tmp_path)]) == 0
    assert {trial.user_attrs[ENDED] for trial in loaded(tmp_path).trials} == {why}
    text = capsys.readouterr().out
    assert "0 trials with a score, 2 pruned\nno trial has a score: " in text


def test_an_environment_that_runs_out_of_memory_ends_the_study_as_any_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Seen to fail it: memory looked to before the environment.
    def failing(*arguments: Any) -> None:
        raise MemoryError("no room in the maze")

    monkeypatch.setattr("s7rl.envs.engines.tmaze.TMazePassiveEngine.advance", failing)
    assert main([*STUDY, "--trials", "2", "--runs", str(tmp_path)]) == 1
    assert "the environment raised MemoryError: no room in the maze" in capsys.readouterr().err


def test_ctrl_c_ends_a_study_and_the_trial_it_is_at_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted_build(settings: Any) -> Any:
        if settings.seed == LEARNING_SEED + 1:
            signal.raise_signal(signal.SIGINT)
        return build(settings)

    monkeypatch.setattr("s7rl.experiments.tuning.trials.build", interrupted_build)
    assert main([*STUDY, "--steps", "512", "--trials", "3", "--runs", str(tmp_path)]) == 130
    assert "stopped; to go on: the same command again" in capsys.readouterr().out
    assert [trial.state.name for trial in loaded(tmp_path).trials] == ["COMPLETE", "FAIL"]
    assert (tmp_path / "tune" / "TMazePassive-v0-s7" / "best.toml").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--trials 0", "--trials 0 must be at least 1"),
        ("--eval-episodes 0", "--eval-episodes 0 must be at least 1: they are the score of a trial"),
        ("--seed 2147483648", "--seed 2147483648 must be from 0 to 2147483647"),
        ("--agent gruu", "there is no agent 'gruu'; did you mean gru?"),
        ("--steps 0", "--steps 0 must be at least 1"),
        ("--learning-rate 0", "--learning-rate 0.0 must be above 0"),
        ("--samplr tpe", "there is no option --samplr; did you mean --sampler? (see `s7rl tune --help`)"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *words.split(), "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"s7rl tune: {message}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_with_nothing_left_to_search_there_is_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ppo = ["--learning-rate", "--gamma", "--gae-lambda", "--ent-coef", "--vf-coef", "--clip-range", "--n-epochs"]
    every = [word for option in (*ppo, "--d-model", "--n-blocks") for word in (option, "1")]
    assert main(["tune", "--agent", "gru", *every, "--runs", str(tmp_path)]) == 2
    assert "every option that would be searched is given: leave some of them out" in capsys.readouterr().err


@pytest.mark.parametrize(("sampler", "package"), [("tpe", "optuna"), ("tpe", "tomli_w"), ("cmaes", "cmaes")])
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    sampler: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["tune", "--sampler", sampler]) == 2
    expected = f"s7rl tune: s7rl tune needs {package}, which is not installed: pip install 's7rl[tune]'\n"
    assert capsys.readouterr().err == expected
