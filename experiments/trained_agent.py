"""A trained agent, opened to play: what `s7rl evaluate`, `s7rl watch` and `s7rl inspect` begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents import RecurrentPPO
from s7rl.envs import Task
from s7rl.envs.registry import find_spec
from s7rl.experiments.agent_config import PlayConfig
from s7rl.experiments.agent_folders import check_holds_no_code, find_checkpoint, open_agent_folder
from s7rl.experiments.arguments import read_assignments
from s7rl.experiments.building import make_evaluation_vec, usable
from s7rl.experiments.errors import UsageError
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.run_folder import RunFolder
from s7rl.experiments.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class TrainedAgent:
    """An agent with the run that it comes from."""

    folder: RunFolder
    """Of the run."""
    settings: RunSettings
    """Of the run, with the environment that it is to play in."""
    task: Task
    """What it is to play."""
    checkpoint: Path
    """The file of the agent."""
    model: RecurrentPPO
    """The agent, on whatever device there is."""
    seed: int
    """Of the first environment that it plays in."""

    def environments(self, n_envs: int, max_steps: int | None) -> VecEnv:
        """Environments of the task, seeded, with observations scaled as in the checkpoint.

        Arguments and errors are those of :func:`~s7rl.experiments.building.make_evaluation_vec`.
        """
        return make_evaluation_vec(self.settings, self.model, self.checkpoint, n_envs, self.seed, max_steps)


def open_agent(config: PlayConfig, env: str | None = None, env_kwargs: Sequence[str] = ()) -> TrainedAgent:
    """Opens an agent.

    Args:
        config: names it.
        env: what it is to play in; None: what it was trained in.
        env_kwargs: name=value, arguments of ``env``; without ``env`` they replace those of the training by name.

    Raises:
        UsageError: the run, the request, or what the run needs cannot be used.
        TrainingError: the environment died or did not answer when it was made.
    """
    folder = open_agent_folder(config.run)
    settings = folder.settings()
    for option, number in (("episodes", config.episodes), ("max-steps", config.max_steps)):
        if number is not None and number < 1:
            raise UsageError(f"--{option} {number} must be at least 1")
    if config.seed is not None and config.seed < 0:
        raise UsageError(f"--seed {config.seed} must not be negative")
    checkpoint = find_checkpoint(folder, config.checkpoint)
    asked = [] if env is None else ["--env", env]
    asked += ["--env-kwargs", *env_kwargs] if env_kwargs else []
    if asked:
        settings = _elsewhere(settings, env, env_kwargs)
    check_holds_no_code(folder, settings)
    with usable(" ".join(asked) or checkpoint):  # without options the task, too, is the agent's
        find_spec(settings.env_id)  # what it needs may not be installed here
        task = task_of_run(settings.env_id, settings.env_kwargs, settings.wrappers, settings.worker_timeout)
    with usable(checkpoint):
        return TrainedAgent(
            folder=folder,
            settings=settings,
            task=task,
            checkpoint=checkpoint,
            # It may have been trained where there is a GPU, and play where there is none.
            model=RecurrentPPO.load(checkpoint, device="auto"),
            seed=settings.evaluation_seed if config.seed is None else config.seed,
        )


def _elsewhere(settings: RunSettings, env: str | None, words: Sequence[str]) -> RunSettings:
    """The settings of a run with another environment in it, or with other arguments of the same."""
    env_kwargs = read_assignments("--env-kwargs", words)
    if env is None:
        env, env_kwargs = settings.env_id, {**settings.env_kwargs, **env_kwargs}
    # What is asked for need not have the batched engine that the training had.
    workers = "auto" if settings.workers == "batched" else settings.workers
    return replace(settings, env_id=env, env_kwargs=env_kwargs, workers=workers)
