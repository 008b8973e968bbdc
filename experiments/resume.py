"""`s7rl resume`: goes on with a run that was interrupted or killed, exactly as if it had not been."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from rich.console import Console
from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents import RecurrentPPO
from s7rl.agents.distributed import rank, world_size
from s7rl.experiments.building import build, make_environments, ranks, step_size
from s7rl.experiments.config import ResumeConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.progress import has_learned
from s7rl.experiments.run_folder import RunFolder, open_run_folder
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.sharing import share_of
from s7rl.experiments.tracking import check_installed, trackers_of
from s7rl.experiments.train import carry_out, learn_along
from s7rl.experiments.wording import say


def resume(config: ResumeConfig, command: Sequence[str], console: Console) -> int:
    """Takes up a run where its last checkpoint stands, and does what was left of it.

    Args:
        config: the request.
        command: the words it was made of, for the run folder.
        console: where everything is shown.

    Returns:
        The exit code: 0, or 128 and the number of the signal that ended the training.

    Raises:
        UsageError: the run folder or the request cannot be used, or another process is at work on the run.
    """
    folder = open_run_folder(config.run)
    before = folder.settings()
    check_installed(trackers_of(folder))
    if config.eval_episodes < 0:
        raise UsageError(f"--eval-episodes {config.eval_episodes} must not be negative; 0 skips the evaluation")
    try:
        settings = before if config.steps is None else replace(before, steps=config.steps)
        task = task_of_run(settings.env_id, settings.env_kwargs, settings.wrappers, settings.worker_timeout)
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(str(error)) from error
    with ranks(settings.device), folder.locked() if rank() == 0 else nullcontext():
        if rank() > 0:
            console = Console(quiet=True)
        model, vec_env = _restore(folder, settings, console, new_steps=settings.steps != before.steps)
        model.debug_anomalies = config.debug_anomalies
        done = model.num_timesteps
        if config.steps is not None and config.steps <= done:
            raise UsageError(f"--steps {config.steps} must be above the {done:,} that RUN {config.run} has done")
        learned = has_learned(model, settings.stop_return)
        if learned and config.steps is not None:
            settings, learned = replace(settings, stop_return=None), False  # it would stop at once
        if (done >= settings.steps or learned) and (folder.evaluation.exists() or not config.eval_episodes):
            enough = f", and it has reached its --stop-return of {settings.stop_return}" if learned else ""
            say(console, f"{folder.path} is finished: {done:,} steps are done{enough}. Give --steps to train on")
            return 0
        if rank() > 0:
            return learn_along(model, vec_env, settings)
        folder.remove_unfinished()
        if done < settings.steps and not learned:
            folder.evaluation.unlink(missing_ok=True)  # the score of an agent that the next checkpoint replaces
        if settings.steps != before.steps and settings.anneal:
            say(console, f"the step size now falls to 0 at {settings.steps:,} steps, not at {before.steps:,}")
        folder.note_resumption(settings, command, done)
        return carry_out(model, vec_env, folder, settings, task, config.eval_episodes, console)


def _restore(
    folder: RunFolder, settings: RunSettings, console: Console, *, new_steps: bool
) -> tuple[RecurrentPPO, VecEnv]:
    """The agent and its environments, as far as the folder holds them."""
    if not folder.resumable.is_file() and not folder.latest.is_file():
        if folder.has_begun:
            raise UsageError(
                f"RUN {folder.path} has trained, but {folder.latest.name} and {folder.resumable.name} are missing: "
                "put them back, or train anew in another folder"
            )
        say(console, f"{folder.path} has no checkpoint, its training never began: it begins now")
        return build(settings)
    vec_env = make_environments(settings)
    # Another number of steps is another schedule.
    options: dict[str, Any] = {"learning_rate": step_size(settings)} if new_steps else {}
    if "compile_policy" in settings.ppo_kwargs:
        options["compile_policy"] = settings.ppo_kwargs["compile_policy"]  # a checkpoint does not keep it
    # The checkpoint has a rank's share, and there may have been more or fewer of them.
    options["batch_size"] = share_of(settings, rank(), world_size()).batch_size
    try:
        if not folder.resumable.is_file():
            say(console, f"{folder.path} has no {folder.resumable.name}: its episodes start anew")
            return RecurrentPPO.load(folder.latest, vec_env, device=settings.device, **options), vec_env
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = RecurrentPPO.resume(folder.latest, vec_env, device=settings.device, **options)
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(str(error)) from error
    for warning in said:
        say(console, str(warning.message))
    return model, vec_env
