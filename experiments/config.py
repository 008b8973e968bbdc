"""What a user can ask for: one frozen dataclass per command; those for a trained agent stand in `agent_config`.

The attribute docstrings are the text of ``--help``. None always means that the value follows from something else, the
task or the agent; ``settings.settings_for`` fills it in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

import tyro

from s7rl.experiments.arguments import (
    ASSIGNMENTS,
    FOLLOWS_AGENT,
    FOLLOWS_TASK,
    FUNCTION,
    WRAPPERS,
    OptionalRealNumber,
    OptionalText,
    OptionalWholeNumber,
    WholeNumber,
    Words,
    default_is,
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
    """Steps in one minibatch: whole rows of the rollout, or one sequence where it is less than --n-steps."""
    sequence_length: Annotated[OptionalWholeNumber, default_is("whole rows, or --batch-size if that is less")] = None
    """Steps that one gradient reaches back, a divisor of --n-steps. Less takes less memory, and learns less of it."""
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
    normalize_observations: Annotated[bool | Literal["scale"] | None, FOLLOWS_TASK] = None
    """Whether Box observations, images aside, are scaled to mean 0 and variance 1 while learning; scale: to a mean
    square of 1, their mean left where it is."""
    normalize_rewards: Annotated[bool | None, FOLLOWS_TASK] = None
    """Whether rewards are scaled to a return of variance 1 while learning; what is reported is not."""


@dataclass(frozen=True, kw_only=True)
class FurtherOptions:
    """How it learns, beyond the usual."""

    refresh: Annotated[Literal["epoch", "never"] | None, default_is("epoch")] = None
    """Where rows are cut into sequences: compute the memory before each anew in every pass, or keep it as it was."""
    burn_in: Annotated[OptionalWholeNumber, default_is("0")] = None
    """Steps of the rollout before from which the memory is warmed up with the weights of the moment."""
    target_kl: Annotated[OptionalRealNumber, default_is("none")] = None
    """Stop an update when the policy has moved 1.5 times this far, in nats."""
    clip_range_vf: Annotated[OptionalRealNumber, default_is("none")] = None
    """How far one update may move a value, in units of the return."""
    normalize_advantage: Annotated[bool | None, default_is("True")] = None
    """Whether advantages are scaled to mean 0 and variance 1 in each minibatch."""
    use_sde: Annotated[bool | None, FOLLOWS_TASK] = None
    """Whether continuous actions explore with noise that depends on the state (gSDE)."""
    sde_sample_freq: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Steps after which that noise is drawn anew; -1: once a rollout."""
    compile_policy: Annotated[bool | None, default_is("False")] = None
    """Compile the learning pass by torch.compile: the first update takes seconds to minutes longer."""


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """What it learns from; scores and returns that are shown stay the environment's own."""

    potential: Annotated[OptionalText, FUNCTION] = None
    """The function potential(obs): about how much return is still to come. A step is paid its rise, which helps to find
    rewards that are rare, and leaves the best policy the best."""
    reward: Annotated[OptionalText, FUNCTION] = None
    """The function reward(obs, action, next_obs, info) whose value takes the place of the environment's reward. It can
    change which policy is best."""
    reward_scale: Annotated[OptionalRealNumber, default_is("1")] = None
    """What rewards are multiplied by, with the potential's part."""
    reward_clip: Annotated[OptionalRealNumber, default_is("not at all")] = None
    """Rewards are clipped to this size, either way, before the potential's part and the scale. It can change which
    policy is best."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What it is."""

    critic_core: Annotated[Literal["shared", "separate", "none"] | None, default_is("shared")] = None
    """What the critic remembers with: the actor's memory, one of its own, or none."""
    checkpoint_steps: Annotated[OptionalWholeNumber, default_is("everything is kept")] = None
    """Keep only the memory every so many steps while learning, and compute the rest again: less memory, more time."""

    d_model: Annotated[OptionalWholeNumber, FOLLOWS_AGENT] = None
    """Features between the blocks."""
    d_state: Annotated[OptionalWholeNumber, FOLLOWS_AGENT] = None
    """Size of the memory of each block."""
    n_blocks: Annotated[OptionalWholeNumber, FOLLOWS_AGENT] = None
    """Blocks on top of each other."""
    core_kwargs: Annotated[Words, ASSIGNMENTS] = ()
    """Options of the sequence model, as name=value: horizon=2,500 rotation=0.5 ..."""


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """What the commands that train have in common."""

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[ENV]")] = DEFAULT_ENV
    """Any Gymnasium id; `s7rl list envs` shows those that need memory."""
    agent: Annotated[str, tyro.conf.arg(metavar="NAME")] = "s7"
    """One of `s7rl list agents`; "none" has no memory, for comparison."""
    preset: Annotated[OptionalText, tyro.conf.arg(metavar="FILE.toml", help_behavior_hint="(default: none)")] = None
    """A file of options, as `s7rl tune` writes one. Those that are given beside it win."""
    steps: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Environment steps to train for, over all environments together."""
    seed: WholeNumber = 0
    """Seed of the weights, the environments and the exploration."""
    env_kwargs: Annotated[Words, ASSIGNMENTS] = ()
    """Keyword arguments of the environment, as name=value: corridor_length=500 ..."""
    wrappers: Annotated[Words, WRAPPERS] = ()
    """What stands around the environment, the first innermost: "Flicker(probability=0.5)" PreviousActionReward ..."""
    n_envs: Annotated[OptionalWholeNumber, FOLLOWS_TASK] = None
    """Environments stepped side by side."""
    engine: Literal["auto", "minigrid"] = "auto"
    """What plays MiniGrid's Memory mazes: our batched engine, which is the same step for step, or minigrid itself."""
    workers: Literal["auto", "batched", "loop", "processes"] = "auto"
    """How environments are stepped: our batched engine, a loop, or a process each. By itself: the engine if there is
    one, else whichever a trial of a few milliseconds finds faster."""
    worker_timeout: WholeNumber = 300
    """Seconds after which a process that does not answer counts as hanging; 0 waits for ever. What is not an engine of
    ours is also made once beforehand, to see what it is: in such a process, or with 0 in the main one."""
    threads: Annotated[OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: chosen by the size)")] = None
    """Threads of torch. Small networks run fastest on one."""
    device: str = "auto"
    """Where the network runs: auto, cpu, cuda, ..."""
    ppo: tyro.conf.OmitArgPrefixes[PPOOptions] = field(default_factory=PPOOptions)
    further: tyro.conf.OmitArgPrefixes[FurtherOptions] = field(default_factory=FurtherOptions)
    rewards: tyro.conf.OmitArgPrefixes[RewardOptions] = field(default_factory=RewardOptions)
    network: tyro.conf.OmitArgPrefixes[NetworkOptions] = field(default_factory=NetworkOptions)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LearnConfig):
    """Train an agent on a task, and test whether it remembers.

    Every setting that is not given follows the task. Writes a run folder with the agent, its learning curve and its
    score; Ctrl-C stops cleanly and keeps what was learned.
    """

    stop_return: Annotated[OptionalRealNumber, default_is("all steps are made")] = None
    """Stop before --steps are made, at the end of the rollout in which the last 100 episodes have this mean return."""
    out: Annotated[OptionalText, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: a new one in --runs)")] = (
        None
    )
    """The run folder. It must not exist yet."""
    runs: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs"
    """Where new run folders are made."""
    track: Annotated[
        tuple[Literal["wandb", "mlflow", "trackio"], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: none; may be given several times)"),
    ] = ()
    """Log to wandb, mlflow or trackio, too (extras of these names). Each obeys its own environment variables:
    WANDB_MODE=offline, MLFLOW_TRACKING_URI, TRACKIO_DIR ..."""
    eval_episodes: WholeNumber = 100
    """Episodes on fresh seeds at the end; 0 skips the evaluation."""
    debug_anomalies: bool = False
    """Name the layer where a number becomes nan or infinite; slow."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig(LearnConfig):
    """Search for the options to learn a task with, and write them as a preset for `s7rl train`.

    Each trial trains an agent for a part of the steps and scores it on seeds that no evaluation uses. Options that are
    given are not searched. The same command goes on with a study that was stopped; several at a time share its trials.
    """

    trials: WholeNumber = 20
    """Trials of the whole study: those that are finished, and those that other processes are at, count."""
    steps: Annotated[OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: a quarter of a training)")] = None
    """Environment steps of a trial."""
    seed: WholeNumber = 0
    """Seed of the first trial and of what is drawn for it; that of each further trial is one more."""
    sampler: Literal["tpe", "cmaes", "random"] = "tpe"
    """How options are chosen: by Parzen estimators, by an evolution strategy (with many trials), or at random."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """What stops trials early: being below the median of those before, successive halving, or nothing."""
    eval_episodes: WholeNumber = 50
    """Episodes at the end of a trial; their mean return is its score."""
    out: Annotated[
        OptionalText, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: --runs/tune/TASK-AGENT)")
    ] = None
    """The study's folder, whose name is the study's: a new one, or that of the same request, to go on in."""
    storage: Annotated[
        OptionalText, tyro.conf.arg(metavar="URL", help_behavior_hint="(default: study.db, SQLite, in the folder)")
    ] = None
    """Where Optuna keeps the study: a database, for processes on several machines."""
    runs: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs"
    """Where the folder is made, unless --out says it."""


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
    new number; a run that has reached its --stop-return makes them all."""
    eval_episodes: WholeNumber = 100
    """Episodes on fresh seeds at the end; 0 skips the evaluation."""
    debug_anomalies: bool = False
    """Name the layer where a number becomes nan or infinite; slow."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Run every one of some agents on every one of some tasks, several times, and show what came of it.

    Each run is what `s7rl train` does, in a process and a folder of its own; results.csv has their scores. Ctrl-C, or
    anything worse, stops them; the same command goes on where they were, and ends with the same scores.
    """

    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME|FILE.toml")]
    """One that `s7rl list experiments` shows with this command, or a file of agents, tasks and seeds;
    docs/pages/comparing.md shows one."""
    out: Annotated[OptionalText, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: --runs/NAME)")] = None
    """The experiment's folder: a new one, or that of the same or of a smaller grid, to go on in."""
    runs: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs"
    """Where the folder is made, unless --out says it."""
    launcher: Literal["local", "ray"] = "local"
    """Where runs run: in processes of this machine, or as tasks of Ray, whose nodes must all see the folder."""
    address: Annotated[
        OptionalText, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="(default: a Ray of its own, here)")
    ] = None
    """The cluster of --launcher ray."""
    processes: Annotated[OptionalWholeNumber, tyro.conf.arg(help_behavior_hint="(default: one for each core)")] = None
    """Runs side by side, with one torch thread each unless the grid says otherwise."""
    only: Annotated[Words, tyro.conf.arg(metavar="PATTERN ...", help_behavior_hint="(default: all)")] = ()
    """Run only what is called so, now: "*/s7/*" is agent s7 on every task, "maze/*/seed[0-2]" three seeds of all agents
    on one. The others are left for another time, or for another machine."""
    retry: bool = False
    """Take up the runs that failed, too, where their last checkpoints stand; otherwise they are left as they are."""
    controls: bool = True
    """Whether the agents none, without memory, and stack, which sees the last 4 steps, are added where no agent is of
    these presets: without them a score says nothing of memory."""


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Write what came of an experiment as one HTML page, with figures, tables and what they say.

    `s7rl experiment` does it at its end. Figures and their numbers go into the folder, too, as PNG and CSV. Runs
    that failed or are not finished are named, and left out.
    """

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DIR")]
    """The folder that `s7rl experiment` made."""
    out: Annotated[
        OptionalText,
        tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: DIR/report.html, even if it is there)"),
    ] = None
    """The page. The file must not exist yet."""


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """List what there is: tasks, agents, experiments worth running, or agents that come trained.

    A table, or in a pipe or a file one line each, with tabs between its parts.
    """

    what: tyro.conf.Positional[Literal["envs", "agents", "experiments", "pretrained"]]
    """What to list."""
    suite: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all; may be given several times)"),
    ] = ()
    """Environments of this suite only: memory, minigrid, popgym, control, mujoco, atari or vision."""
    text: Annotated[OptionalText, tyro.conf.arg(metavar="TEXT", help_behavior_hint="(default: all)")] = None
    """Only what has this text in its name or its description, in capitals or not."""


def as_options(message: str) -> str:
    """A message about arguments of RecurrentPPO in the words of the command line: --batch-size for batch_size."""
    groups = (PPOOptions, FurtherOptions, RewardOptions, NetworkOptions, TrainConfig)
    names = {option.name for group in groups for option in fields(group)}
    # Only those that are no words of English; the others where the message begins with them.
    pattern = "|".join(rf"\b{name}\b" if "_" in name else rf"^{name}\b" for name in sorted(names))
    return re.sub(pattern, lambda found: f"--{found[0].replace('_', '-')}", message)
