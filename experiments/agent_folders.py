"""Folders that hold a trained agent: a run's, one that `s7rl export --format folder` wrote, and those that come along.

config.json, *.safetensors  the agent, a checkpoint that lies open
run.json                    config.json of its run
evaluation.json             the score at the end of its run
README.md                   its model card
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s7rl.experiments.errors import UsageError
from s7rl.experiments.run_folder import RunFolder, checked
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
