"""From a request to the settings of a run, with everything checked that can be without torch.

Importing torch takes seconds; a mistyped name should not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from s7rl.envs import Task
from s7rl.experiments.arguments import read_assignments
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.rewards import reward_shaping
from s7rl.experiments.run_folder import check_is_free
from s7rl.experiments.settings import RunSettings, settings_for
from s7rl.experiments.suggestions import named
from s7rl.experiments.tracking import check_installed


def named_task(env: str, env_kwargs: tuple[str, ...], wrappers: tuple[str, ...], worker_timeout: int) -> Task:
    """The task that a request names, by what it says of it.

    Raises:
        UsageError: an argument is no assignment.
        ValueError, TypeError, ImportError, TrainingError: as ``task_of_run``.
    """
    return task_of_run(env, read_assignments("--env-kwargs", env_kwargs), wrappers, worker_timeout)


def plan(config: TrainConfig, find: Callable[..., Task] = named_task) -> tuple[RunSettings, Task]:
    """Finds the task and derives the run's settings.

    Args:
        config: the request.
        find: ``named_task``, or what remembers its answers: making an environment may take seconds.

    Raises:
        UsageError: a name is unknown, a value is out of range, a tracker is not installed, or the run folder exists.
        TrainingError: the environment dies or hangs where one is made.
    """
    agent = named("agent", config.agent, AGENTS, "see `s7rl list agents`")
    if config.eval_episodes < 0:
        raise UsageError(f"--eval-episodes {config.eval_episodes} must not be negative; 0 skips the evaluation")
    check_installed(config.track)
    if config.out is not None:
        check_is_free(Path(config.out))
    try:
        task = find(config.env, config.env_kwargs, config.wrappers, config.worker_timeout)
        settings = settings_for(task, agent, config)
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(str(error)) from error
    reward_shaping(settings)  # a mistyped function is answered at once, too
    return settings, task
