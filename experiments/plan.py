"""From a request to the settings of a run, with everything checked that can be without torch.

Importing torch takes seconds; a mistyped name should not.
"""

from __future__ import annotations

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


def plan(config: TrainConfig) -> tuple[RunSettings, Task]:
    """Finds the task and derives the run's settings.

    Raises:
        UsageError: a name is unknown, a value is out of range, or the run folder exists.
        TrainingError: the environment dies or hangs where one is made.
    """
    agent = named("agent", config.agent, AGENTS, "see `s7rl list agents`")
    if config.eval_episodes < 0:
        raise UsageError(f"--eval-episodes {config.eval_episodes} must not be negative; 0 skips the evaluation")
    if config.out is not None:
        check_is_free(Path(config.out))
    try:
        kwargs = read_assignments("--env-kwargs", config.env_kwargs)
        task = task_of_run(config.env, kwargs, config.wrappers, config.worker_timeout)
        settings = settings_for(task, agent, config)
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(str(error)) from error
    reward_shaping(settings)  # a mistyped function is answered at once, too
    return settings, task
