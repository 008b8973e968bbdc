"""Studies with objectives that are made up: counted, pruned, drawn, shared and gone on with.

Mutations seen to fail: trials of other processes not counted, or failed ones counted; a study that is there not loaded;
the worst trial first, or the later of two alike; another request let through, or its groups not looked at; a request
compared before JSON has made lists of its tuples; a pruner that may not change; one that begins a trial earlier, or in
the first half; more brackets; a sampler with a fixed seed, or of another kind; an error swallowed, or raised where a
trial was asked to stop; as many trials again.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s7rl.experiments.config import NetworkOptions, PPOOptions, TuneConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.tuning.tune import run_trials

optuna = pytest.importorskip("optuna")
from s7rl.experiments.tuning.study import (  # noqa: E402
    LOOKS,
    completed,
    count_trials,
    make_pruner,
    make_sampler,
    open_study,
)

REQUEST = TuneConfig(env_kwargs=("corridor_length=5",), steps=1000)
MEETING = """
import sys, time
from pathlib import Path
from s7rl.experiments.config import TuneConfig
from s7rl.experiments.tuning.study import open_study
from s7rl.experiments.tuning.tune import run_trials

folder, name = Path(sys.argv[1]), sys.argv[2]

def objective(trial):
    (folder / name).touch()
    while not ((folder / "first").exists() and (folder / "second").exists()):
        time.sleep(0.01)
    trial.set_user_attr("process", name)
    return trial.suggest_float("x", 0, 1)

