"""`s7rl tune`: from a request to a study, its trials, and the preset of the best; without torch until it is clear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from s7rl.experiments.arguments import MOST_SEED
from s7rl.experiments.config import LearnConfig, TrainConfig, TuneConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.interruption import stop_on_signals
from s7rl.experiments.plan import plan
from s7rl.experiments.settings import as_json
from s7rl.experiments.tuning.search_spaces import space_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

PART = 4
"""A trial makes one step of so many that a training would."""
INSTALL = "pip install 's7rl[tune]'"


def tune(config: TuneConfig, console: Console) -> int:
    """Begins a study or goes on with it until it has its trials, and shows what came of it.

    Args:
        config: the request.
        console: where everything is shown.

    Returns:
        The exit code: 0, or 128 and the number of the signal that stopped it.

    Raises:
        UsageError: the request cannot be fulfilled.
        TrainingError: an environment or a function of the user's failed.
    """
    _check(config)
    given = {field.name: getattr(config, field.name) for field in fields(LearnConfig)}
    request = TrainConfig(**given, eval_episodes=config.eval_episodes)
    settings, task = plan(request)
    steps = config.steps or max(settings.steps // PART, 1)
    request = replace(request, steps=steps)
    space = space_of(task, request)
    if not space:
        raise UsageError("every option that would be searched is given: leave some of them out")
    name = f"{settings.env_id.rsplit('/', 1)[-1]}-{config.agent}"
    folder = Path(config.out or Path(config.runs) / "tune" / name)
    from s7rl.experiments.tuning.outcome import announce, conclude, keep_best
    from s7rl.experiments.tuning.study import open_study
    from s7rl.experiments.tuning.trials import Objective, TrialBar
    from s7rl.experiments.wording import plural, say

    # The default of what is searched decides no trial.
    derived = as_json(replace(settings, steps=steps))
    derived["core_kwargs"] = {name: value for name, value in derived["core_kwargs"].items() if name not in space}
    derived = {"searched": sorted(space)} | {name: value for name, value in derived.items() if name not in space}
    study = open_study(replace(config, steps=steps), folder, derived)
    say(console, f"{folder}: {plural(config.trials, 'trial')} of {plural(steps, 'step')}")
    line = "stopping after this update (Ctrl-C again: at once); the trial that is under way is lost"
    with stop_on_signals(line) as interruption, TrialBar(console, config.trials) as bar:
        objective = Objective(
            task, request, seed=config.seed, sampler=config.sampler, bar=bar, stop=lambda: interruption.requested
        )

        def note(trial: FrozenTrial) -> None:
            announce(trial, request, console)
            keep_best(study, folder, request)

        run_trials(study, objective, config.trials, stop=lambda: interruption.requested, note=note)
    if interruption.requested:
        say(console, f"stopped; to go on: the same command again. The study is in {folder}")
        return interruption.exit_code
    conclude(study, folder, request, console)
    return 0


def run_trials(
    study: Study,
    objective: Callable[[Trial], float],
    trials: int,
    *,
    stop: Callable[[], bool],
    note: Callable[[FrozenTrial], None] = lambda trial: None,
) -> None:
    """Makes trials until the study has enough of them, those of other processes included.

    Args:
        study: what they belong to.
        objective: makes one, and gives its score.
        trials: how many the study is to have.
        stop: asked before each; once it is true, the exception by which the objective ended is no error.
        note: called after each that was finished.
    """
    from s7rl.experiments.tuning.study import count_trials

    while not stop() and count_trials(study) < trials:
        try:
            study.optimize(objective, n_trials=1, callbacks=[lambda _, trial: note(trial)])
        except (Exception, KeyboardInterrupt):
            if not stop():
                raise
            return


def _check(config: TuneConfig) -> None:
    for package in ("optuna", "tomli_w", *(["cmaes"] if config.sampler == "cmaes" else [])):
        if find_spec(package) is None:
            raise UsageError(f"s7rl tune needs {package}, which is not installed: {INSTALL}")
    if config.trials < 1:
        raise UsageError(f"--trials {config.trials} must be at least 1")
    if config.eval_episodes < 1:
        raise UsageError(f"--eval-episodes {config.eval_episodes} must be at least 1: they are the score of a trial")
    if not 0 <= config.seed <= MOST_SEED:
        raise UsageError(f"--seed {config.seed} must be from 0 to {MOST_SEED}")
