"""runs.jsonl: what is worked out of its lines is what the whole logs say.

Mutations that were seen to fail these tests: the first line with a return, with the one that counts as learned, or with
success not kept; one line of each kind beyond the fifty; the first fifty lines kept, or one that is not the last; a
line that exceeds a level instead of reaching it; seconds as logged where steps a second are more exact; the parts of a
resumed run counted from its beginning, as one, or with the line at which it was stopped; lists of episodes kept; the
best return that of the lines that are kept, or the worst; success, or a return, of the first few episodes taken for
that of enough, or the first line of enough not kept; a line over several; a line taken for whole whatever it lacks; a
score that is none; no line of a run of another version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s7rl.experiments.errors import UsageError
from s7rl.experiments.finished_runs import (
    LOG_LINES,
    TRAINED,
    column,
    judged,
    line_of,
    read_lines,
    result,
    training_seconds,
    write_lines,
)
from s7rl.experiments.grid import Cell
from s7rl.experiments.learning_curve import BEST_RETURN, RETURN, SUCCESS
from s7rl.experiments.run_folder import STEPS, RunFolder, read_json
from tests.experiments.report.by_hand import settings_of

CELL = Cell(task="maze", agent="s7", seed=3, words=())
THRESHOLD = 0.95
"""Of the maze below: 0.5 can be had without memory, 1 at best."""
SCORE = {"episodes": 2, "mean_return": 0.5, "standard_error": 0.5, "success_rate": 0.5, "mean_length": 7.0}
Logged = tuple[int, float | None, float | None, int, int]
"""Steps, return, success, seconds, steps a second."""


def seconds(log: Sequence[tuple[int, int, int]], resumed_at: Sequence[int] = ()) -> list[float]:
    steps, elapsed, speed = np.array(log, dtype=np.float64).reshape(-1, 3).T
    return list(map(float, training_seconds(steps, elapsed, speed, resumed_at=resumed_at)))


@cache
def config() -> dict[str, Any]:
    """What config.json holds."""
    settings = asdict(settings_of(("s7rl/TMazePassive-v0", "--env-kwargs", "corridor_length=5")))
    return {"command": ["s7rl", "train"], "created": "2026-01-01", "settings": settings, "versions": {}, "machine": {}}


def finished(path: Path, log: Sequence[Logged], **more: Any) -> RunFolder:
    """A run folder with this log."""
    path.mkdir(exist_ok=True)
    run = RunFolder(path)
    run.config.write_text(json.dumps({**config(), **more}))
    head = ",".join((STEPS, RETURN, SUCCESS, "time/time_elapsed", "time/fps", BEST_RETURN))
    best = [max((its for _, its, *_ in log[:n] if its is not None), default=None) for n in range(1, len(log) + 1)]
    told = [(*line, top) for line, top in zip(log, best, strict=True)]
    lines = [",".join("" if value is None else str(value) for value in line) for line in told]
    run.progress.write_text("\n".join([head, *lines]) + "\n")
    run.evaluation.write_text(json.dumps({"seed": 10_000, **SCORE, "returns": [0.0, 1.0], "lengths": [6, 8]}))
    return run


def test_a_run_had_trained_as_long_as_the_more_exact_of_two_rounded_numbers_says() -> None:
    assert seconds([(100, 3, 33), (700, 70, 10)]) == [100 / 33, 70.0]
    assert seconds([(1000, 0, 2000), (5000, 2, 2000)]) == [0.5, 2.5]


def test_the_parts_of_a_resumed_run_are_added_up() -> None:
    # 100 s up to step 1,000, then 40 s of a clock that begins anew, then 1,000 steps at 4,000 a second.
    log = [(500, 50, 10), (1000, 100, 10), (1200, 20, 10), (1400, 40, 10), (2400, 0, 4000)]
    assert seconds(log, (1000, 1400)) == [50.0, 100.0, 120.0, 140.0, 140.25]
    # Stopped twice before it had come to a line, at its beginning and later.
    assert seconds(log[:3], (0, 1000, 1000)) == [50.0, 100.0, 120.0]


def test_an_empty_log_has_no_seconds() -> None:
    assert seconds([], (5,)) == []


RATES = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 0.94, THRESHOLD, 0.99, 1.0]))


@settings(max_examples=60)
@given(
    length=st.integers(0, 3 * LOG_LINES),
    curve=st.dictionaries(st.integers(0, 3 * LOG_LINES), st.tuples(RATES, RATES), max_size=6),
    resumed=st.lists(st.integers(0, 30 * LOG_LINES), max_size=60).map(sorted),
)
def test_a_thinned_log_says_when_it_had_learned_and_how_long_it_took(
    tmp_path_factory: pytest.TempPathFactory,
    length: int,
    curve: dict[int, tuple[float | None, float | None]],
    resumed: list[int],
) -> None:
    log: list[Logged] = [(10 * n + 10, *curve.get(n, (None, None)), n, 1 + n % 13) for n in range(length)]
    folder = tmp_path_factory.getbasetemp() / "thinned"
    line = line_of(CELL, finished(folder, log, resumptions=[{"steps": steps} for steps in resumed]))
    steps, returns = (column(line, name).tolist() for name in (STEPS, RETURN))
    assert len(steps) == min(length, LOG_LINES)
    assert steps[:1] + steps[-1:] == [at for at, *_ in log[:1] + log[-1:]]

    def first(its: Iterable[tuple[float, float | None]], level: float) -> float | None:
        return next((at for at, value in its if value is not None and value >= level), None)

    for level in (0.0, THRESHOLD):
        assert first(zip(steps, returns, strict=True), level) == first(((at, its) for at, its, *_ in log), level)
    success = first(((at, its) for at, _, its, *_ in log), 0.99)
    clock = seconds([(at, elapsed, speed) for at, _, _, elapsed, speed in log], resumed)
    trained: dict[float, float] = dict(zip((at for at, *_ in log), clock, strict=True))
    told = result(line)
    assert told.get("steps_to_success") == success
    assert told.get("best_return") == max((its for _, its, *_ in log if its is not None), default=None)
    assert told.get("steps") == (log[-1][0] if log else None)
    for name, at in (("seconds", told.get("steps")), ("seconds_to_success", success)):
        assert told.get(name) == (None if at is None else pytest.approx(trained[at], abs=1e-3))


def test_lines_between_are_kept_evenly(tmp_path: Path) -> None:
    log = [(10 * n, n / 500, None, n, 10) for n in range(1, 501)]  # the threshold at 475
    line = line_of(CELL, finished(tmp_path / "run", log))
    steps = column(line, STEPS)
    assert {10, 4750, 5000} <= set(steps)
    assert np.diff(steps).max() <= 110
    np.testing.assert_array_equal(column(line, RETURN), steps / 5000)
    assert np.isnan(column(line, SUCCESS)).all()
    assert column(line, TRAINED)[-1] == 500.0


def test_the_best_return_is_told_though_its_line_is_not_kept(tmp_path: Path) -> None:
    log = [(10 * n, 0.75 if n == 123 else n / 1000, None, n, 10) for n in range(1, 501)]
    line = line_of(CELL, finished(tmp_path / "run", log))
    assert result(line)["best_return"] == 0.75
    del line["log"][BEST_RETURN]  # as in lines of before there was this column
    assert result(line)["best_return"] == 0.5


def test_what_the_first_few_episodes_had_does_not_count(tmp_path: Path) -> None:
    few, enough = (10, 1.0, 1.0, 1, 10), [(10 * n, 0.5, 0.5, n, 10) for n in range(2, 201)]
    enough[121] = (1230, THRESHOLD, 0.99, 123, 10)
    run = finished(tmp_path / "run", [few, *enough])
    head, first, *rest = run.progress.read_text().splitlines()
    run.progress.write_text("\n".join([head, first.removesuffix("1.0"), *rest]) + "\n")  # no best return yet
    line = line_of(CELL, run)
    assert result(line)["steps_to_success"] == 1230
    returns = judged(line, RETURN)
    assert np.isnan(returns[0])
    assert column(line, STEPS)[returns >= THRESHOLD].tolist() == [1230]
    assert column(line, RETURN)[0] == 1.0


def test_lines_are_read_as_they_were_written_and_are_short(tmp_path: Path) -> None:
    log = [(8192 * n, -0.1234567890123456 * n, 0.25, 9 * n, 910) for n in range(1, 501)]
    run = finished(tmp_path / "run", log, machine={"processor": "\N{GREEK SMALL LETTER MU}"})
    line = line_of(CELL, run)
    path = tmp_path / "runs.jsonl"
    assert read_lines(path) == {}
    write_lines(path, [line, {**line, "seed": 4}])
    assert read_lines(path) == {"maze/s7/seed3": line, "maze/s7/seed4": {**line, "seed": 4}}
    assert path.read_bytes().count(b"\n") == 2
    assert len(path.read_bytes()) < 2 * 4000
    assert line["config"] == read_json(run.config)
    assert line["evaluation"] == {"seed": 10_000, **SCORE}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"task": "maze", ', "JSONDecodeError: Expecting property name enclosed in double quotes"),
        ("<<<<<<< HEAD", "JSONDecodeError: Expecting value"),
        ("", "JSONDecodeError: Expecting value"),
        ("7", "TypeError: 'int' object is not subscriptable"),
        ('{"config": 7}', "TypeError: 'int' object is not iterable"),
        ("{}", "KeyError: 'config'"),
        ('{"config": {}, "evaluation": {"episodes": 2}, "log": {}}', "ValueError: it has no mean_length"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "runs.jsonl"
    write_lines(path, [line_of(CELL, finished(tmp_path / "run", []))])
    path.write_text(f"{path.read_text()}{text}\n")
    with pytest.raises(UsageError) as refusal:
        read_lines(path)
    assert str(refusal.value).startswith(f"{path} has a line 2 that cannot be read ({why}")
    assert str(refusal.value).endswith(
        "put it back, or take it out, and its run is read from its folder again, or made again where there is none"
    )
    assert "\n" not in str(refusal.value)


def test_a_run_without_a_whole_score_or_a_log_has_no_line(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", [])
    run.evaluation.write_text('{"episodes": 2}')
    with pytest.raises(UsageError, match=r"evaluation\.json holds no score"):
        line_of(CELL, run)
    run = finished(tmp_path / "run", [])
    run.progress.unlink()
    with pytest.raises(FileNotFoundError):
        line_of(CELL, run)


def test_a_run_of_another_version_has_a_line_all_the_same(tmp_path: Path) -> None:
    line = line_of(CELL, finished(tmp_path / "run", [(10, 1.0, 1.0, 1, 10)], settings={"strange": 1}))
    assert result(line)["steps_to_success"] == 10
