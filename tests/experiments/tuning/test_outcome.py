"""What is said of a study and what is kept of it, with trials that are made up.

Mutations seen to fail: a pruned trial with a score; options that were given shown, too; all trials in the table; no
trial with a score, or all alike; wrappers left out of the command, or not quoted; trials of other processes not
mentioned; the preset of the first trial; no bar.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from s7rl.experiments.config import PPOOptions, TrainConfig

optuna = pytest.importorskip("optuna")
from s7rl.experiments.tuning.outcome import announce, conclude, keep_best  # noqa: E402
from s7rl.experiments.tuning.study import OPTIONS  # noqa: E402
from s7rl.experiments.tuning.trials import ENDED, TrialBar  # noqa: E402

REQUEST = TrainConfig(
    env="some/Task-v0",
    env_kwargs=("size=3",),
    wrappers=("Flicker(probability=0.5)",),
    steps=1000,
    eval_episodes=5,
    ppo=PPOOptions(gamma=0.5),
)


def study_with(*scores: float | None) -> Any:
    """A study with a trial for each score, pruned where it is None. What was drawn for x is the score."""
    study = optuna.create_study(direction="maximize")
    number = optuna.distributions.FloatDistribution(-100, 100)
    for index, score in enumerate(scores):
        options = {"agent": "gru", "gamma": 0.5, "n_epochs": index, "core_kwargs": {"window": 2}}
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED if score is None else optuna.trial.TrialState.COMPLETE,
            value=99.0 if score is None else score,  # Optuna takes what was reported last
            params={"x": score or 0.0, "y": float(37 * index % 11)},
            distributions={"x": number, "y": number},
            user_attrs={OPTIONS: options, ENDED: "behind"},
            intermediate_values={1: 99.0},
        )
        study.add_trial(trial)
    return study


def concluded(study: Any, folder: Path) -> str:
    text = io.StringIO()
    conclude(study, folder, REQUEST, Console(file=text, width=80))
    return text.getvalue()


def test_the_preset_is_that_of_the_best_trial_and_says_where_it_is_from(tmp_path: Path) -> None:
    assert keep_best(study_with(None, None), tmp_path, REQUEST) is None
    assert list(tmp_path.iterdir()) == []
    path = keep_best(study_with(1.0, 3.0, None, 2.0), tmp_path, REQUEST)
    assert path == tmp_path / "best.toml"
    assert path.read_text() == (
        f"# trial 1 of {tmp_path.name}: return 3.000 in 5 episodes after 1,000 steps of some/Task-v0 size=3\n"
        'agent = "gru"\ngamma = 0.5\nn_epochs = 1\n\n[core_kwargs]\nwindow = 2\n'
    )


def test_the_end_shows_the_five_best_by_what_was_searched_and_the_command_to_type(tmp_path: Path) -> None:
    lines = concluded(study_with(1.0, 6.0, None, 2.0, 3.0, 4.0, 5.0), tmp_path).splitlines()
    assert lines[0] == "6 trials with a score, 1 pruned"
    assert [line.split() for line in lines[3:8]] == [
        [str(number), f"{score:.3f}", f"n_epochs={number}", "window=2"]
        for number, score in ((1, 6), (6, 5), (5, 4), (4, 3), (3, 2))
    ]
    assert lines[8] == "which options mattered cannot be said of fewer than 10 trials with a score"
    assert lines[9] == f"best:  {tmp_path}/best.toml"
    words = "train some/Task-v0 --env-kwargs size=3 --wrappers 'Flicker(probability=0.5)' --preset"
    assert lines[10].endswith(f"s7rl {words} {tmp_path}/best.toml")


def test_where_no_trial_has_a_score_it_is_said_what_to_do(tmp_path: Path) -> None:
    scores, advice = concluded(study_with(None), tmp_path).splitlines()
    assert scores == "0 trials with a score, 1 pruned"
    assert advice == "no trial has a score: raise --trials, or give another --learning-rate or --pruner none"


def test_what_mattered_is_named_first(tmp_path: Path) -> None:
    text = concluded(study_with(*map(float, range(20))), tmp_path)
    lines = [line.split() for line in text.splitlines()]
    start = next(index for index, line in enumerate(lines) if line == ["what", "mattered", "share"])
    (first, share), (second, _) = lines[start + 2 : start + 4]
    assert (first, second) == ("x", "y")
    assert int(share.rstrip("%")) > 60


def test_where_all_scores_are_alike_nothing_mattered(tmp_path: Path) -> None:
    assert "no option mattered: all trials with a score have the same" in concluded(study_with(*[1.0] * 12), tmp_path)


def test_trials_of_other_processes_are_said_to_go_on(tmp_path: Path) -> None:
    study = study_with(1.0)
    study.ask()
    assert "1 still under way in other processes" in concluded(study, tmp_path)


def test_a_trial_is_one_line_with_its_score_or_why_it_was_pruned() -> None:
    text = io.StringIO()
    for trial in study_with(1.5, None).trials:
        announce(trial, REQUEST, Console(file=text, width=20))
    assert text.getvalue().splitlines() == [
        "trial 0    return 1.500, in 0 s: n_epochs=0 window=2",
        "trial 1    pruned: behind, in 0 s: n_epochs=1 window=2",
    ]


def test_on_a_terminal_a_bar_shows_the_trial_and_elsewhere_nothing_is_drawn() -> None:
    for terminal in (True, False):
        text = io.StringIO()
        with TrialBar(Console(file=text, width=100, force_terminal=terminal), 20) as bar:
            bar.begin(7)
            bar.show(0.25, [1.0, 2.0])
        for part in ("trial 7 (20 in all)", "25%", "return 1.50"):
            assert (part in text.getvalue()) == terminal, part
