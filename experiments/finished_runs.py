"""runs.jsonl of an experiment: a line for each finished run, with all that is told of it.

A run folder holds hundreds of kB of weights and stays where it was made. A line is a few kB of JSON, so that an
experiment is taken elsewhere, or kept in git, without them:

    task, agent, seed  the cell
    config             config.json
    evaluation         evaluation.json, without the lists of single episodes
    log                columns of progress.csv, thinned to at most ``LOG_LINES``, and the seconds trained until each

What is worked out of the whole log is worked out of the thinned one with the same result: it keeps the first and the
last line, and those that are the first with a return, with success, and with the return that counts as having learned.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from s7rl.checks import error_line
from s7rl.experiments.errors import UsageError
from s7rl.experiments.grid import Cell
from s7rl.experiments.learning_curve import BEST_RETURN, RETURN, SUCCESS, read_columns
from s7rl.experiments.run_folder import STEPS, RunFolder, read_json, settings_from
from s7rl.experiments.yardsticks import yardsticks_of
from s7rl.files import write_atomically

Line: TypeAlias = dict[str, Any]
LOG_LINES = 50
"""That are kept of a log, at most."""
SUCCESS_LEVEL = 0.99
"""Success rate of the last training episodes that counts as success."""
TRAINED = "seconds"
"""The column of seconds that the run had trained."""
SCORE = ("episodes", "mean_return", "standard_error", "success_rate", "mean_length")
RESULTS = ("task", "agent", "seed", *SCORE, "steps", "seconds", "steps_to_success", "seconds_to_success", "best_return")
"""Columns of results.csv.  The last is the best mean return of the last training episodes, which POPGym calls MMER
(Morad et al. 2023, arXiv 2303.01859)."""
_SECONDS, _SPEED = "time/time_elapsed", "time/fps"
_PARTS = {"config": (), "evaluation": SCORE, "log": (STEPS, RETURN, SUCCESS, TRAINED)}
_OF_EPISODES = ("returns", "lengths")


def read_lines(path: Path) -> dict[str, Line]:
    """The lines of a file by the names of their cells; none where there is no file.

    Raises:
        UsageError: a line is damaged.
    """
    lines = {}
    for number, text in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            line = json.loads(text)
            missing = [name for part, names in _PARTS.items() for name in sorted({*names} - dict(line[part]).keys())]
            if missing:
                raise ValueError(f"it has no {missing[0]}")
            lines[f"{line['task']}/{line['agent']}/seed{line['seed']}"] = line
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} has a line {number} that cannot be read ({error_line(error)}): put it back, or take it out, "
                "and its run is read from its folder again, or made again where there is none"
            ) from error
    return lines


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Writes the file, in place of an older one."""
    texts = (json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines)
    write_atomically(path, "".join(texts).encode())


def line_of(cell: Cell, run: RunFolder) -> Line:
    """The line of a run that has a score.

    Raises:
        OSError, ValueError, KeyError, UsageError: a file of its folder is missing or damaged.
    """
    config, evaluation = read_json(run.config), read_json(run.evaluation)
    if not evaluation.keys() >= set(SCORE):
        raise UsageError(f"{run.evaluation} holds no score")
    return {
        "task": cell.task,
        "agent": cell.agent,
        "seed": cell.seed,
        "config": config,
        "evaluation": {name: value for name, value in evaluation.items() if name not in _OF_EPISODES},
        "log": _thinned(run, config),
    }


def result(line: Line) -> dict[str, Any]:
    """A line of results.csv, by the names in ``RESULTS``."""
    log, success = line["log"], to_success(line)
    ends = {"steps": log[STEPS][-1], "seconds": log[TRAINED][-1]} if log[STEPS] else {}
    if success is not None:
        ends |= {"steps_to_success": success.steps, "seconds_to_success": success.seconds}
    # Lines made before the column was kept have the best of the returns that were kept, at least.
    best = column(line, BEST_RETURN if BEST_RETURN in log else RETURN)
    if np.isfinite(best).any():
        ends["best_return"] = float(np.nanmax(best))
    return {**line["evaluation"], **line, **ends}


class ToSuccess(NamedTuple):
    """What a run took until the share of its last training episodes that succeed first was ``SUCCESS_LEVEL``."""

    steps: int
    """Environment steps."""
    seconds: float
    """Of training; nan where they were not logged."""


