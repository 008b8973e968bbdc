"""What a user can ask for: one frozen dataclass per command.

The attribute docstrings are the text of ``--help``. None always means that the value follows from something else, the
task or the agent; ``settings.settings_for`` fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from s7rl.experiments.arguments import (
    ASSIGNMENTS,
    FOLLOWS_AGENT,
    FOLLOWS_TASK,
    OptionalRealNumber,
    OptionalText,
    OptionalWholeNumber,
    WholeNumber,
)

DEFAULT_ENV = "s7rl/TMazePassive-v0"


@dataclass(frozen=True, kw_only=True)
class PPOOptions:
    """How it learns."""

    learning_rate: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """Adam's step size at the start. Higher learns faster until it becomes unstable."""
    dynamics_lr_factor: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """Step size of the parameters that set the memory's time scales, as a share of --learning-rate."""
    anneal: Annotated[bool | None, FOLLOWS_TASK] = None
    """Whether the step size falls linearly to 0 over the run."""
    n_steps: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Steps of each environment in one rollout. The gradient reaches back no further, so an agent cannot learn to use
    what it saw earlier than that."""
    batch_size: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Steps in one minibatch, a multiple of --n-steps: a minibatch holds whole rows of the rollout."""
    n_epochs: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Passes over each rollout. More use the data better and move the policy further from the one that collected it."""
    gamma: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """Discount of a reward per step into the future, from 0 to 1."""
    gae_lambda: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """Trace decay of the advantage estimate: 0 trusts the value function, 1 the returns."""
    clip_range: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """How far one update may move the probability of an action, as a ratio minus 1."""
    ent_coef: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """Weight of the entropy bonus. Higher explores more."""
    vf_coef: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """Weight of the value loss."""
    max_grad_norm: Annotated[OptionalRealNumber, FOLLOWS_TASK] = None
    """Gradients longer than this are scaled down to it."""
    normalize_observations: Annotated[bool | None, FOLLOWS_TASK] = None
    """Whether Box observations, images aside, are scaled to mean 0 and variance 1 while learning."""
    normalize_rewards: Annotated[bool | None, FOLLOWS_TASK] = None
    """Whether rewards are scaled to a return of variance 1 while learning; what is reported is not."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What it is."""

    d_model: Annotated[OptionalWholeNumber, FOLLOWS_AGENT] = None
    """Features between the blocks."""
    d_state: Annotated[OptionalWholeNumber, FOLLOWS_AGENT] = None
    """Size of the memory of each block."""
    n_blocks: Annotated[OptionalWholeNumber, FOLLOWS_AGENT] = None
    """Blocks on top of each other."""
    core_kwargs: Annotated[tuple[str, ...], ASSIGNMENTS] = ()
    """Options of the sequence model, as name=value: horizon=2,500 rotation=0.5 ..."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train an agent on a task, and test whether it remembers.

    Every setting that is not given follows the task. Writes a run folder with the agent, its learning curve and its
    score; Ctrl-C stops cleanly and keeps what was learned.
    """

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[ENV]")] = DEFAULT_ENV
    """Any Gymnasium id; `s7rl list envs` shows those that need memory."""
    agent: Annotated[str, tyro.conf.arg(metavar="NAME")] = "s7"
    """One of `s7rl list agents`; "none" has no memory, for comparison."""
    steps: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Environment steps to train for, over all environments together."""
    seed: WholeNumber = 0
    """Seed of the weights, the environments and the exploration."""
    env_kwargs: Annotated[tuple[str, ...], ASSIGNMENTS] = ()
    """Keyword arguments of the environment, as name=value: corridor_length=500 ..."""
    n_envs: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Environments stepped side by side."""
    threads: Annotated[OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: chosen by the size)")] = None
    """Threads of torch. Small networks run fastest on one."""
    device: str = "auto"
    """Where the network runs: auto, cpu, cuda, ..."""
    out: Annotated[OptionalText, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: a new one in --runs)")] = (
        None
    )
    """The run folder. It must not exist yet."""
    runs: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs"
    """Where new run folders are made."""
    eval_episodes: WholeNumber = 100
    """Episodes on fresh seeds at the end; 0 skips the evaluation."""
    debug_anomalies: bool = False
    """Name the layer where a number becomes nan or infinite; slow."""
    ppo: tyro.conf.OmitArgPrefixes[PPOOptions] = field(default_factory=PPOOptions)
    network: tyro.conf.OmitArgPrefixes[NetworkOptions] = field(default_factory=NetworkOptions)


@dataclass(frozen=True, kw_only=True)
class ResumeConfig:
    """Go on with a training run that was interrupted or killed.

    It continues where its last checkpoint stands, half-finished episodes included, and ends as if it had never
    stopped. What it needs for that may run code when it is read: resume only runs of your own.
    """

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder that `s7rl train` made."""
    steps: Annotated[OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: as the run was started)")] = None
    """Environment steps of the whole run, those already done included. A step size that falls then falls to 0 at the
    new number."""
    eval_episodes: WholeNumber = 100
    """Episodes on fresh seeds at the end; 0 skips the evaluation."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluate a trained agent on fresh seeds.

    Without --seed it plays the same episodes as the evaluation at the end of its training.
    """

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder that `s7rl train` made."""
    episodes: WholeNumber = 100
    """Episodes to play."""
    seed: Annotated[
        OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: 10000, beyond those of the training)")
    ] = None
    """Seed of the first environment."""
    checkpoint: Literal["latest", "best"] = "latest"
    """The agent as it was at the end, or when its mean training return was best."""
    sample: bool = False
    """Draw actions from the policy instead of taking the most probable one."""
    out: Annotated[OptionalText, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: nothing is written)")] = (
        None
    )
    """Write the result there as JSON. The file must not exist yet."""


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """List what there is: tasks, agents, or experiments worth running."""

    what: tyro.conf.Positional[Literal["envs", "agents", "experiments"]]
    """What to list."""