study = open_study(TuneConfig(steps=1000), folder / "study", {})
run_trials(study, objective, 4, stop=lambda: False)
"""


def run(study: Any, objective: Any, trials: int) -> None:
    run_trials(study, objective, trials, stop=lambda: False)


def parabola(trial: Any) -> float:
    return -((float(trial.suggest_float("x", -1, 1)) - 0.25) ** 2)


def seeded(trial: Any) -> float:
    trial.study.sampler = make_sampler("tpe", trial.number)
    return parabola(trial)


def test_a_study_goes_on_to_its_number_of_trials_and_no_further(tmp_path: Path) -> None:
    run(open_study(REQUEST, tmp_path / "study", {}), parabola, 3)
    again = open_study(REQUEST, tmp_path / "study", {})
    assert count_trials(again) == 3
    run(again, parabola, 5)
    run(again, parabola, 5)
    assert [trial.number for trial in again.trials] == [0, 1, 2, 3, 4]


def test_a_study_that_was_stopped_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    straight = open_study(REQUEST, tmp_path / "straight", {})
    run(straight, seeded, 14)
    run(open_study(REQUEST, tmp_path / "stopped", {}), seeded, 12)
    stopped = open_study(REQUEST, tmp_path / "stopped", {})
    run(stopped, seeded, 14)
    draws = [trial.params["x"] for trial in straight.trials]
    assert draws == [trial.params["x"] for trial in stopped.trials]
    assert len(set(draws)) == 14


def test_the_best_trial_comes_first_and_of_two_alike_the_earlier(tmp_path: Path) -> None:
    study = open_study(REQUEST, tmp_path / "study", {})
    scores = iter([-1.0, 0.0, 2.0, 2.0])
    run(study, lambda trial: next(scores), 4)
    assert [trial.number for trial in completed(study)] == [2, 3, 1, 0]


def test_a_trial_that_failed_is_none_and_its_error_is_raised(tmp_path: Path) -> None:
    study = open_study(REQUEST, tmp_path / "study", {})

    def failing(trial: Any) -> float:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(study, failing, 2)
    assert count_trials(study) == 0
    run(study, parabola, 2)
    assert len(completed(study)) == 2


def test_an_exception_by_which_a_trial_was_asked_to_stop_is_no_error(tmp_path: Path) -> None:
    study = open_study(REQUEST, tmp_path / "study", {})
    asked = []

    def stopping(trial: Any) -> float:
        asked.append(trial.number)
        raise RuntimeError("stopped")

    run_trials(study, stopping, 3, stop=lambda: bool(asked))
    assert asked == [0]
    assert count_trials(study) == 0


def test_two_processes_share_the_trials_of_a_study(tmp_path: Path) -> None:
    words = [sys.executable, "-c", MEETING, str(tmp_path)]
    # The first trial of each waits until the other has begun one.
    processes = [subprocess.Popen([*words, name], stderr=subprocess.PIPE) for name in ("first", "second")]
    assert [process.communicate(timeout=120)[1] for process in processes] == [b"", b""]
    trials = open_study(replace(REQUEST, env_kwargs=()), tmp_path / "study", {}).trials
    assert {trial.user_attrs["process"] for trial in trials} == {"first", "second"}
    # The last may be begun by both at once.
    assert 4 <= len(trials) <= 5
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


def test_a_trial_that_another_process_is_at_counts(tmp_path: Path) -> None:
    study = open_study(REQUEST, tmp_path / "study", {})

    def with_another(trial: Any) -> float:
        run(open_study(REQUEST, tmp_path / "study", {}), parabola, 2)
        return parabola(trial)

    run(study, with_another, 2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    ("pruner", "looks"),
    [
        # Five trials first, then none in the first half.
        ("median", [10] * 5 + [5]),
        ("none", [10] * 6),
    ],
)
def test_a_trial_that_is_behind_is_pruned_as_the_pruner_says(pruner: str, looks: list[int]) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner(pruner))
    seen = []

    def worse_every_time(trial: Any) -> float:
        for look in range(1, LOOKS + 1):
            trial.report(float(-trial.number), look)
            if look < LOOKS and trial.should_prune():
                seen.append(look)
                raise optuna.TrialPruned
        seen.append(LOOKS)
        return float(-trial.number)

    study.optimize(worse_every_time, n_trials=6)
    assert seen == looks


def test_hyperband_keeps_a_third_at_each_rung() -> None:
    study = optuna.create_study(study_name="rungs", direction="maximize", pruner=make_pruner("hyperband"))
    seen = []

    def worse_every_time(trial: Any) -> float:
        for look in range(1, LOOKS + 1):
            trial.report(float(-trial.number), look)
            if trial.should_prune():
                seen.append(look)
                raise optuna.TrialPruned
        return 0.0

    study.optimize(worse_every_time, n_trials=40)
    # Rungs of the three brackets: 1, 3 and 9 of 10 looks; only the first trial of each has none before it.
    assert set(seen) == {1, 3, 9}
    assert len(seen) == 40 - 3


def test_every_sampler_draws_by_its_seed(tmp_path: Path) -> None:
    for name, kind in (
        ("tpe", optuna.samplers.TPESampler),
        ("random", optuna.samplers.RandomSampler),
        ("cmaes", optuna.samplers.CmaEsSampler),
    ):
        draws = []
        for seed in (1, 1, 2):
            study = optuna.create_study(direction="maximize", sampler=make_sampler(name, seed))
            assert type(study.sampler) is kind
            study.optimize(parabola, n_trials=3)
            draws.append([trial.params["x"] for trial in study.trials])
        assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 2000}, "was begun with --steps 1000, not 2000: give the same, or another --out"),
        ({"env_kwargs": ()}, "was begun with --env-kwargs corridor_length=5, not left out"),
        ({"ppo": PPOOptions(gamma=0.5)}, "was begun with --gamma left out, not 0.5"),
        (
            {"network": NetworkOptions(core_kwargs=("rotation=1", "rank=2"))},
            "left out, not rotation=1 rank=2",
        ),
        ({"seed": 1}, "--seed 0, not 1"),
    ],
)
def test_another_request_is_another_study(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    open_study(REQUEST, tmp_path / "study", {})
    with pytest.raises(UsageError, match=message):
        open_study(replace(REQUEST, **changes), tmp_path / "study", {})


def test_what_decides_nothing_about_a_trial_may_change(tmp_path: Path) -> None:
    open_study(REQUEST, tmp_path / "study", {})
    open_study(replace(REQUEST, trials=3, sampler="random", pruner="none", threads=1), tmp_path / "study", {})


def test_a_storage_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--storage nothing://here cannot be used: .*: give another --storage"):
        open_study(replace(REQUEST, storage="nothing://here"), tmp_path / "tune" / "study", {})
    assert not list(tmp_path.iterdir())
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.db").write_text("no database at all, but a text that is long enough to be read as one")
    with pytest.raises(UsageError, match=r"study\.db cannot be used"):
        open_study(REQUEST, tmp_path / "study", {})
