"""What comes of a study: a line for each trial, the preset of the best, and tables at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from s7rl.experiments.arguments import write_assignments
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.preset_files import write_preset
from s7rl.experiments.tuning.search_spaces import options_of
from s7rl.experiments.tuning.study import OPTIONS, completed
from s7rl.experiments.tuning.trials import ENDED
from s7rl.experiments.wording import plural, program, say

SHOWN = 5
"""Trials in the table."""
ENOUGH_TRIALS = 10
"""With fewer that have a score, nothing can be said of which options mattered."""


def announce(trial: FrozenTrial, request: TrainConfig, console: Console) -> None:
    """Prints how a trial ended."""
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    how = f"return {trial.value:.3f}" if trial.state == TrialState.COMPLETE else f"pruned: {trial.user_attrs[ENDED]}"
    say(console, f"trial {trial.number:<4} {how}, in {seconds:.0f} s: {_searched(trial, request)}")


def keep_best(study: optuna.Study, folder: Path, request: TrainConfig) -> Path | None:
    """Writes the preset of the best trial so far, and gives its path; None where no trial has a score."""
    best = next(iter(completed(study)), None)
    if best is None:
        return None
    path = folder / "best.toml"
    comment = (
        f"trial {best.number} of {folder.name}: return {best.value:.3f} in {plural(request.eval_episodes, 'episode')} "
        f"after {plural(request.steps or 0, 'step')} of {request.env} {' '.join(request.env_kwargs)}".rstrip()
    )
    write_preset(path, best.user_attrs[OPTIONS], comment)
    return path


def conclude(study: optuna.Study, folder: Path, request: TrainConfig, console: Console) -> None:
    """Prints the best trials, which options mattered, and what to type next."""
    trials, scored = study.get_trials(deepcopy=False), completed(study)
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    say(console, f"{plural(len(scored), 'trial')} with a score, {pruned} pruned")
    if running:
        say(console, f"{running} still under way in other processes; what was killed counts as such for a minute")
    preset = keep_best(study, folder, request)
    if preset is None:
        say(console, "no trial has a score: raise --trials, or give another --learning-rate or --pruner none")
        return
    console.print(_best(scored[:SHOWN], request))
    if scored[0].value == scored[-1].value:
        say(console, "no option mattered: all trials with a score have the same")
    elif len(scored) < ENOUGH_TRIALS:
        say(console, f"which options mattered cannot be said of fewer than {ENOUGH_TRIALS} trials with a score")
    else:
        console.print(_importances(study))
    words = ["train", request.env, *_list("--env-kwargs", request.env_kwargs), *_list("--wrappers", request.wrappers)]
    say(console, f"best:  {preset}")
    say(console, f"next:  {program('s7rl')} {' '.join(map(quote, [*words, '--preset', str(preset)]))}")


def _searched(trial: FrozenTrial, request: TrainConfig) -> str:
    """The options of a trial that the request left open."""
    options = _flat(trial.user_attrs[OPTIONS])
    given = {"agent", *_flat(options_of(request))}
    return write_assignments({name: value for name, value in options.items() if name not in given})


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**options, **options.get("core_kwargs", {})}
    flat.pop("core_kwargs", None)
    return flat


def _best(trials: list[FrozenTrial], request: TrainConfig) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("return", justify="right", no_wrap=True)
    table.add_column("options", overflow="fold")
    for trial in trials:
        table.add_row(str(trial.number), f"{trial.value:.3f}", Text(_searched(trial, request)))
    return table


def _importances(study: optuna.Study) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("what mattered")
    table.add_column("share", justify="right")
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()  # Optuna 4 had another by default, on scikit-learn
    for name, share in optuna.importance.get_param_importances(study, evaluator=evaluator).items():
        table.add_row(Text(name), f"{share:.0%}")
    return table


def _list(option: str, words: tuple[str, ...]) -> list[str]:
    return [option, *words] if words else []
