"""`s7rl evaluate`: the scores of a trained agent on fresh seeds, of its most probable actions and of drawn ones."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from s7rl.envs import has_batched_engine
from s7rl.experiments.agent_config import EvaluateConfig
from s7rl.experiments.agent_folders import ExportedFolder
from s7rl.experiments.errors import UsageError
from s7rl.experiments.evaluation import MOST_ROWS, Evaluation, evaluation_envs, pooled, scores_as_json
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.run_folder import check_can_be_written, write_json
from s7rl.experiments.summary import print_scores, verdict
from s7rl.experiments.train import evaluate_agent
from s7rl.experiments.trained_agent import TrainedAgent, open_agent
from s7rl.experiments.wording import plural, say

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
    if config.seeds < 1:
        raise UsageError(f"--seeds {config.seeds} must be at least 1")
    check_can_be_written("--out", config.out)
    agent = open_agent(config, config.env, config.env_kwargs)
    with environment_failures(lambda: "nothing was written"):
        played = {way: _play(agent, config, deterministic=way == "deterministic") for way in WAYS[config.actions]}
    evaluations = {way: pooled(batches) for way, batches in played.items()}
    # No two environments share a seed.
    seeds = [agent.seed + evaluation_envs(config.episodes) * batch for batch in range(config.seeds)]
    batches = f", {len(seeds):,} batches of {plural(config.episodes, 'episode')}" if len(seeds) > 1 else ""
    facts = {"checkpoint": str(agent.checkpoint), "seeds": f"from {agent.seed:,}{batches}"}
    elsewhere = config.env is not None or bool(config.env_kwargs)
    if elsewhere:
        facts["played in"] = agent.settings.task_name
    print_scores(console, evaluations, agent.task, facts)
    if not elsewhere:  # what it advises is about the training
        run = agent.folder
        steps = None if isinstance(run, ExportedFolder) else agent.model.num_timesteps
        first = next(iter(evaluations.values()))
        line = verdict(first, agent.task, agent.settings, run=run.path, command=run.command, steps=steps)
        say(console, line, style="bold")
    if config.out is not None:
        played_in = {"env_id": agent.settings.env_id, "env_kwargs": dict(agent.settings.env_kwargs)}
        scores = scores_as_json(played, seeds, config.checkpoint)
        write_json(Path(config.out), (played_in if elsewhere else {}) | scores)
    return 0


def _play(agent: TrainedAgent, config: EvaluateConfig, *, deterministic: bool) -> list[Evaluation]:
    """The episodes of each seed: side by side in a batched engine, else one after the other.

    A process for each seed would take longer to start than to play (measured for the engines; what is slower to step is
    stepped in processes already, where that pays).
    """
    settings, rows = agent.settings, evaluation_envs(config.episodes)
    batched = has_batched_engine(settings.env_id, settings.env_kwargs, settings.wrappers)
    alongside = MOST_ROWS // rows if batched and settings.workers in ("auto", "batched") else 1
    evaluations: list[Evaluation] = []
    while len(evaluations) < config.seeds:
        evaluations += evaluate_agent(
            agent.model,
            settings,
            agent.checkpoint,
            config.episodes,
            seed=agent.seed + rows * len(evaluations),
            batches=min(alongside, config.seeds - len(evaluations)),
            max_steps=config.max_steps,
            deterministic=deterministic,
        )
    return evaluations
