"""Folders that hold a trained agent: a run's, one that `s7rl export --format folder` wrote, and those that come along.

config.json, *.safetensors  the agent, a checkpoint that lies open
run.json                    config.json of its run
evaluation.json             the score at the end of its run
README.md                   its model card
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from s7rl.envs.wrappers.by_name import module_of
from s7rl.experiments.errors import UsageError
from s7rl.experiments.run_folder import RunFolder, checked
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.suggestions import named

PREFIX = "pretrained:"
"""Before the name of an agent that comes along."""
PRETRAINED = Path(__file__).parent / "pretrained"
"""Where those are."""


@dataclass(frozen=True)
class ExportedFolder(RunFolder):
    """A folder to be shared, by the names of what lies in it."""

    @property
    def results(self) -> Path:
        """The folder itself, or for an agent that comes along one of its name in the working directory."""
        return Path(self.path.name) if self.path.parent == PRETRAINED else self.path

    @property
    def config(self) -> Path:
        """What made the run."""
        return self.path / "run.json"

    @property
    def latest(self) -> Path:
        """The agent."""
        return self.path


def pretrained_agents() -> dict[str, ExportedFolder]:
    """The agents that come along, by name."""
    folders = sorted(path.parent for path in PRETRAINED.glob("*/run.json"))
    return {path.name: ExportedFolder(path) for path in folders}


def open_agent_folder(name: str) -> RunFolder:
    """Opens what a command was given as RUN.

    Raises:
        UsageError: there is no such agent, or it is something else.
    """
    if name.startswith(PREFIX):
        short = name.removeprefix(PREFIX)
        return checked(named("pretrained agent", short, pretrained_agents(), "see `s7rl list pretrained`"), name)
    path = Path(name)
    return checked(ExportedFolder(path) if (path / "run.json").is_file() else RunFolder(path), name)


def find_checkpoint(folder: RunFolder, which: str) -> Path:
    """The agent in a folder, ``latest`` or ``best``.

    Raises:
        UsageError: there is none.
    """
    checkpoint = folder.best if which == "best" else folder.latest
    if not checkpoint.exists():
        why = "too few episodes ended; try --checkpoint latest" if which == "best" else "its training never began"
        if isinstance(folder, ExportedFolder):
            why = "it holds one agent; leave out --checkpoint"
        raise UsageError(f"RUN {folder.path} has no {checkpoint.name}: {why}")
    return checkpoint


def check_holds_no_code(folder: RunFolder, settings: RunSettings) -> None:
    """Looks where the modules lie that an agent's environment and wrappers name, before any of them is imported.

    Whoever shares an agent could put one beside its weights, and whoever only wants to watch it would run that.

    Raises:
        UsageError: one lies in the folder of the agent.
    """
    homes = (folder.path.absolute(), folder.path.resolve())
    installed = Path(sys.prefix).resolve()  # an environment of Python may lie in the folder
    modules = {settings.env_id: settings.env_id.rpartition(":")[0]}
    modules |= {wrapper: module_of(wrapper) for wrapper in settings.wrappers}
    for name, module in modules.items():
        path: list[str] | None = None  # where Python would look
        for part in filter(None, module.split(".")):
            # By the part alone: to look for a.b as Python does would import a.
            spec = PathFinder.find_spec(part, path)
            if spec is None:
                break  # one of Python's own, or none at all, which is said where it is imported
            path = list(spec.submodule_search_locations or ())
            places = [Path(place) for place in (*path, spec.origin) if place is not None]
            if any(
                way.is_relative_to(home)
                for place in places
                if not place.resolve().is_relative_to(installed)
                for way in (place.absolute(), place.resolve())
                for home in homes
            ):
                raise UsageError(
                    f"{name} is of a module that lies in the agent's own folder {folder.path}, of which nothing is "
                    "run: if you trust it, move the module out of there and into the working directory"
                )
