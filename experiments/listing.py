"""`s7rl list`: tables of tasks, agents and experiments."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s7rl.envs import find_task, task_ids
from s7rl.experiments.config import ListConfig
from s7rl.experiments.presets import AGENTS, EXPERIMENTS


def show_list(config: ListConfig, console: Console) -> int:
    """Prints one table.

    Returns:
        The exit code, 0.
    """
    table = {"envs": _envs, "agents": _agents, "experiments": _experiments}[config.what]()
    console.print(table)
    if config.what == "envs":
        console.print(
            "Any other Gymnasium id works too, as do the popgym-... ids where popgym is installed.", soft_wrap=True
        )
    return 0


def _envs() -> Table:
    table = _table("env and what it asks for", right=("optimum", "without memory"))
    for env_id in task_ids():
        task = find_task(env_id)
        table.add_row(_with_note(env_id, task.summary), _score(task.optimal_return), _score(task.memoryless_return))
    return table


def _agents() -> Table:
    table = _table("agent", right=("features", "states", "blocks"))
    for name, agent in AGENTS.items():
        states = str(agent.d_state) if agent.has_modes else ""
        table.add_row(_with_note(name, agent.summary), str(agent.d_model), states, str(agent.n_blocks))
    return table


def _experiments() -> Table:
    table = _table("experiment", "command and what it shows")
    for name, experiment in EXPERIMENTS.items():
        table.add_row(Text(name), _with_note(experiment.command, experiment.shows))
    return table


def _table(*left: str, right: tuple[str, ...] = ()) -> Table:
    table = Table()
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _with_note(name: str, note: str) -> Text:
    return Text(name, style="bold").append(f"\n{note}", style="not bold")


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"
