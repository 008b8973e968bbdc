"""`s7rl list`: tables of tasks, agents, experiments and trained agents; in a pipe, lines for grep and cut."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from s7rl.envs import find_task, has_batched_engine, task_ids
from s7rl.envs.registry import SUITES
from s7rl.experiments.agent_folders import PREFIX, pretrained_agents
from s7rl.experiments.config import ListConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.measured import measured_envs
from s7rl.experiments.presets import AGENTS, EXPERIMENTS, GRIDS
from s7rl.experiments.run_folder import read_json
from s7rl.experiments.suggestions import named
from s7rl.experiments.wording import compact

STEPS_A_SECOND = (
    "steps/s: 64 side by side, random actions, on one core of the machine that experiments/results/bench names; here: "
    "`s7rl bench envs`. All that are not batched are stepped one by one, and stay below 1M."
)


@dataclass(frozen=True)
class Listing:
    """What is listed, before it is known for whom."""

    name: str
    """What the rows are."""
    note: str
    """What is said of each; one thing a line."""
    columns: tuple[str, ...] = ()
    """Headings of the figures."""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    """Name, note and figures."""

    def table(self) -> Table:
        """For a terminal: the note below the name, as wide as there is room."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)  # so that ids fit into 80 columns
        table.add_column(", ".join((self.name, *self.note.split("\n"))), overflow="fold")
        for column in self.columns:
            # Two short lines take less room than a long one.
            table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
        for name, note, *figures in self.rows:
            table.add_row(Text(name, style="bold").append(f"\n{note}", style="not bold"), *figures)
        return table

    def lines(self) -> list[str]:
        """For other programs: the headings and then a line for each row, with tabs between its parts, the note last."""
        rows = [(self.name, self.note, *self.columns), *self.rows]
        return ["\t".join((name, *figures, *note.split("\n"))) for name, note, *figures in rows]


def show_list(config: ListConfig, console: Console) -> int:
    """Prints one list.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: there is no such suite.
    """
    if config.suite and config.what != "envs":
        raise UsageError(f"--suite {config.suite[0]} is for `s7rl list envs`: leave it out")
    lists = {"envs": _envs, "agents": _agents, "experiments": _experiments, "pretrained": _pretrained}
    listing = lists[config.what](config)
    if not listing.rows:
        raise UsageError(f"nothing in `s7rl list {config.what}` has the text '{config.text}': leave out --text for all")
    if not console.is_terminal:
        # Not by the console, which wraps lines and makes spaces of tabs.
        print(*listing.lines(), sep="\n", file=console.file, flush=True)
        return 0
    console.print(listing.table())
    if config.what == "envs":
        for suite in SUITES:
            console.print(f"--suite {suite.name:<9} {suite.summary}", soft_wrap=True)
        console.print(STEPS_A_SECOND, soft_wrap=True)
        console.print(
            "Any other Gymnasium id works too, as do MiniGrid-..., BabyAI-... and popgym-... ids.", soft_wrap=True
        )
    return 0


def _envs(config: ListConfig) -> Listing:
    suites = {suite.name: suite for suite in SUITES}
    for name in config.suite:
        named("suite", name, suites, "leave out --suite for all")
    measured = measured_envs()
    listing = Listing("env", "its suite and what it asks for", ("random", "no memory", "optimum", "steps/s"))
    for env_id in in_natural_order(task_ids()):
        task, speed = find_task(env_id), measured.get(env_id)
        length = f", up to {task.episode_length:,} steps" if task.episode_length else ""
        engine = ", batched" if has_batched_engine(env_id) else ""
        its_spaces = f", {speed.observations} -> {speed.actions}" if speed else ""
        note = f"{task.suite}{length}{its_spaces}{engine}: {task.summary}"
        if (not config.suite or task.suite in config.suite) and _is_asked_for(config, env_id, note):
            scores = (task.random_return, task.memoryless_return, task.optimal_return)
            rate = compact(speed.steps_per_second) if speed else ""
            listing.rows.append((env_id, note, *map(_score, scores), rate))
    return listing


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Names that differ in numbers only by these, S7 before S13; all others as they come."""
    places: dict[str, int] = {}
    for name in (names := list(names)):
        places.setdefault(_without_numbers(name), len(places))
    return sorted(names, key=lambda name: (places[_without_numbers(name)], [int(n) for n in re.findall(r"\d+", name)]))


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "", name)


def _is_asked_for(config: ListConfig, *texts: str) -> bool:
    return config.text is None or config.text.casefold() in " ".join(texts).casefold()


def _agents(config: ListConfig) -> Listing:
    listing = Listing("agent", "what it is", ("features", "states", "blocks"))
    for name, agent in AGENTS.items():
        if _is_asked_for(config, name, agent.summary):
            states = str(agent.d_state) if agent.has_modes else ""
            listing.rows.append((name, agent.summary, str(agent.d_model), states, str(agent.n_blocks)))
    return listing


def _experiments(config: ListConfig) -> Listing:
    listing = Listing("experiment", "its command\nwhat it shows")
    single = [(name, experiment.command, experiment.shows) for name, experiment in EXPERIMENTS.items()]
    grids = [(name, f"s7rl experiment {name}", grid.summary) for name, grid in GRIDS.items()]
    for name, command, shows in single + grids:
        if _is_asked_for(config, name, command, shows):
            listing.rows.append((name, f"{command}\n{shows}"))
    return listing


def _pretrained(config: ListConfig) -> Listing:
    listing = Listing("agent", "its task\nits command", ("steps", "return", "success"))
    for name, folder in pretrained_agents().items():
        settings, evaluation = folder.settings(), read_json(folder.evaluation)
        task, command = settings.task_name, shlex.join(folder.command)
        if _is_asked_for(config, name, task, command):
            figures = compact(settings.steps), _score(evaluation["mean_return"]), _score(evaluation["success_rate"])
            listing.rows.append((f"{PREFIX}{name}", f"{task}\n{command}", *figures))
    return listing


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.{2 if abs(score) < 100 else 0}f}"
