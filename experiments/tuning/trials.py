"""One trial: an agent that learns with the options that are tried, for a while, and its score.

Trials learn in environments with seeds from ``LEARNING_SEED`` on and are scored with those from ``SCORING_SEED`` on.
The evaluations of `s7rl train` and `s7rl evaluate` use neither, so that a preset is never chosen by the episodes that
it is judged by later. Every trial learns with a seed of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np
import optuna
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from stable_baselines3.common.logger import Logger

from s7rl.agents import NumericalError
from s7rl.envs import Task
from s7rl.envs.rewards import RewardError
from s7rl.experiments.building import MEMORY_REMEDY, build, check_device
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.errors import MemoryShortage, TrainingError, memory_shortage
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.progress import REDRAW_SECONDS, StopBetweenRollouts, StoppedBetweenRollouts, recent_returns
from s7rl.experiments.settings import RunSettings, settings_for
from s7rl.experiments.train import evaluate_agent
from s7rl.experiments.tuning.search_spaces import options_of, space_of, with_options
from s7rl.experiments.tuning.study import LOOKS, OPTIONS, make_sampler

SCORING_SEED = 1_000_000
"""Seed of the first environment that a trial is scored in."""
LEARNING_SEED = 2_000_000
"""Seed of the first environment that the first trial of a study with seed 0 learns in."""
ENDED = "ended"
"""The attribute of a pruned trial that says why."""
GO_ON = "the same command again goes on with the study"


class TrialBar:
    """How far the trial is that this process is at, on a terminal."""

    def __init__(self, console: Console, trials: int) -> None:
        """Args: console: where it is shown.  trials: how many the study is to have."""
        # No refreshing thread: it would compete with the network for the cores.
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[mean]}  left"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=1.0, mean="")
        self._trials = trials
        self._redrawn = 0.0

    def __enter__(self) -> TrialBar:
        """Shows the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Takes the bar away."""
        self._bar.stop()

    def begin(self, number: int) -> None:
        """A trial begins."""
        self._bar.reset(self._task, description=f"trial {number} ({self._trials} in all)", mean="")

    def show(self, share: float, returns: list[float]) -> None:
        """A share of the trial is done, and its last episodes had these returns."""
        if time.monotonic() - self._redrawn >= REDRAW_SECONDS:
            self._redrawn = time.monotonic()
            mean = f"return {np.mean(returns):.2f}" if returns else ""
            self._bar.update(self._task, completed=min(share, 1.0), mean=mean, refresh=True)


class TrialCallback(StopBetweenRollouts):
    """Holds the returns of a trial against those of others while it learns, and stops it where they are better."""

    def __init__(self, trial: optuna.Trial, steps: int, bar: TrialBar, stop: Callable[[], bool]) -> None:
        """Prepares.

        Args:
            trial: to report to.
            steps: environment steps of the trial.
            bar: shows how far it is.
            stop: asked before each rollout.
        """
        super().__init__(stop)
        self._trial = trial
        self._steps = steps
        self._bar = bar
        self._look = 0

    def _on_step(self) -> bool:
        self._bar.show(self.num_timesteps / self._steps, recent_returns(self.model))
        return True

    def _on_rollout_end(self) -> None:
        look, returns = min(LOOKS * self.num_timesteps // self._steps, LOOKS), recent_returns(self.model)
        if look == self._look or not returns:
            return
        self._look = look
        self._trial.report(float(np.mean(returns)), look)
        # At the last look there is nothing left to save.
        if look < LOOKS and self._trial.should_prune():
            self._trial.set_user_attr(ENDED, f"behind others after {look / LOOKS:.0%} of the steps")
            raise optuna.TrialPruned


class Objective:
    """What Optuna maximises: the mean return, on fresh seeds, of an agent that learned with the options of a trial."""

    def __init__(
        self, task: Task, request: TrainConfig, *, seed: int, sampler: str, bar: TrialBar, stop: Callable[[], bool]
    ) -> None:
        """Prepares.

        Args:
            task: what is learned.
            request: what does not change from trial to trial.
            seed: of the study.
            sampler: what chooses the options, see ``study.make_sampler``.
            bar: shows how far a trial is.
            stop: asked while a trial goes on; once it is true, the trial ends by ``StoppedBetweenRollouts``.
        """
        check_device(request.device)
        self._task = task
        self._request = request
        self._space = space_of(task, request)
        self._seed = seed
        self._sampler = sampler
        self._bar = bar
        self._stop = stop

    def __call__(self, trial: optuna.Trial) -> float:
        """Makes a trial.

        Returns:
            Its score.

        Raises:
            TrialPruned: others are better, a number became nan or infinite, or memory did not suffice.
            StoppedBetweenRollouts: it was asked to stop.
            TrainingError: an environment or a function of the user's failed.
        """
        self._bar.begin(trial.number)
        # One for each trial: no two processes draw the same, and a study that was stopped goes on as if it was not.
        trial.study.sampler = make_sampler(self._sampler, self._seed + trial.number)
        request = with_options(self._request, {name: ask(trial, name) for name, ask in self._space.items()})
        trial.set_user_attr(OPTIONS, {"agent": request.agent, **options_of(request)})
        seed = LEARNING_SEED + self._seed + trial.number
        settings = settings_for(self._task, AGENTS[request.agent], replace(request, seed=seed))
        try:
            with memory_shortage(MEMORY_REMEDY):
                return self._score(trial, settings)
        except MemoryShortage as error:
            trial.set_user_attr(ENDED, str(error))  # the next may be smaller
            raise optuna.TrialPruned from error

    def _score(self, trial: optuna.Trial, settings: RunSettings) -> float:
        model, vec_env = build(settings)
        model.set_logger(Logger(None, []))  # SB3's own makes a folder in /tmp
        callback = TrialCallback(trial, settings.steps, self._bar, self._stop)
        with closing(vec_env), environment_failures(lambda: GO_ON), TemporaryDirectory() as folder:
            try:
                model.learn(settings.steps, callback=callback)
            except NumericalError as error:
                trial.set_user_attr(ENDED, str(error))
                raise optuna.TrialPruned from error
            except RewardError as error:
                raise TrainingError(f"{str(error).removesuffix('.')}; {GO_ON}") from error
            checkpoint = Path(folder) / "agent.zip"  # for the statistics of the observations
            model.save(checkpoint)
            evaluations = evaluate_agent(
                model, settings, checkpoint, self._request.eval_episodes, seed=SCORING_SEED, stop=self._stop
            )
        if not evaluations:
            raise StoppedBetweenRollouts
        return evaluations[0].mean_return
