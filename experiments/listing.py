"""`s7rl list`: tables of tasks, agents and experiments."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from s7rl.envs import find_task, has_batched_engine, task_ids
from s7rl.envs.registry import SUITES
from s7rl.experiments.bench.tables import compact
from s7rl.experiments.config import ListConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.measured import measured_envs
from s7rl.experiments.presets import AGENTS, EXPERIMENTS
from s7rl.experiments.suggestions import named

STEPS_A_SECOND = (
    "steps/s: 64 side by side, random actions, on one core of the machine that experiments/results/bench names; here: "
    "`s7rl bench envs`. All that are not batched are stepped one by one, and stay below 1M."
)


def show_list(config: ListConfig, console: Console) -> int:
    """Prints one table.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: there is no such suite.
    """
    if config.suite is not None and config.what != "envs":
        raise UsageError(f"--suite {config.suite} is for `s7rl list envs`: leave it out")
    tables = {"envs": _envs, "agents": _agents, "experiments": _experiments}
    table = tables[config.what](config)
    if not table.row_count:
        raise UsageError(f"nothing in `s7rl list {config.what}` has the text '{config.text}': leave out --text for all")
    console.print(table)
    if config.what == "envs":
        for suite in SUITES:
            console.print(f"--suite {suite.name:<9} {suite.summary}", soft_wrap=True)
        console.print(STEPS_A_SECOND, soft_wrap=True)
        console.print(
            "Any other Gymnasium id works too, as do MiniGrid-..., BabyAI-... and popgym-... ids.", soft_wrap=True
        )
    return 0


def _envs(config: ListConfig) -> Table:
    suites = {suite.name: suite for suite in SUITES}
    if config.suite is not None:
        named("suite", config.suite, suites, "leave out --suite for all")
    measured = measured_envs()
    table = _table("env, its suite and what it asks for", right=("random", "no\nmemory", "optimum", "steps/s"))
    for env_id in task_ids():
        task, speed = find_task(env_id), measured.get(env_id)
        length = f", up to {task.episode_length:,} steps" if task.episode_length else ""
        engine = ", batched" if has_batched_engine(env_id) else ""
        its_spaces = f", {speed.observations} -> {speed.actions}" if speed else ""
        note = f"{task.suite}{length}{its_spaces}{engine}: {task.summary}"
        if config.suite in (None, task.suite) and _is_asked_for(config, env_id, note):
            scores = (task.random_return, task.memoryless_return, task.optimal_return)
            rate = compact(speed.steps_per_second) if speed else ""
            table.add_row(_with_note(env_id, note), *map(_score, scores), rate)
    return table


def _is_asked_for(config: ListConfig, *texts: str) -> bool:
    return config.text is None or config.text.casefold() in " ".join(texts).casefold()


def _agents(config: ListConfig) -> Table:
    table = _table("agent", right=("features", "states", "blocks"))
    for name, agent in AGENTS.items():
        if not _is_asked_for(config, name, agent.summary):
            continue
        states = str(agent.d_state) if agent.has_modes else ""
        table.add_row(_with_note(name, agent.summary), str(agent.d_model), states, str(agent.n_blocks))
    return table


def _experiments(config: ListConfig) -> Table:
    table = _table("experiment", "command and what it shows")
    for name, experiment in EXPERIMENTS.items():
        if _is_asked_for(config, name, experiment.command, experiment.shows):
            table.add_row(Text(name), _with_note(experiment.command, experiment.shows))
    return table


def _table(*left: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)  # so that ids fit into 80 columns
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _with_note(name: str, note: str) -> Text:
    return Text(name, style="bold").append(f"\n{note}", style="not bold")


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.{2 if abs(score) < 100 else 0}f}"
