"""The few lines that a user reads: the settings at the start, the score at the end, and what it means.

An agent is said to remember only when its return is beyond chance above the best that an agent without memory can get,
and at least a quarter of the way from there to the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s7rl.agents.minibatch_sizes import cut_rollout
from s7rl.envs import Task
from s7rl.experiments.arguments import write_assignments
from s7rl.experiments.evaluation import Evaluation
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.rewards import describe_rewards
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.wording import plural, program

FEW_EPISODES = 20
"""With fewer, all may be alike by chance."""
CLEARLY = 0.25
"""Share of the way from the memoryless score to the optimum that counts as remembering."""
NOTABLE = 1.05
"""A run says so where whole rollouts make it more than this many times as long as was asked."""
LEFT_OUT = {"--agent": 1, "--out": 1, "--preset": 1, "--d-state": 1, "--core-kwargs": math.inf}
"""Options that the agent without memory cannot have as they were, and how many words follow them."""


def print_settings(
    console: Console,
    settings: RunSettings,
    task: Task,
    *,
    spaces: str,
    scaled: Sequence[str],
    parameters: int,
    threads: int,
    device: str,
    folder: Path,
    steps_done: int,
) -> None:
    """Prints what was derived from the task, and a warning where the rollout is too short for it."""
    kwargs = f" {write_assignments(settings.env_kwargs)}" if settings.env_kwargs else ""
    wrapped = f" in {', '.join(settings.wrappers)}" if settings.wrappers else ""
    length = f", episodes of up to {plural(task.episode_length, 'step')}" if task.episode_length else ""
    span = f", {plural(task.memory_span, 'step')} to remember" if task.memory_span else ""
    horizon = settings.core_kwargs.get("horizon")
    memory = f", memory from {horizon[0]:g} to {horizon[1]:,g} steps" if isinstance(horizon, (tuple, list)) else ""
    states = f"{settings.d_state} states, " if AGENTS[settings.agent].has_modes else ""
    cut = cut_rollout(settings.n_envs, settings.n_steps, settings.batch_size, settings.sequence_length)
    whole = cut.sequence_length == settings.n_steps
    batch = plural(cut.sequences, "row" if whole else "sequence") + ("" if whole else f" of {cut.sequence_length}")
    scales = f", {' and '.join(scaled)} scaled" if scaled else ""
    lines = {
        "task": f"{settings.env_id}{kwargs}{wrapped}: {spaces}{length}{span}",
        "agent": f"{settings.agent}: {settings.n_blocks} x {settings.d_model} features, "
        f"{states}{parameters:,} parameters{memory}",
        "learning": f"{plural(settings.steps, 'step')}{_stop(settings)} "
        f"in rollouts of {settings.n_envs} x {settings.n_steps}, "
        f"minibatches of {batch}, {plural(settings.n_epochs, 'epoch')}, "
        f"learning rate {settings.learning_rate:g}{' to 0' if settings.anneal else ''}, discount {settings.gamma:g}"
        + scales,
        **({"rewards": shaped} if (shaped := describe_rewards(settings.reward_options)) else {}),
        "torch": f"{plural(threads, 'thread')} on {device}",
        "run": str(folder),
    }
    for name, line in lines.items():
        console.print(Text(f"{name:<9}", style="bold").append(line, style="not bold"), soft_wrap=True)
    if not steps_done and settings.whole_steps > NOTABLE * settings.steps:
        most = "up to " if settings.stop_return is not None else ""
        console.print(
            Text(
                f"note     it learns from whole rollouts, so it takes {most}{settings.whole_steps:,} steps "
                f"instead of {settings.steps:,}: "
                "fewer with a smaller --n-steps or --n-envs",
                style="yellow",
            ),
            soft_wrap=True,
        )
    if settings.gradient_falls_short:
        console.print(
            Text(
                f"note     up to {settings.reach_needed:,} steps lie between a cue and its use; the gradient cannot "
                f"reach a cue further back than {settings.n_steps:,} steps: raise --n-steps",
                style="yellow",
            ),
            soft_wrap=True,
        )
    elif _outlasts(task, settings):
        console.print(
            Text(
                f"note     an episode of up to {task.episode_length:,} steps can outlast the rollout of "
                f"{settings.n_steps:,}: what lies further back than that is out of the gradient's reach",
                style="dim",
            ),
            soft_wrap=True,
        )


def _stop(settings: RunSettings) -> str:
    return "" if settings.stop_return is None else f", or until episodes return {settings.stop_return:g},"


def _outlasts(task: Task, settings: RunSettings) -> bool:
    return task.episode_length is not None and task.episode_length > settings.n_steps


def print_score(console: Console, evaluation: Evaluation, task: Task, facts: dict[str, str]) -> None:
    """Prints the table: the score, its yardsticks, and further facts by name."""
    episodes = plural(len(evaluation.returns), "episode")
    rows = {"return": f"{evaluation.mean_return:.3f} ± {evaluation.standard_error:.3f}  ({episodes})"}
    if evaluation.success_rate is not None:
        rows["success rate"] = f"{evaluation.success_rate:.2f}"
    print_table(console, rows | _cut_short([evaluation]) | _yardsticks(task) | facts)


def print_scores(console: Console, evaluations: Mapping[str, Evaluation], task: Task, facts: dict[str, str]) -> None:
    """Prints the full scores, one column for each way of choosing actions, and below them yardsticks and facts."""
    table = Table("", *evaluations)
    columns = list(zip(*map(_score, evaluations.values()), strict=True))
    for cells in columns:
        (name,) = {name for name, _ in cells}
        table.add_row(Text(name, style="bold"), *(Text(value) for _, value in cells))
    console.print(table)
    print_table(console, _cut_short(evaluations.values()) | _yardsticks(task) | facts)


def _cut_short(evaluations: Collection[Evaluation]) -> dict[str, str]:
    """How many episodes did not come to their end, if any."""
    number = sum(evaluation.cut_short for evaluation in evaluations)
    if not number:
        return {}
    (limit,) = {evaluation.limit for evaluation in evaluations}
    return {
        "cut short": f"{plural(number, 'episode')} after {limit:,} steps, with the return so far; "
        f"`{program('s7rl')} evaluate --max-steps` sets the limit"
    }


def _score(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What a column of the table has: names and values."""
    mean, middle = evaluation.mean_estimate(), evaluation.interquartile_mean()
    rate, interval = evaluation.success_rate, evaluation.success_interval()
    return [
        ("episodes", f"{len(evaluation.returns):,}"),
        ("return", f"{evaluation.mean_return:.3f} ± {evaluation.standard_error:.3f}"),
        ("  95 % interval", _range(mean.interval, ".3f")),
        ("interquartile mean", f"{middle.value:.3f}"),
        ("  95 % interval", _range(middle.interval, ".3f")),
        ("success rate", "not told" if rate is None else f"{rate:.2f}"),
        ("  95 % interval", _range(interval, ".2f")),
        ("episode length", f"{evaluation.mean_length:,.1f}"),
        ("  shortest, longest", _range((min(evaluation.lengths), max(evaluation.lengths)), ",")),
    ]


