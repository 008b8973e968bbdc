"""What a training run shows and keeps while it goes on, as one SB3 callback.

A bar with steps, return, success, speed and time left; without a terminal, a plain line now and then. Checkpoints: the
latest at least every half minute, where a rollout begins, with all that resuming needs; the best when the mean return
of the last episodes was never higher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from s7rl.agents.distributed import any_rank
from s7rl.experiments.learning_curve import BEST_RETURN
from s7rl.experiments.run_folder import RunFolder
from s7rl.experiments.settings import RunSettings

REDRAW_SECONDS = 0.25
LINE_SECONDS = 5.0
CHECKPOINT_SECONDS = 30.0
ENOUGH_EPISODES = 20
"""Fewer finished episodes say too little about an agent to call it the best so far."""


class StoppedBetweenRollouts(Exception):
    """Ends the training where a rollout would begin, after an update: the one place to go on from as if nothing was."""


def recent_returns(model: BaseAlgorithm) -> list[float]:
    """Returns of the last training episodes, up to ``stats_window_size`` of them."""
    return [float(episode["r"]) for episode in model.ep_info_buffer or ()]


def has_learned(model: BaseAlgorithm, stop_return: float | None) -> bool:
    """Whether as many training episodes as are averaged over have a mean return of at least ``stop_return``."""
    returns = recent_returns(model)
    enough = len(returns) == model._stats_window_size
    return stop_return is not None and enough and float(np.mean(returns)) >= stop_return


def rollout_ends(local_variables: Mapping[str, Any]) -> bool:
    """Whether a step is the last of a rollout, by what ``collect_rollouts`` tells a callback.

    There to judge an agent by its episodes: earlier, the last ones may be too few to show what the update before made
    of it; later, the next update has made another agent.
    """
    return bool(local_variables["n_steps"] + 1 == local_variables["n_rollout_steps"])


class StopBetweenRollouts(BaseCallback):
    """Stops the training when asked, on all ranks at once."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        """Args: stop: asked before each rollout; once it is true on any rank, ``StoppedBetweenRollouts`` is raised."""
        super().__init__()
        self._stop = stop

    def _on_rollout_start(self) -> None:
        stopping = any_rank(self._stop())
        self._before_rollout(stopping)
        if stopping:
            raise StoppedBetweenRollouts

    def _before_rollout(self, stopping: bool) -> None:
        """What else is done where a rollout begins, or the training ends."""

    def _on_step(self) -> bool:
        return True


class RunCallback(StopBetweenRollouts):
    """Shows progress, writes checkpoints, and stops the training when asked, or when enough has been learned."""

    def __init__(
        self,
        *,
        folder: RunFolder,
        settings: RunSettings,
        best_return: float,
        console: Console,
        stop: Callable[[], bool],
    ) -> None:
        """Prepares, and shows nothing yet.

        Args:
            folder: where the checkpoints go.
            settings: have the steps of the whole training, and the return at which it ends before them.
            best_return: the best mean return so far, of a run that is resumed; minus infinity for a new one.
            console: where progress is shown.
            stop: asked before each rollout; once it is true, the training is saved and ends with
                ``StoppedBetweenRollouts``.
        """
        # A resumed run may have learned enough already.
        super().__init__(lambda: stop() or has_learned(self.model, settings.stop_return))
        self.seconds = 0.0
        """Seconds since the training began, as of the last step or update."""
        self._folder = folder
        self._steps = settings.whole_steps
        self._stop_return = settings.stop_return
        self._has_learned = False
        self._console = console
        self._began = self._redrawn = self._saved = 0.0
        self._best_return = best_return
        self._steps_before = 0
        # No refreshing thread: it would compete with the network for the cores.
        self._bar = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=settings.steps, numbers="")

    def _on_training_start(self) -> None:
        self._began = self._redrawn = time.monotonic()
        self._steps_before = self.num_timesteps
        # A run that is interrupted in its first seconds leaves a loadable agent too.
        self._save_latest()
        if self._console.is_terminal:
            self._bar.start()

    def _before_rollout(self, stopping: bool) -> None:
        if stopping or time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            self._save_latest()

    def _on_step(self) -> bool:
        now = time.monotonic()
        self.seconds = now - self._began
        if now - self._redrawn >= (REDRAW_SECONDS if self._console.is_terminal else LINE_SECONDS):
            self._redrawn = now
            self._show()
        self._has_learned = rollout_ends(self.locals) and has_learned(self.model, self._stop_return)
        return not self._has_learned

    def _on_rollout_end(self) -> None:
        # The rollout's returns are those of the weights before the update that follows.
        returns = recent_returns(self.model)
        if len(returns) >= ENOUGH_EPISODES and np.mean(returns) > self._best_return:
            self._best_return = float(np.mean(returns))
            self.model.save(self._folder.best)
        if np.isfinite(self._best_return):
            self.logger.record(BEST_RETURN, self._best_return)

    def _on_training_end(self) -> None:
        if self._has_learned:  # before the rollout's end was told
            self._on_rollout_end()
            self.model.dump_logs()
        self.close()

    def close(self) -> None:
        """Takes the bar away."""
        self.seconds = time.monotonic() - self._began
        self._bar.stop()

    def _save_latest(self) -> None:
        self.model.save(self._folder.latest, resumable=True)  # type: ignore[call-arg]  # RecurrentPPO's own argument
        self._saved = time.monotonic()

    def _show(self) -> None:
        steps = self.num_timesteps
        done = min(steps, self._steps)  # one that earlier versions stopped within a rollout ends beyond
        numbers = self._numbers()
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, numbers=numbers, refresh=True)
        else:
            left = self.seconds / (steps - self._steps_before) * (self._steps - done)
            self._console.print(f"{done / self._steps:4.0%}  {numbers}  {left:.0f} s left", soft_wrap=True)

    def _numbers(self) -> str:
        returns, successes = recent_returns(self.model), self.model.ep_success_buffer or ()
        parts = [f"{self.num_timesteps:,} steps"]
        if returns:
            parts.append(f"return {np.mean(returns):.2f}")
        if successes:
            parts.append(f"success {np.mean(successes):.2f}")
        done = self.num_timesteps - self._steps_before
        parts.append(f"{done / self.seconds:,.0f} steps/s" if self.seconds else "")
        return "  ".join(parts)
