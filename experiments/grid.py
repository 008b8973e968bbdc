"""A grid of agents, tasks and seeds: its declaration, in Python or in a TOML file, and the runs that it stands for.

    agents = ["s7", "gru"]          # or a table: wide = "--agent s7 --d-model 128"
    seeds = 3                       # or a list of seeds
    options = "--eval-episodes 50"  # for every run

    [tasks]
    tmaze-50 = "s7rl/TMazePassive-v0 --env-kwargs corridor_length=50 --steps 3e5"
    cartpole = "s7rl/CartPolePositionOnly-v0"

Tasks, agents and options are what one would type behind `s7rl train`. An option that is given more than once holds as
the agent has it, else as the task, else as the options of every run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from s7rl.experiments.arguments import MOST_SEED, read_options
from s7rl.experiments.errors import UsageError
from s7rl.experiments.toml_files import read_toml

CONTROLS: Mapping[str, str] = MappingProxyType({"none": "--agent none", "stack": "--agent stack"})
"""Agents that every grid gets: what can be had without memory, and with the last four observations."""
_OF_CONTROLS: Mapping[str, tuple[str, ...]] = MappingProxyType({"none": (), "stack": ("n_frames",)})
"""The names that ``--core-kwargs`` may give each."""
FEWEST_SEEDS = 3
"""Fewer say next to nothing about the next one."""
KEYS = ("summary", "tasks", "agents", "seeds", "options")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OURS = ("--seed", "--out", "--runs")
"""Options that a grid sets itself."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every agent on every task, once for each seed."""

    summary: str = field(default="", compare=False)
    """What it is to show, in one line."""
    tasks: Mapping[str, str]
    """By name, what stands behind `s7rl train`: an environment and, perhaps, options behind it."""
    agents: Mapping[str, str]
    """By name, the options that make it: "--agent gru --d-model 128"."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each."""
    options: str = ""
    """Of every run."""

    def __post_init__(self) -> None:
        """Checks names and numbers; what the words mean is found out where they are parsed.

        Raises:
            UsageError: one cannot be used.
        """
        for kind, names in (("tasks", self.tasks), ("agents", self.agents)):
            if not names:
                raise UsageError(f"{kind} is empty: name at least one")
            for name, words in names.items():
                if not _NAME.fullmatch(name):
                    raise UsageError(f"{kind}: '{name}' cannot name a folder: take letters, digits, '.', '_' and '-'")
                _check_words(f"{kind}: {name} = ", words)
        _check_words("options = ", self.options)
        for name, words in self.tasks.items():
            if not words.strip() or words.lstrip().startswith("-"):
                raise UsageError(f'tasks: {name} = "{words}" must begin with an environment, as `s7rl list envs` shows')
        if not self.seeds:
            raise UsageError("seeds is empty: name at least one")
        for seed in self.seeds:
            if not 0 <= seed <= MOST_SEED:
                raise UsageError(f"seeds {list(self.seeds)} has {seed}: they lie between 0 and {MOST_SEED}")
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds {list(self.seeds)} has one twice: name each once")

    def cells(self) -> Iterator[Cell]:
        """All runs: the first seed of every agent on every task first, so that early results say something."""
        for seed in self.seeds:
            for task, its in self.tasks.items():
                env, *behind = shlex.split(its)
                for agent, words in self.agents.items():
                    shared = [*shlex.split(self.options), *behind]
                    if CONTROLS.get(agent) == words:
                        shared = _for_control(agent, shared)
                    options = (*shared, *shlex.split(words), "--seed", str(seed))
                    yield Cell(task=task, agent=agent, seed=seed, words=(env, *options))

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        facts = {"tasks": dict(self.tasks), "agents": dict(self.agents), "seeds": list(self.seeds)}
        return {"summary": self.summary, **facts, "options": self.options}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a grid."""

    task: str
    """By its name in the grid."""
    agent: str
    """By its name in the grid."""
    seed: int
    """Of weights, environments and exploration."""
    words: tuple[str, ...]
    """What stands behind `s7rl train`, all but the folder."""

    def __str__(self) -> str:
        """Its place below the folder of the grid."""
        return f"{self.task}/{self.agent}/seed{self.seed}"


def grid_from(content: Mapping[str, Any], where: str) -> Grid:
    """Makes a grid of what a TOML or JSON file holds.

    Args:
        content: of the file.
        where: the file's name, for messages.

    Raises:
        UsageError: a key is unknown, missing, or of the wrong kind.
    """
    for key in content:
        if key not in KEYS:
            raise UsageError(f"{where} has the key '{key}': a grid has {', '.join(KEYS)}")
    for key in ("tasks", "agents"):
        if key not in content:
            raise UsageError(f"{where} has no {key}: name at least one")
    tasks, agents, seeds = content["tasks"], content["agents"], content.get("seeds", FEWEST_SEEDS)
    if isinstance(agents, list) and all(isinstance(agent, str) for agent in agents):
        if len(set(agents)) < len(agents):
            raise UsageError(f"{where}: agents {agents} has one twice: name each once")
        agents = {agent: f"--agent {agent}" for agent in agents}
    if type(seeds) is int and seeds > 0:
        seeds = list(range(seeds))
    if not _is_table(tasks):
        raise UsageError(
            f'{where}: tasks must be a table of texts, as in [tasks] and name = "ENV --steps 1e5"; all else above it'
        )
    if not _is_table(agents):
        raise UsageError(
            f'{where}: agents must be a list of names, as in ["s7", "gru"], or a table of texts, as in [agents] and '
            'name = "--agent gru --d-model 128"'
        )
    if not (isinstance(seeds, list) and all(type(seed) is int for seed in seeds)):
        raise UsageError(f"{where}: seeds {seeds!r} must be a number above 0, or a list of numbers from 0 on")
    for key in ("summary", "options"):
        if not isinstance(content.get(key, ""), str):
            raise UsageError(f"{where}: {key} {content[key]!r} must be a text")
    texts = {key: content.get(key, "") for key in ("summary", "options")}
    try:
        return Grid(tasks=tasks, agents=agents, seeds=tuple(seeds), **texts)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def read_grid(path: Path) -> Grid:
    """Reads a grid from a TOML file.

    Raises:
        UsageError: it cannot be read, or is no grid.
    """
    return grid_from(read_toml(path, str(path)), str(path))


def _check_words(where: str, words: str) -> None:
    try:
        found = [word.partition("=")[0] for word in shlex.split(words)]
    except ValueError as error:
        raise UsageError(f"{where}{words!r} cannot be read: {error}") from None
    for option in _OURS:
        if option in found:
            raise UsageError(f"{where}{words!r} has {option}, which a grid sets itself: leave it out")


def _for_control(agent: str, words: Sequence[str]) -> list[str]:
    """The words of a task, and of every run, without options of other agents' cores: none and stack have no states."""
    kept: list[str] = []
    for flag, *values in read_options(words):
        taken = values
        if flag == "--core-kwargs":
            taken = [value for value in values if value.partition("=")[0] in _OF_CONTROLS[agent]]
        if flag != "--d-state" and (taken or not values):
            kept += [flag, *taken]
    return kept


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(words, str) for words in value.values())