def _range(ends: tuple[float | int, float | int] | None, form: str) -> str:
    return "none" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"


def _yardsticks(task: Task) -> dict[str, str]:
    """The scores to compare with."""
    known = {"best without memory": task.memoryless_return, "optimum": task.optimal_return}
    return {name: "not known" if score is None else f"{score:.2f}" for name, score in known.items()}


def print_table(console: Console, rows: dict[str, str]) -> None:
    """Prints names and values in two columns; a value too long for its line is wrapped, never cut."""
    table = Table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    console.print(table)


def verdict(
    evaluation: Evaluation, task: Task, settings: RunSettings, *, run: Path, command: Sequence[str], steps: int | None
) -> str:
    """Says in one line whether the score shows memory.

    Args:
        evaluation: the score.
        task: has the yardsticks.
        settings: of the run.
        run: its folder.
        command: the words that started it.
        steps: environment steps that it has made; None where it cannot be resumed.
    """
    score, without = evaluation.mean_return, task.memoryless_return
    if without is None:
        return f"Whether this needs memory is not known here. To compare: {_without_memory(command)}"
    if not settings.has_memory:
        return f"This agent has no memory: return {score:.2f}, where {without:.2f} is the best without."
    if evaluation.cut_short:
        return "Episodes were cut short: what they had got by then cannot show whether the agent remembers."
    if len(evaluation.returns) < FEW_EPISODES:
        return (
            f"{plural(len(evaluation.returns), 'episode')} cannot show whether the agent remembers: "
            f"{program('s7rl')} evaluate {quote(str(run))}"
        )
    best = task.optimal_return if task.optimal_return is not None else without
    beyond_chance = score - 2 * evaluation.standard_error > without
    if beyond_chance and score >= without + CLEARLY * (best - without):
        return f"The agent remembers: return {score:.2f}, where an agent without memory gets {without:.2f} at best."
    if beyond_chance:
        return f"A little better than without memory ({score:.2f} against {without:.2f}): it learns, train longer."
    no_sign = f"No sign of memory yet: return {score:.2f}, and {without:.2f} can be had without."
    if steps is None:
        return no_sign
    return f"{no_sign} To train on: {program('s7rl')} resume {quote(str(run))} --steps {2 * steps}"


def next_commands(folder: Path, *, interrupted: bool = False) -> str:
    """What to type after a training run."""
    where = quote(str(folder))
    commands = [f"{program('s7rl')} evaluate {where}", f"{program('tensorboard')} --logdir {where}"]
    if interrupted:
        commands.insert(0, f"{program('s7rl')} resume {where}")
    return "next:  " + "\n       ".join(commands)


def _without_memory(command: Sequence[str]) -> str:
    """The command that started a run, for the agent without memory: its folder is another, and so is its network."""
    kept: list[str] = []
    following = 0.0  # words that belong to an option which is left out
    for word in command[1:]:
        name = word.partition("=")[0].replace("_", "-")
        if name.startswith("--"):
            following = 0.0
        if name in LEFT_OUT:
            following = 0.0 if "=" in word else LEFT_OUT[name]
        elif following:
            following -= 1
        else:
            kept.append(word)
    return " ".join([program("s7rl"), *map(quote, kept), "--agent none"])
