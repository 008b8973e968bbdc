"""The scores of an experiment as a table in Markdown, for a README."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from s7rl.experiments.finished_runs import SUCCESS_LEVEL
from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.data import Run
from s7rl.experiments.report.findings import digits, shown
from s7rl.experiments.statistics import Estimate


def markdown_table(analysis: Analysis) -> str:
    """One line for each agent on each task, as far as there are finished runs.

    A score is the success rate of the final evaluation where every task tells one, else its mean return, of each seed;
    beside them stands their interquartile mean with its interval, where there are three or more. Steps and minutes are
    those of the training, which ends at its budget or once it has learned enough: the median of the seeds. Where tasks
    tell success, those until 99 % of the last training episodes had it are there, too: the median of the seeds that
    came so far, with their number where it was not all.

    Args:
        analysis: the numbers.
    """
    record = analysis.record
    tells_success = all(run.success_rate is not None for run in record.runs)
    name, estimates = ("success", analysis.success) if tells_success else ("return", analysis.estimates)
    head = ["task", "agent", "seeds", name, "IQM (95 %)", "steps", "minutes"]
    head += [f"to {SUCCESS_LEVEL}"] if tells_success else []
    rows = [head, ["---"] * len(head)]
    for task, agent in analysis.pairs:
        runs = record.of(task, agent)
        rows.append([task, f"`{agent}`", *_numbers(runs, estimates[task, agent], tells_success)])
        rows[-1] += [_to_success(runs)] if tells_success else []
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _numbers(runs: Sequence[Run], estimate: Estimate, tells_success: bool) -> list[str]:
    logged = [run for run in runs if run.steps_done]  # what ended before its first line has no steps to tell
    scores = [run.success_rate if tells_success else run.score for run in runs]
    return [
        _seeds([run.cell.seed for run in runs]),
        ", ".join(digits(score) for score in scores if score is not None),
        shown(estimate) if len(runs) > 2 else "",
        _steps([run.steps_done for run in logged]) if logged else "",
        _minutes([run.seconds for run in logged]) if logged else "",
    ]


def _to_success(runs: Sequence[Run]) -> str:
    """0.11M, 0.1 min; or 3 of 5: 15.73M, 11.2 min."""
    came = [run.to_success for run in runs if run.to_success is not None]
    if not came:
        return ""
    share = "" if len(came) == len(runs) else f"{len(came)} of {len(runs)}: "
    return f"{share}{_steps([its.steps for its in came])}, {_minutes([its.seconds for its in came])} min"


def _steps(numbers: Sequence[int]) -> str:
    return f"{statistics.median(numbers) / 1e6:.2f}M"


def _minutes(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) / 60:.1f}"


def _seeds(seeds: Sequence[int]) -> str:
    """0 to 4; or 0, 2."""
    is_range = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))
