"""`s7rl evaluate`: the scores of a trained agent on fresh seeds, of its most probable actions and of drawn ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from s7rl.agents import RecurrentPPO
from s7rl.envs import has_batched_engine
from s7rl.envs.registry import find_spec
from s7rl.experiments.agent_folders import find_checkpoint, open_agent_folder
from s7rl.experiments.config import EvaluateConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.evaluation import MOST_ROWS, Evaluation, evaluation_envs, pooled
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.run_folder import check_can_be_written, write_json
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.summary import plural, print_scores, say, verdict
from s7rl.experiments.train import evaluate_agent

WAYS = {"both": ("deterministic", "sampled"), "deterministic": ("deterministic",), "sampled": ("sampled",)}
"""How actions are chosen, by --actions."""


def evaluate(config: EvaluateConfig, console: Console) -> int:
    """Loads an agent, plays, and prints the scores.

    Args:
        config: the request.
        console: where the scores are shown.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the run folder or the request cannot be used.
        TrainingError: an environment failed.
    """
    folder = open_agent_folder(config.run)
    settings = folder.settings()
    for option, number in (("episodes", config.episodes), ("seeds", config.seeds)):
        if number < 1:
            raise UsageError(f"--{option} {number} must be at least 1")
    if config.seed is not None and config.seed < 0:
        raise UsageError(f"--seed {config.seed} must not be negative")
    check_can_be_written("--out", config.out)
    checkpoint = find_checkpoint(folder, config.checkpoint)
    seed = settings.evaluation_seed if config.seed is None else config.seed
    try:
        find_spec(settings.env_id)  # what it needs may not be installed here
        task = task_of_run(settings.env_id, settings.env_kwargs, settings.wrappers, settings.worker_timeout)
        # The agent may have been trained where there is a GPU, and evaluated where there is none.
        model = RecurrentPPO.load(checkpoint, device="auto")
        with environment_failures(lambda: "nothing was written"):
            played = {
                way: _play(model, settings, checkpoint, config, seed=seed, deterministic=way == "deterministic")
                for way in WAYS[config.actions]
            }
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{checkpoint} cannot be evaluated: {error}") from error
    evaluations = {way: pooled(batches) for way, batches in played.items()}
    first, *others = evaluations
    seeds = _first_seeds(config, seed)
    batches = f", {len(seeds):,} batches of {plural(config.episodes, 'episode')}" if len(seeds) > 1 else ""
    print_scores(console, evaluations, task, {"checkpoint": str(checkpoint), "seeds": f"from {seed:,}{batches}"})
    say(
        console,
        verdict(evaluations[first], task, settings, run=folder.path, command=folder.command, steps=model.num_timesteps),
        style="bold",
    )
    if config.out is not None:
        content: dict[str, Any] = {"seed": seed, "seeds": seeds, "checkpoint": config.checkpoint}
        content |= {"sample": first == "sampled"} | _as_json(evaluations[first], played[first])
        content |= {way: _as_json(evaluations[way], played[way]) for way in others}
        write_json(Path(config.out), content)
    return 0


def _play(
    model: RecurrentPPO,
    settings: RunSettings,
    checkpoint: Path,
    config: EvaluateConfig,
    *,
    seed: int,
    deterministic: bool,
) -> list[Evaluation]:
    """The episodes of each seed: side by side in a batched engine, else one after the other.

    A process for each seed would take longer to start than to play (measured for the engines; what is slower to step is
    stepped in processes already, where that pays).
    """
    rows = evaluation_envs(config.episodes)
    batched = has_batched_engine(settings.env_id, settings.env_kwargs, settings.wrappers)
    alongside = MOST_ROWS // rows if batched and settings.workers in ("auto", "batched") else 1
    evaluations: list[Evaluation] = []
    while len(evaluations) < config.seeds:
        evaluations += evaluate_agent(
            model,
            settings,
            checkpoint,
            config.episodes,
            seed=seed + rows * len(evaluations),
            batches=min(alongside, config.seeds - len(evaluations)),
            deterministic=deterministic,
        )
    return evaluations


def _first_seeds(config: EvaluateConfig, seed: int) -> list[int]:
    """The seed of the first environment of each batch; no two environments share one."""
    return [seed + evaluation_envs(config.episodes) * batch for batch in range(config.seeds)]


def _as_json(evaluation: Evaluation, batches: list[Evaluation]) -> dict[str, Any]:
    means = [batch.mean_return for batch in batches]
    return evaluation.as_json() | {"mean_return_by_seed": means}
