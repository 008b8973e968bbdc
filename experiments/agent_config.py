"""What a user can ask of a trained agent: one frozen dataclass per command, as in `config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from s7rl.experiments.arguments import (
    ASSIGNMENTS,
    OptionalRealNumber,
    OptionalText,
    OptionalWholeNumber,
    WholeNumber,
    Words,
    default_is,
)


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What the commands that take a trained agent have in common."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder that `s7rl train` made, a folder that `s7rl export` made, or pretrained:NAME (see `s7rl list
    pretrained`). No code that lies in the folder is run."""
    checkpoint: Literal["latest", "best"] = "latest"
    """The agent as it was at the end, or when its mean training return was best."""


@dataclass(frozen=True, kw_only=True)
class PlayConfig(AgentConfig):
    """What the commands that have a trained agent play have in common."""

    episodes: WholeNumber = 100
    """Episodes to play."""
    max_steps: Annotated[
        OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: the environment's own limit, else 30,000)")
    ] = None
    """Steps after which an episode is cut short."""
    seed: Annotated[
        OptionalWholeNumber,
        tyro.conf.arg(help_behavior_hint="(default: 10000, or the first beyond the training's where that is higher)"),
    ] = None
    """Seed of the first environment; the others have the next. Every agent is shown the same episodes by the same
    seed."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(PlayConfig):
    """Evaluate a trained agent on fresh seeds: return, success and episode lengths, with intervals.

    It plays what it was trained in, or what --env and --env-kwargs name: a longer corridor, a larger maze.

    Without --seed and --seeds, its most likely actions play the same episodes as the evaluation at the end of its
    training; so do those of agents that were trained with other seeds, which can thus be compared, unless these or
    those of their environments reach 10000.
    """

    env: Annotated[OptionalText, tyro.conf.arg(metavar="ENV", help_behavior_hint="(default: that of its training)")] = (
        None
    )
    """Another environment to play in, with observations and actions of the same kinds and shapes: a larger maze than
    it was trained in. Wrappers and the scaling of observations are those of the training."""
    env_kwargs: Annotated[Words, ASSIGNMENTS] = ()
    """Keyword arguments of the environment, as name=value; without --env they take the place of those of the training
    that have the same names: corridor_length=10000 ..."""
    episodes: WholeNumber = 100
    """Episodes to play for each seed, and each way of choosing actions."""
    seeds: WholeNumber = 1
    """How often to play them, each time on the seeds of the environments behind those before. Not seeds of trainings:
    the agent is the same."""
    actions: Literal["both", "deterministic", "sampled"] = "both"
    """Take the most probable action, or draw one from the policy; or one after the other."""
    out: Annotated[OptionalText, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: nothing is written)")] = (
        None
    )
    """Write the result there as JSON. The file must not exist yet."""


@dataclass(frozen=True, kw_only=True)
class WatchConfig(PlayConfig):
    """Watch a trained agent play, with what it thinks at each step: the distribution of its action, and the value.

    In a window where the environment has one, else in the terminal; with --video as a film, without a screen. It plays
    in this process: an environment that ends its process ends the command.
    """

    video: Annotated[
        OptionalText, tyro.conf.arg(metavar="FILE.mp4|FILE.gif", help_behavior_hint="(default: no film)")
    ] = None
    """Write a film there. The file must not exist yet. A GIF is made in memory; an MP4 needs the extra `video`."""
    episodes: WholeNumber = 1
    """Episodes to play."""
    max_steps: Annotated[OptionalWholeNumber, default_is("1,000")] = None
    """Steps of an episode after which the next one begins."""
    actions: Literal["deterministic", "sampled"] = "deterministic"
    """Which actions it takes: the most probable ones, or ones drawn from its policy."""
    fps: Annotated[
        OptionalRealNumber, tyro.conf.arg(help_behavior_hint="(default: as the environment says, else 10)")
    ] = None
    """Steps shown per second; at most 50 in a GIF."""


@dataclass(frozen=True, kw_only=True)
class InspectConfig(PlayConfig):
    """Show what a trained agent remembers.

    Plays episodes and writes inspection.html, with pictures and tables in inspection/: what can be read from the
    memory, how far back a decision looks, how long the memory lasts, and when the gates open. What an earlier
    inspection wrote there is replaced.
    """

    episodes: WholeNumber = 200
    """Episodes to play."""
    decision: Annotated[OptionalWholeNumber, default_is("the last of each episode")] = None
    """The step, from 0, of the decision that is asked how far back it looks."""
    out: Annotated[
        OptionalText, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: RUN; for pretrained:NAME, ./NAME)")
    ] = None
    """Where it is written."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig(AgentConfig):
    """Write a trained agent as a file for other programs, or as a folder to share.

    A file holds one step, for any number of environments at once: observations as the environment gives them, the
    memory's state, whether an episode starts, and noise go in; actions as the environment takes them and the next state
    come out. Noise of zeros takes the most probable action; docs/pages/export.md says which noise draws one.
    """

    format: Annotated[
        Literal["onnx", "torchscript", "pt2", "folder"] | None, default_is("that of the suffix of --out, or onnx")
    ] = None
    """ONNX, which needs the extra `onnx`; TorchScript for torch.jit.load; pt2 for torch.export.load; or a folder with
    weights as safetensors, config.json and a model card, which other commands take as RUN."""
    out: Annotated[
        OptionalText, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: named after RUN, here)")
    ] = None
    """The file or the folder. It must not exist yet."""