def to_success(line: Line) -> ToSuccess | None:
    """What a run took until it succeeded; None where it never did, or its task does not say."""
    success = _first(judged(line, SUCCESS), SUCCESS_LEVEL)
    if success is None:
        return None
    return ToSuccess(line["log"][STEPS][success], float(column(line, TRAINED)[success]))


def judged(line: Line, name: str) -> Float[np.ndarray, " lines"]:
    """A column of means over the last training episodes; nan where so few had ended that they say nothing.

    Of the first three episodes all may succeed by luck.  Where enough had ended, there is a best return; a log without
    any is one of before it was kept, or of few episodes, and all of it counts.
    """
    values = column(line, name)
    enough = np.isfinite(column(line, BEST_RETURN)) if BEST_RETURN in line["log"] else np.zeros(len(values), bool)
    return np.where(enough, values, np.nan) if enough.any() else values


def column(line: Line, name: str) -> Float[np.ndarray, " lines"]:
    """A column of a thinned log; missing values are nan."""
    return np.array(line["log"][name], dtype=np.float64)  # None becomes nan


def training_seconds(
    steps: Float[np.ndarray, " lines"],
    seconds: Float[np.ndarray, " lines"],
    speed: Float[np.ndarray, " lines"],
    *,
    resumed_at: Sequence[int] = (),
) -> Float[np.ndarray, " lines"]:
    """How long a run had trained at each line of a log whose clock starts anew with every resumption.

    The log has whole seconds and whole steps a second, both rounded down: the larger of the two is more exact.

    Args:
        steps: environment steps of the whole run.
        seconds: since it began, or was last resumed.
        speed: steps a second since then.
        resumed_at: the steps that were done when it was resumed, in order.

    Returns:
        Seconds, without what was lost where the run was stopped.
    """
    part = np.searchsorted(resumed_at, steps)  # how often it had been resumed
    made = steps - np.array([0, *resumed_at])[part]
    within = np.divide(made, speed, out=seconds.copy(), where=speed > seconds)
    before = np.zeros(len(steps))
    (last,) = np.nonzero(np.diff(part))
    before[last + 1] = within[last]
    trained: NDArray[np.float64] = within + np.cumsum(before)
    return trained


def _thinned(run: RunFolder, config: Mapping[str, Any]) -> dict[str, list[int | float | None]]:
    log = read_columns(run.progress, (STEPS, RETURN, BEST_RETURN, SUCCESS, _SECONDS, _SPEED))
    resumed_at = [int(its["steps"]) for its in config.get("resumptions", ())]
    seconds = training_seconds(log[STEPS], log.pop(_SECONDS), log.pop(_SPEED), resumed_at=resumed_at)
    kept = _kept({"log": log}, _threshold(config))
    return {name: [_number(its[line]) for line in kept] for name, its in {**log, TRAINED: seconds.round(3)}.items()}


def _kept(line: Line, threshold: float | None) -> list[int]:
    """Which lines of a log to keep: those that something is worked out of, and as many as there is room for between."""
    returns, success = judged(line, RETURN), judged(line, SUCCESS)
    firsts = (_first(returns, -math.inf), _first(returns, threshold), _first(success, SUCCESS_LEVEL))
    needed = {place for place in firsts if place is not None}
    others = [place for place in range(len(returns)) if place not in needed]
    # The first and the last of them are among these.
    even = np.linspace(0, len(others) - 1, min(LOG_LINES - len(needed), len(others))).round()
    return sorted(needed | {others[int(place)] for place in even})


def _first(values: Float[np.ndarray, " lines"], level: float | None) -> int | None:
    """The first line that reaches a level."""
    reached = values >= (math.inf if level is None else level)
    return int(reached.argmax()) if reached.any() else None


def _threshold(config: Mapping[str, Any]) -> float | None:
    try:
        return yardsticks_of(settings_from(config, "")).threshold
    except UsageError:
        return None  # of another version of s7rl, whose settings a report refuses


def _number(value: float) -> int | float | None:
    """As short as JSON can have it."""
    number = float(value)
    return None if not math.isfinite(number) else int(number) if number.is_integer() else number
