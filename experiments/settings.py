"""From a task and a request to everything that a run needs: pure arithmetic, no torch.

The rules and where they come from:

* **The rollout spans two memories.** A decision can only learn to use a cue if both lie in one rollout, and a rollout
  starts anywhere in an episode; so ``n_steps`` is the next power of two from twice the task's memory span (its
  episode length where no span is known), or, above ``LONG_STEP``, the next multiple of that.
* **Long spans get fewer environments**: halved while a rollout has more than ``max_rollout_steps`` steps over all of
  them, down to ``min_n_envs``; and at most ``max_n_steps`` steps each.
* **A minibatch** has about ``batch_steps`` steps in whole rows: up to twice that where rows are long, and always a row.
* **The slowest modes** start well beyond what must be remembered: ``horizon_factor`` times as far as the gradient must
  reach back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from s7rl.agents.minibatch_sizes import cut_rollout, divisors
from s7rl.envs import Task, has_batched_engine
from s7rl.experiments.arguments import read_assignments, write_assignments
from s7rl.experiments.config import TrainConfig, as_options
from s7rl.experiments.errors import UsageError
from s7rl.experiments.presets import AGENTS, SUITES, AgentPreset, SuiteSettings

UNKNOWN_SPAN = 100
"""The memory span that horizons are derived from where the task says nothing."""
LONG_STEP = 2048
"""Longer rollouts have a multiple of so many steps, not a power of two: 10,240 for a reach of 5,001, not 16,384."""
EVALUATION_SEED = 10_000
"""First seed of an evaluation, beyond the training's own."""
FREE = ("workers", "worker_timeout", "threads", "device")
"""Settings of a run that make it no other agent."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that makes a run, with nothing left open. Saved in the run folder."""

    env_id: str
    """Gymnasium id."""
    env_kwargs: Mapping[str, Any]
    """Keyword arguments of the environment."""
    wrappers: tuple[str, ...]
    """What stands around it, the first innermost, as ``s7rl.envs.make_env`` takes it."""
    agent: str
    """Name of the preset that the network started from."""
    core: str
    """Name of the sequence model."""
    core_kwargs: Mapping[str, Any]
    """Options of the sequence model."""
    policy_kwargs: Mapping[str, Any]
    """Further options of the policy that were given."""
    ppo_kwargs: Mapping[str, Any]
    """Further options of RecurrentPPO that were given."""
    reward_options: Mapping[str, Any]
    """How rewards are changed while learning, by the names in ``config.RewardOptions``; empty: not at all."""
    d_model: int
    """Features between the blocks."""
    d_state: int
    """Size of the memory of each block."""
    n_blocks: int
    """Blocks on top of each other."""
    seed: int
    """Seed of everything."""
    steps: int
    """Environment steps to train for, over all environments."""
    stop_return: float | None = None
    """Mean return of the last training episodes at which it has learned enough and stops; None: never."""
    n_envs: int
    """Environments side by side."""
    n_steps: int
    """Steps of each environment in one rollout."""
    batch_size: int
    """Steps in one minibatch."""
    sequence_length: int | None
    """Steps of a sequence; None: whole rows, or one minibatch."""
    n_epochs: int
    """Passes over each rollout."""
    learning_rate: float
    """Adam's step size at the start."""
    dynamics_lr_factor: float
    """Step size of the parameters that set the memory's time scales, as a share of the step size."""
    anneal: bool
    """Whether the step size falls linearly to 0 over the run."""
    gamma: float
    """Discount per step."""
    gae_lambda: float
    """Trace decay of the advantage estimate."""
    clip_range: float
    """Clipping of the probability ratio."""
    ent_coef: float
    """Weight of the entropy bonus."""
    vf_coef: float
    """Weight of the value loss."""
    max_grad_norm: float
    """Gradient clipping."""
    normalize_observations: bool | Literal["scale"]
    """Whether Box observations, images aside, are scaled to mean 0 and variance 1; "scale": to a mean square of 1."""
    normalize_rewards: bool
    """Whether rewards are scaled to a return of variance 1."""
    sde_sample_freq: int | None = None
    """Box actions explore with noise that depends on the state (gSDE), drawn anew after so many steps; None: without.
    What ``ppo_kwargs`` says of it wins."""
    workers: str
    """How environments are stepped, one of ``s7rl.agents.vectorization.WORKERS``; "auto" and "single" only before it
    has begun."""
    worker_timeout: int
    """Seconds that a worker process has for an answer; 0: for ever."""
    threads: int | None
    """Threads of torch; None leaves the choice to the trainer."""
    device: str
    """Where the network runs."""
    reach_needed: int | None
    """Steps that the gradient must reach back to use what must be remembered; None where it is not known."""

    def __post_init__(self) -> None:
        """Checks each value by itself, then those that must fit each other."""
        for name in ("steps", "n_envs", "n_epochs", "d_model", "d_state", "n_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{_option(name)} {getattr(self, name)} must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--threads {self.threads} must be at least 1, or left out")
        if self.worker_timeout < 0:
            raise ValueError(f"--worker-timeout {self.worker_timeout} must not be negative; 0 waits for ever")
        if self.n_steps < 2:
            raise ValueError(f"--n-steps {self.n_steps} must be at least 2: memory is learned across steps")
        if not 0 <= self.seed < 2**32 - self.n_envs:
            raise ValueError(f"--seed {self.seed} must be at least 0 and below {2**32 - self.n_envs}")
        for name in ("learning_rate", "clip_range", "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{_option(name)} {getattr(self, name)} must be above 0")
        for name in ("reward_scale", "reward_clip"):
            if self.reward_options.get(name, 1) <= 0:
                raise ValueError(f"{_option(name)} {self.reward_options[name]} must be above 0")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{_option(name)} {getattr(self, name)} must be from 0 to 1")
        for name in ("ent_coef", "vf_coef", "dynamics_lr_factor"):
            if getattr(self, name) < 0:
                raise ValueError(f"{_option(name)} {getattr(self, name)} must not be negative")
        try:
            cut_rollout(self.n_envs, self.n_steps, self.batch_size, self.sequence_length)
        except ValueError as error:
            raise ValueError(as_options(str(error))) from None

    @property
    def gradient_falls_short(self) -> bool:
        """Whether a decision lies further from its cue than any rollout is long."""
        return self.reach_needed is not None and self.reach_needed > self.n_steps

    @property
    def annealing(self) -> float:
        """After how many times ``steps`` a step size that falls linearly is 0: one rollout after the last update."""
        return (self.whole_steps + self.n_envs * self.n_steps) / self.steps

    @property
    def whole_steps(self) -> int:
        """``steps``, rounded up to whole rollouts: what a run that nothing stops makes."""
        rollout = self.n_envs * self.n_steps
        return -(-self.steps // rollout) * rollout

    @property
    def has_memory(self) -> bool:
        """Whether the agent carries anything from step to step."""
        return AGENTS[self.agent].has_memory

    @property
    def task_name(self) -> str:
        """The environment with its arguments and wrappers, for titles."""
        return " ".join(filter(None, [self.env_id, write_assignments(self.env_kwargs), *self.wrappers]))

    @property
    def evaluation_seed(self) -> int:
        """The first seed that evaluations use: none of the training environments had it or a later one."""
        return max(EVALUATION_SEED, self.seed + self.n_envs)


def settings_for(task: Task, agent: AgentPreset, config: TrainConfig) -> RunSettings:
    """Derives a run's settings from its task, its agent, and what the user gave.

    Args:
        task: what is known about the task, with its keyword arguments taken into account.
        agent: the network, an entry of ``presets.AGENTS`` under the name ``config.agent``.
        config: the user's request; whatever is None in it is derived.

    Raises:
        ValueError: a value is out of range, or two do not fit each other; the text names the option.
        UsageError: a ``name=value`` option is not one.
    """
    suite = SUITES[task.suite]
    ppo, network = config.ppo, config.network
    reach = reach_of(task)
    n_steps = ppo.n_steps if ppo.n_steps is not None else rollout_length(reach, suite)
    n_envs = config.n_envs if config.n_envs is not None else environments(n_steps, suite)
    core_kwargs: dict[str, Any] = {}
    if agent.has_horizon:
        longest = suite.horizon_factor * (reach or UNKNOWN_SPAN)
        core_kwargs["horizon"] = (2.0, float(longest))
    if network.d_state is not None and not agent.has_modes:
        raise UsageError(
            f"--d-state {network.d_state} is for state space models, agent {config.agent} is none: leave it out"
        )
    given = read_assignments("--core-kwargs", network.core_kwargs)
    core_kwargs.update(agent.core_kwargs, **given)
    for name in ("d_model", "d_state", "n_blocks"):
        if name in given:
            raise UsageError(f"--core-kwargs {name} has an option of its own: use {_option(name)}")
    return RunSettings(
        env_id=task.env_id,
        env_kwargs=dict(task.env_kwargs),
        wrappers=task.wrappers,
        agent=config.agent,
        core=agent.core,
        core_kwargs=core_kwargs,
        policy_kwargs=_given(critic_core=network.critic_core, checkpoint_steps=network.checkpoint_steps),
        ppo_kwargs=_given(**asdict(config.further)),
        reward_options=_given(**asdict(config.rewards)),
        d_model=_first(network.d_model, agent.d_model),
        d_state=_first(network.d_state, agent.d_state),
        n_blocks=_first(network.n_blocks, agent.n_blocks),
        seed=config.seed,
        steps=_first(config.steps, task.steps),
        stop_return=config.stop_return,
        n_envs=n_envs,
        n_steps=n_steps,
        batch_size=_first(ppo.batch_size, _batch_size(n_envs, n_steps, ppo.sequence_length, suite)),
        sequence_length=ppo.sequence_length,
        n_epochs=_first(ppo.n_epochs, suite.n_epochs),
        learning_rate=_first(ppo.learning_rate, suite.learning_rate),
        dynamics_lr_factor=_first(ppo.dynamics_lr_factor, suite.dynamics_lr_factor),
        anneal=_first(ppo.anneal, suite.anneal),
        gamma=_first(ppo.gamma, suite.gamma),
        gae_lambda=_first(ppo.gae_lambda, suite.gae_lambda),
        clip_range=_first(ppo.clip_range, suite.clip_range),
        ent_coef=_first(ppo.ent_coef, suite.ent_coef),
        vf_coef=_first(ppo.vf_coef, suite.vf_coef),
        max_grad_norm=_first(ppo.max_grad_norm, suite.max_grad_norm),
        normalize_observations=task.shows_numbers is not False
        and _first(ppo.normalize_observations, suite.normalize_observations),
        normalize_rewards=_first(ppo.normalize_rewards, suite.normalize_rewards),
        sde_sample_freq=suite.sde_sample_freq,
        workers=_workers(task, config),
        worker_timeout=config.worker_timeout,
        threads=config.threads,
        device=config.device,
        reach_needed=reach,
    )


def as_json(settings: RunSettings) -> dict[str, Any]:
    """Settings as a file gives them back, with lists for tuples."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return values


def difference_of(begun: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = FREE) -> str:
    """How settings differ from those that something was begun with: "gamma 0.9, now it would be 0.8"; empty if not.

    Args:
        begun: what it was begun with, as JSON gives it back.
        now: what it would be begun with, likewise.
        free: names that may differ.
    """
    for name in {**begun, **now}:
        if name not in free and begun.get(name) != now.get(name):
            return f"{name} {begun.get(name)}, now it would be {now.get(name)}"
    return ""


def reach_of(task: Task) -> int | None:
    """Steps from a cue to the decision that needs it, both counted; the episode's length where that is not known."""
    return task.memory_span + 1 if task.memory_span is not None else task.episode_length


def rollout_length(reach: int | None, suite: SuiteSettings) -> int:
    """Steps of each environment in a rollout: rounded up from twice the reach, within the limits."""
    if reach is None:
        return suite.min_n_steps
    wanted = min(next_power_of_two(2 * reach), -(-2 * reach // LONG_STEP) * LONG_STEP)
    return min(max(suite.min_n_steps, wanted), suite.max_n_steps)


def environments(n_steps: int, suite: SuiteSettings) -> int:
    """Environments side by side: the suite's number, halved while the rollout is too large."""
    n_envs = suite.n_envs
    while n_envs * n_steps > suite.max_rollout_steps and n_envs // 2 >= suite.min_n_envs:
        n_envs //= 2
    return n_envs


def minibatch_rows(n_rows: int, length: int, suite: SuiteSettings) -> int:
    """Rows in a minibatch, or sequences where rows are cut; a divisor of how many there are.

    As many as ``batch_steps`` holds; where that is fewer than 4, up to 4 in twice as many steps, since rows of one
    rollout resemble each other.
    """
    length = max(length, 1)
    wanted = max(suite.batch_steps // length, min(4, 2 * suite.batch_steps // length), 1)
    return max(rows for rows in divisors(max(n_rows, 1)) if rows <= wanted)


def _batch_size(n_envs: int, n_steps: int, sequence_length: int | None, suite: SuiteSettings) -> int:
    # A length that does not divide the rows is found out, and named, later.
    cut = sequence_length is not None and sequence_length > 0 and n_steps % sequence_length == 0
    length = sequence_length if cut and sequence_length else n_steps
    return length * minibatch_rows(n_envs * n_steps // max(length, 1), length, suite)


def next_power_of_two(number: int) -> int:
    """The smallest power of two that is not below ``number`` (which is at least 1)."""
    return 1 << (number - 1).bit_length()


def _workers(task: Task, config: TrainConfig) -> str:
    if config.engine == "auto":
        return config.workers
    if task.suite != config.engine:
        raise UsageError(
            f"--engine {config.engine} is for environments of {config.engine}, and {task.env_id} is none: leave it out"
        )
    if not has_batched_engine(task.env_id):
        raise UsageError(f"--engine {config.engine} switches off our engine, and {task.env_id} has none: leave it out")
    if config.workers == "batched":
        raise UsageError(f"--workers batched is our engine, which --engine {config.engine} switches off: give one only")
    return "single" if config.workers == "auto" else config.workers


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _first(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
