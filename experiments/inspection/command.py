"""`s7rl inspect`: what a trained agent remembers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.text import Text

from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.threads import torch_threads
from s7rl.experiments.agent_config import InspectConfig
from s7rl.experiments.building import step_limit
from s7rl.experiments.errors import UsageError
from s7rl.experiments.evaluation import count_cut_short, evaluation_envs
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.inspection.findings import measure
from s7rl.experiments.inspection.panels import panels_of
from s7rl.experiments.inspection.recording import Recording, hidden_state_text, record
from s7rl.experiments.inspection.writing import write_inspection
from s7rl.experiments.page import Section
from s7rl.experiments.trained_agent import open_agent
from s7rl.experiments.wording import plural, say


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
    _check(config)
    agent = open_agent(config)
    torch.manual_seed(agent.seed)  # continuous decisions are drawn
    policy = agent.model.policy
    assert isinstance(policy, RecurrentActorCriticPolicy)
    with torch_threads(agent.model.threads), environment_failures(lambda: "nothing was written"):
        vec_env = agent.environments(evaluation_envs(config.episodes), config.max_steps)
        with closing(vec_env):
            recording, hidden_text = record(policy, vec_env, config.episodes), hidden_state_text(vec_env)
    policy.checkpoint_steps = None  # nothing is learned: a scan need not be done in pieces
    with torch_threads(agent.model.threads):
        generator = np.random.default_rng(agent.seed)
        findings = measure(policy, recording, decision=config.decision, generator=generator)
    if config.decision is not None and findings.gradient is None and config.decision >= recording.lengths.max():
        longest = plural(int(recording.lengths.max()), "step")
        raise UsageError(f"--decision {config.decision} is beyond every episode: the longest has {longest}, from 0 on")
    panels = panels_of(
        findings,
        recording,
        hidden_text=hidden_text,
        decision=config.decision,
        memory_span=agent.task.memory_span,
    )
    settings = agent.settings
    facts = {
        "agent": f"{settings.agent}, {agent.checkpoint}, after {agent.model.num_timesteps:,} steps",
        "played": _played(recording, agent.seed, step_limit(settings, config.max_steps)),
    }
    home = agent.folder.results if config.out is None else Path(config.out)
    page = write_inspection(home, panels, title=f"What {settings.agent} remembers in {settings.task_name}", facts=facts)
    _say(console, facts, panels, page)
    return 0


def _check(config: InspectConfig) -> None:
    if config.decision is not None and config.decision < 0:
        raise UsageError(f"--decision {config.decision} must not be negative: steps count from 0")
    if config.out is not None and Path(config.out).exists() and not Path(config.out).is_dir():
        raise UsageError(f"--out {config.out} is a file: give a folder")


def _played(recording: Recording, seed: int, limit: int | None) -> str:
    lengths, returns = recording.lengths, recording.returns
    steps = f"{lengths.min():,}" if lengths.min() == lengths.max() else f"{lengths.min():,} to {lengths.max():,}"
    success = "" if recording.successes is None else f", success rate {recording.successes.mean():.2f}"
    played = f"{plural(len(lengths), 'episode')} of {steps} steps, return {returns.mean():.3f}{success}"
    cut = 0 if limit is None else count_cut_short(lengths, recording.truncated, limit)
    return f"{played}; seeds from {seed:,}" + (f"; {cut:,} of them cut short (--max-steps)" if cut else "")


def _say(console: Console, facts: dict[str, str], panels: list[Section], page: Path) -> None:
    for name, value in facts.items():
        console.print(Text(f"{name:<9}", style="bold").append(value, style="not bold"), soft_wrap=True)
    for panel in panels:
        say(console, panel.title, style="bold")
        for sentence in panel.points:
            say(console, f"  {sentence}")
    say(console, f"written: {page}")
