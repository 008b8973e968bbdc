"""`s7rl bench train` end to end, at sizes that take no time, and what is said of figures made by hand.

Mutations that were seen to fail these tests: the whole without the rollout; fewer than five rounds where the budget is
small; a trainer beyond the budget measured all the same; sb3-contrib asked for where it is not installed; steps of one
environment counted for those of all; a ratio in the findings upside down, or of training where the whole is meant; no
line of sb3-contrib with one LSTM, or its row left out.
"""

from pathlib import Path

import numpy as np
import pytest

from s7rl.experiments.bench import train as train_module
from s7rl.experiments.bench.config import TrainBench
from s7rl.experiments.bench.measuring import Times
from s7rl.experiments.bench.probe import Probed, ProbeResult
from s7rl.experiments.bench.train_findings import ROLLOUT, TRAINING, WHOLE, findings
from s7rl.experiments.bench.trainers import (
    PRODUCTS,
    SB3,
    SB3_CONTRIB,
    SHARED,
    ProductRounds,
    RoundProbe,
    Run,
    Setting,
    Trainer,
    make_rounds,
    trainer_of,
)
from s7rl.experiments.cli import main
from tests.experiments.bench.results import rows

MAZE = Setting.tmaze(n_steps=8, n_envs=4, episode=6)
FLAT = tuple(Setting.tmaze(n_steps=steps, n_envs=32 // steps, episode=100) for steps in (4, 8))
TINY = "bench train --cores gru --d-model 8 --repeats 3 --out x"


@pytest.fixture(autouse=True)
def tiny(empty_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small settings, no processes, trainers that do nothing; the folder that they leave."""
    settings = {"tmaze-500": (MAZE,), "tmaze-50": (MAZE,), "flat": FLAT}
    monkeypatch.setattr(train_module, "SETTINGS", settings)
    monkeypatch.setattr(train_module, "probe", lambda request: ProbeResult(seconds=1e-3, peak_bytes=2 * 10**6))
    monkeypatch.setattr(train_module, "make_rounds", lambda setting, _, device: ProductRounds([], setting, device))
    return empty_directory / "x"


def test_train_leaves_three_lines_for_every_trainer(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_module, "make_rounds", make_rounds)
    assert main([*TINY.split(), "--settings", "tmaze-50", "flat", "--repeats", "1"]) == 0
    assert sorted(path.name for path in tiny.iterdir()) == ["machine.json", "results.csv", "train.png"]
    table = rows(tiny)
    trainers = [("s7", "128"), ("gru", ""), ("sb3-contrib", ""), ("sb3-contrib, shared", ""), ("sb3", "")]
    expected = [("tmaze-50", *trainer, "8") for trainer in [*trainers, ("s7", "8"), ("products of s7", "8")]]
    expected += [("flat", "s7", "128", "4"), ("flat", "s7", "128", "8")]
    for measured in ("whole", "rollout", "training"):
        its = [row for row in table if row["measured"] == measured]
        assert [(row["setting"], row["trainer"], row["d_state"], row["n_steps"]) for row in its] == expected
        for row in its:
            assert (row["repeats"], row["left_out"], row["batch_size"]) == ("1", "", "8")
            seconds, rate = float(row["seconds_median"]), float(row["steps_per_second_median"])
            assert rate * seconds == pytest.approx(32, rel=1e-4)
            assert (row["peak_mb"] == "2.0") == (measured == "whole" and row["trainer"] != "products of s7")
            if (row["trainer"], row["d_state"], row["n_steps"]) == (
                "s7",
                "128",
                "8" if row["setting"] != "flat" else "4",
            ):
                assert row["over_s7_median"] == "1.0"
    text = capsys.readouterr().out
    assert "tmaze-50: s7 makes " in text
    assert "of what its matrix products alone would allow" in text
    assert "times that at T = 4" in text
    assert "results: x" in text


def test_rollout_and_training_together_are_the_whole(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interleave(thunks: dict[tuple[Run, str], object], rounds: int) -> dict[tuple[Run, str], Times]:
        return {key: np.full(rounds, 1.0 if key[1] == ROLLOUT else 3.0) for key in thunks}

    monkeypatch.setattr(train_module, "interleave", interleave)
    assert main([*TINY.split(), "--settings", "tmaze-500"]) == 0
    for row in rows(tiny):
        assert float(row["seconds_median"]) == {"whole": 4.0, "rollout": 1.0, "training": 3.0}[row["measured"]]
        assert float(row["steps_per_second_median"]) == pytest.approx(32 / float(row["seconds_median"]), rel=1e-4)


@pytest.mark.parametrize(("budget", "rounds"), [(5 * 0.01 * 7.5, "7"), (0.1, "5"), (100, "9")])
def test_a_setting_has_as_many_rounds_as_its_budget_allows_but_five(
    budget: float, rounds: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "probe", lambda request: ProbeResult(seconds=0.01, peak_bytes=1))
    options = ["--settings", "tmaze-500", "--repeats", "9", "--budget-seconds", str(budget)]
    assert main([*TINY.split(), *options]) == 0
    assert {row["repeats"] for row in rows(tiny)} == {rounds}


def test_a_trainer_beyond_the_budget_is_marked_and_the_others_are_measured(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def probe(request: Probed) -> ProbeResult:
        assert isinstance(request, RoundProbe)
        return ProbeResult(seconds=61.0 if request.trainer.name == SB3_CONTRIB else 1e-3, peak_bytes=1)

    monkeypatch.setattr(train_module, "probe", probe)
    assert main([*TINY.split(), "--settings", "tmaze-500"]) == 0
    reasons = {row["trainer"]: row["left_out"] for row in rows(tiny)}
    beyond = reasons.pop("sb3-contrib")
    assert beyond == "over budget: 5 x 61 s"
    assert reasons == dict.fromkeys(("s7", "gru", "sb3-contrib, shared", "sb3"), "")
    assert {row["seconds_median"] for row in rows(tiny) if row["trainer"] == "sb3-contrib"} == {""}
    text = capsys.readouterr().out
    assert "over budget" in text
    assert "tmaze-500: s7 against sb3-contrib's RecurrentPPO: not measured, one was left out" in text


def test_without_sb3_contrib_it_is_left_out_with_a_line_that_says_how_to_get_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_module, "has_contrib", lambda: False)
    assert main([*TINY.split(), "--settings", "tmaze-500"]) == 0
    assert {row["trainer"] for row in rows(tiny)} == {"s7", "gru", "sb3"}
    assert "it is not installed: pip install sb3-contrib" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--settings tmaze-5", "there is no setting 'tmaze-5'; did you mean tmaze-50"),
        ("--settings flat flat", "--settings names 'flat' twice: give it once"),
        ("--d-state 0", "--d-state 0 must be positive"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(
    words: str, message: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY.split(), *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert not tiny.exists()


def figures(*seconds: tuple[Run, float]) -> dict[tuple[Run, str], Times]:
    """A rollout takes a quarter of the time, and the second of three rounds is slower for all."""
    parts = {WHOLE: 1.0, ROLLOUT: 0.25, TRAINING: 0.75}
    return {(run, what): np.array([1, 3, 1]) * part * time for run, time in seconds for what, part in parts.items()}


def test_s7_is_compared_with_all_other_trainers_and_with_its_own_products() -> None:
    small = trainer_of("s7", 64, 64)
    trainers = [trainer_of("s7", 64, None), trainer_of("gru", 64, None), Trainer(name=SB3_CONTRIB, d_model=64)]
    trainers += [
        Trainer(name=SHARED, d_model=64),
        Trainer(name=SB3, d_model=64),
        small,
        Trainer(name=PRODUCTS, d_model=64, d_state=64),
    ]
    runs = [Run(MAZE, trainer) for trainer in trainers]
    seen = figures(*zip(runs, [2.0, 1.0, 17.0, 8.0, 1.0, 1.6, 0.8], strict=True))
    assert list(findings("maze", runs, seen, {})) == [
        "maze: s7 makes 8.50 (8.50 to 8.50) times the steps a second of sb3-contrib's RecurrentPPO",
        "maze: s7, 64 modes makes 10.6 (10.6 to 10.6) times the steps a second of sb3-contrib's RecurrentPPO",
        "maze: s7 makes 4.00 (4.00 to 4.00) times the steps a second of sb3-contrib's RecurrentPPO "
        "with one LSTM and no hidden layers",
        "maze: s7, 64 modes makes 5.00 (5.00 to 5.00) times the steps a second of sb3-contrib's RecurrentPPO "
        "with one LSTM and no hidden layers",
        "maze: s7 makes 0.500 (0.500 to 0.500) times the steps a second of SB3's PPO",
        "maze: s7, 64 modes makes 0.625 (0.625 to 0.625) times the steps a second of SB3's PPO",
        # 32 steps in 1.6, 4.8 and 1.6 seconds.
        "maze: s7, 64 modes makes 20.0 (13.3 to 20.0) steps a second, "
        "0.500 (0.500 to 0.500) of what its matrix products alone would allow",
    ]
    del seen[runs[5], WHOLE]
    assert list(findings("maze", runs, seen, {}))[6] == "maze: s7, 64 modes: not measured, it was left out"


def test_growth_is_that_of_the_time_per_step() -> None:
    trainer = trainer_of("s7", 64, None)
    runs = [Run(setting, trainer) for setting in FLAT]
    assert list(findings("flat", runs, figures((runs[0], 2.0), (runs[1], 3.0)), {})) == [
        "flat: S7's time per step, training, is at T = 8 1.50 (1.50 to 1.50) times that at T = 4",
        "flat: S7's time per step, whole, is at T = 8 1.50 (1.50 to 1.50) times that at T = 4",
    ]
    assert list(findings("flat", runs, figures((runs[0], 2.0)), {})) == [
        f"flat: S7's time per step, {what}: not measured at T = 8" for what in ("training", "whole")
    ]


def test_memory_is_a_line_through_the_peaks_and_the_distance_from_it() -> None:
    runs = [Run(Setting.tmaze(n_steps=steps, n_envs=8, episode=6), trainer_of("s7", 64, None)) for steps in (8, 16, 24)]
    # 64, 128 and 192 steps on a line of 2 MB and 0.5 MB a step, the middle one 0.3 MB above: the line is 0.1 higher.
    peaks = dict(zip(runs, (34_000_000, 66_300_000, 98_000_000), strict=True))
    assert list(findings("memory", runs, {}, peaks)) == [
        "memory: S7's peak is 2.1 MB and 500.00 kB for each step of a rollout, whose quarter is a minibatch; "
        "up to 192 steps no peak is further than 0.2 MB from that"
    ]
    assert not list(findings("memory", runs[:2], {}, peaks))


def test_quick_measures_one_setting_and_one_other_core() -> None:
    assert (TrainBench.QUICK["settings"], TrainBench.QUICK["cores"]) == (("tmaze-50",), ("gru",))
