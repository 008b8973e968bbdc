"""`s7rl evaluate`: the score of a trained agent on fresh seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from s7rl.agents import RecurrentPPO
from s7rl.envs.registry import find_spec
from s7rl.experiments.config import EvaluateConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.run_folder import RunFolder, open_run_folder, write_json
from s7rl.experiments.summary import print_score, say, verdict
from s7rl.experiments.train import evaluate_agent


def evaluate(config: EvaluateConfig, console: Console) -> int:
    """Loads an agent, plays, and prints the score.

    Args:
        config: the request.
        console: where the score is shown.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the run folder or the request cannot be used.
        TrainingError: an environment failed.
    """
    folder = open_run_folder(config.run)
    settings = folder.settings()
    if config.episodes < 1:
        raise UsageError(f"--episodes {config.episodes} must be at least 1")
    if config.seed is not None and config.seed < 0:
        raise UsageError(f"--seed {config.seed} must not be negative")
    if config.out is not None and Path(config.out).exists():
        raise UsageError(f"--out {config.out} exists already, and nothing is overwritten: give another file")
    if config.out is not None and not Path(config.out).parent.is_dir():
        raise UsageError(f"--out {config.out} lies in a folder that does not exist: make it first")
    checkpoint = find_checkpoint(folder, config.checkpoint)
    seed = settings.evaluation_seed if config.seed is None else config.seed
    try:
        find_spec(settings.env_id)  # what it needs may not be installed here
        task = task_of_run(settings.env_id, settings.env_kwargs, settings.wrappers, settings.worker_timeout)
        # The agent may have been trained where there is a GPU, and evaluated where there is none.
        model = RecurrentPPO.load(checkpoint, device="auto")
        with environment_failures(lambda: "nothing was written"):
            evaluation = evaluate_agent(
                model, settings, checkpoint, config.episodes, seed=seed, deterministic=not config.sample
            )
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{checkpoint} cannot be evaluated: {error}") from error
    assert evaluation is not None, "nobody asked the evaluation to stop"
    print_score(console, evaluation, task, {"checkpoint": str(checkpoint), "seeds": f"from {seed:,}"})
    say(
        console,
        verdict(evaluation, task, settings, run=folder.path, command=folder.command, steps=model.num_timesteps),
        style="bold",
    )
    if config.out is not None:
        facts = {"seed": seed, "checkpoint": config.checkpoint, "sample": config.sample}
        write_json(Path(config.out), facts | evaluation.as_json())
    return 0


def find_checkpoint(folder: RunFolder, which: Literal["latest", "best"]) -> Path:
    """The file of an agent.

    Raises:
        UsageError: the run has none.
    """
    checkpoint = folder.best if which == "best" else folder.latest
    if not checkpoint.is_file():
        why = "too few episodes ended; try --checkpoint latest" if which == "best" else "its training never began"
        raise UsageError(f"RUN {folder.path} has no {checkpoint.name}: {why}")
    return checkpoint
