"""`s7rl inspect`: what a trained agent remembers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.text import Text

from s7rl.agents import RecurrentPPO, load_normalization
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.threads import torch_threads
from s7rl.envs.registry import find_spec
from s7rl.experiments.agent_folders import find_checkpoint, open_agent_folder
from s7rl.experiments.arguments import write_assignments
from s7rl.experiments.building import make_vec_of
from s7rl.experiments.config import InspectConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.evaluation import evaluation_envs
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.inspection.findings import measure
from s7rl.experiments.inspection.panels import Panel, panels_of
from s7rl.experiments.inspection.recording import Recording, hidden_state_text, record
from s7rl.experiments.inspection.writing import write_inspection
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.summary import plural, say


def inspect_run(config: InspectConfig, console: Console) -> int:
    """Loads an agent, records episodes, measures, and reports.

    Args:
        config: the request.
        console: where it is summed up.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the run folder or the request cannot be used.
        TrainingError: an environment failed.
    """
    folder = open_agent_folder(config.run)
    settings = folder.settings()
    _check(config)
    checkpoint = find_checkpoint(folder, config.checkpoint)
    seed = settings.evaluation_seed if config.seed is None else config.seed
    torch.manual_seed(seed)  # continuous decisions are drawn
    try:
        find_spec(settings.env_id)  # what it needs may not be installed here
        task = task_of_run(settings.env_id, settings.env_kwargs, settings.wrappers, settings.worker_timeout)
        model = RecurrentPPO.load(checkpoint, device="auto")
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{checkpoint} cannot be inspected: {error}") from error
    policy = model.policy
    assert isinstance(policy, RecurrentActorCriticPolicy)
    policy.checkpoint_steps = None  # nothing is learned: a scan need not be done in pieces
    with torch_threads(model.threads):
        recording, hidden_text = _play(policy, settings, checkpoint, config.episodes, seed, task.episode_length)
        generator = np.random.default_rng(seed)
        findings = measure(policy, recording, decision=config.decision, generator=generator)
    if config.decision is not None and findings.gradient is None and config.decision >= recording.lengths.max():
        longest = plural(int(recording.lengths.max()), "step")
        raise UsageError(f"--decision {config.decision} is beyond every episode: the longest has {longest}, from 0 on")
    panels = panels_of(
        findings,
        recording,
        hidden_text=hidden_text,
        decision=config.decision,
        memory_span=task.memory_span,
    )
    name = " ".join([settings.env_id, write_assignments(settings.env_kwargs), *settings.wrappers]).strip()
    facts = {
        "agent": f"{settings.agent}, {checkpoint}, after {model.num_timesteps:,} steps",
        "played": _played(recording, seed),
    }
    home = folder.results if config.out is None else Path(config.out)
    page = write_inspection(home, panels, title=f"What {settings.agent} remembers in {name}", facts=facts)
    _say(console, facts, panels, page)
    return 0


def _check(config: InspectConfig) -> None:
    if config.episodes < 1:
        raise UsageError(f"--episodes {config.episodes} must be at least 1")
    if config.seed is not None and config.seed < 0:
        raise UsageError(f"--seed {config.seed} must not be negative")
    if config.decision is not None and config.decision < 0:
        raise UsageError(f"--decision {config.decision} must not be negative: steps count from 0")
    if config.out is not None and Path(config.out).exists() and not Path(config.out).is_dir():
        raise UsageError(f"--out {config.out} is a file: give a folder")


def _play(
    policy: RecurrentActorCriticPolicy,
    settings: RunSettings,
    checkpoint: Path,
    episodes: int,
    seed: int,
    longest: int | None,
) -> tuple[Recording, str]:
    """Records episodes of the run's task, with observations scaled as in the checkpoint."""
    try:
        with environment_failures(lambda: "nothing was written"):
            vec_env = load_normalization(checkpoint, make_vec_of(settings, evaluation_envs(episodes), seed))
            try:
                return record(policy, vec_env, episodes, longest=longest), hidden_state_text(vec_env)
            finally:
                vec_env.close()
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{checkpoint} cannot be inspected: {error}") from error


def _played(recording: Recording, seed: int) -> str:
    lengths, returns = recording.lengths, recording.returns
    steps = f"{lengths.min():,}" if lengths.min() == lengths.max() else f"{lengths.min():,} to {lengths.max():,}"
    success = "" if recording.successes is None else f", success rate {recording.successes.mean():.2f}"
    played = f"{plural(len(lengths), 'episode')} of {steps} steps, return {returns.mean():.3f}{success}"
    return f"{played}; seeds from {seed:,}"


def _say(console: Console, facts: dict[str, str], panels: list[Panel], page: Path) -> None:
    for name, value in facts.items():
        console.print(Text(f"{name:<9}", style="bold").append(value, style="not bold"), soft_wrap=True)
    for panel in panels:
        say(console, panel.title, style="bold")
        for sentence in panel.sentences:
            say(console, f"  {sentence}")
    say(console, f"written: {page}")
