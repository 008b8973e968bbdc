"""The named agents and experiments, and what changes from one suite of tasks to another.

Presets are values of frozen dataclasses. The numbers of the suites are single choices, not tuned but for those of
``memory`` (the READMEs in experiments/results/tmaze and, of its scaling, experiments/results/noise say how); where a
number can follow from the task (rollout length, minibatch, memory horizons) it does, in ``settings``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from s7rl.experiments.grid import Grid


@dataclass(frozen=True, kw_only=True)
class AgentPreset:
    """A network by name."""

    summary: str
    """One line for `s7rl list agents`."""
    core: str
    """The sequence model, a name of ``s7rl.core_names()``."""
    has_memory: bool = True
    """Whether anything is carried from one step to the next."""
    has_modes: bool = False
    """Whether the core is a state space model: it takes ``d_state``."""
    has_horizon: bool = False
    """Whether the core takes the option ``horizon``, which then follows from the task."""
    core_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Options of the core; they go over the task's ``horizon``, and what the user gives goes over them."""
    d_model: int = 64
    """Features between the blocks."""
    d_state: int = 128
    """Modes of each block of a state space model."""
    n_blocks: int = 1
    """Blocks on top of each other."""


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """How to learn the tasks of one suite. Steps are environment steps."""

    n_envs: int = 16
    """Environments side by side, where ``max_rollout_steps`` allows."""
    min_n_steps: int = 128
    """The rollout is at least this long, however short the task's memory."""
    max_n_steps: int = 2**16
    """The rollout is at most this long, however long the task's memory."""
    max_rollout_steps: int = 2**18
    """Environments are halved while a rollout has more steps than this, over all of them. The default takes about 1 GB
    while learning, at 64 features and one block."""
    min_n_envs: int = 16
    """They are not halved below this: a step of few costs as much as one of many, and what few see is more alike."""
    batch_steps: int = 2048
    """A minibatch has about as many steps as this, in whole rows; up to twice as many where rows are long."""
    n_epochs: int = 4
    """Passes over each rollout."""
    learning_rate: float = 1e-3
    """Adam's step size at the start."""
    dynamics_lr_factor: float = 1.0
    """Step size of the parameters that set the memory's time scales, as a share of the step size."""
    anneal: bool = True
    """Whether the step size falls linearly to 0 over the run."""
    gamma: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Trace decay of the advantage estimate."""
    clip_range: float = 0.2
    """Clipping of the probability ratio."""
    ent_coef: float = 0.01
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradient clipping."""
    horizon_factor: int = 10
    """The slowest modes start with a horizon of this many times the task's memory span: they cost nothing."""
    normalize_observations: bool | Literal["scale"] = False
    """Whether Box observations, images aside, are scaled to mean 0 and variance 1 (SB3's VecNormalize); "scale": to a
    mean square of 1, their mean left where it is (``s7rl.agents.VecScale``)."""
    normalize_rewards: bool = True
    """Whether rewards are scaled to a return of variance 1 (SB3's VecNormalize): unscaled, a single one is often too
    small for the value to notice."""
    sde_sample_freq: int | None = None
    """Box actions explore with noise that depends on the state (gSDE), drawn anew after so many steps; None: not so."""


AGENTS: Mapping[str, AgentPreset] = MappingProxyType(
    {
        "s7": AgentPreset(
            summary="S7, an input-dependent state space model (the default)",
            core="s7",
            has_modes=True,
            has_horizon=True,
        ),
        "s7-small": AgentPreset(
            summary="S7 of half the size, for short memories and slow machines",
            core="s7",
            has_modes=True,
            has_horizon=True,
            d_model=32,
            d_state=64,
        ),
        "s7-base": AgentPreset(
            summary="the same as s7, for comparisons by size", core="s7", has_modes=True, has_horizon=True
        ),
        "s7-long": AgentPreset(
            summary="S7 that adds up rectified changes, no exact lags: for a cue thousands of steps back",
            core="s7",
            has_modes=True,
            has_horizon=True,
            # What scatters, adds up or cancels at the end of a corridor: examples/cue_at_the_end.py.
            core_kwargs={"rotation": 0.0, "token_shift": 1.0, "rectified": True, "input_scale": 0.0},
        ),
        "s5": AgentPreset(summary="S5, the same dynamics whatever the input: S7's ancestor", core="s5", has_modes=True),
        "s4d": AgentPreset(
            summary="S4D, a state space per feature: a wide state, slow here",
            core="s4d",
            has_modes=True,
            d_state=32,
        ),
        "mamba": AgentPreset(
            summary="Mamba, input-dependent step sizes, per channel: a wide state, slow here",
            core="mamba",
            has_modes=True,
            d_state=16,
        ),
        "lru": AgentPreset(summary="linear recurrent unit, modes on a ring", core="lru", has_modes=True),
        "mingru": AgentPreset(
            summary="minimal gated recurrent unit, small and linear in time", core="mingru", has_horizon=True
        ),
        "gru": AgentPreset(summary="gated recurrent unit, the classic", core="gru"),
        "lstm": AgentPreset(
            summary="long short-term memory, its gates set for the task's horizon", core="lstm", has_horizon=True
        ),
        "gtrxl": AgentPreset(summary="gated transformer: sees the last 64 steps and nothing older", core="gtrxl"),
        "stack": AgentPreset(summary="the last 4 steps side by side: the control for short memory", core="stack"),
        "none": AgentPreset(summary="no memory: what can be had without", core="none", has_memory=False),
    }
)

SUITES: Mapping[str, SuiteSettings] = MappingProxyType(
    {
        # Until a cue is used the value cannot foresee an episode's end: at a weight of 0.5 its errors drown the cue.
        # Clipping bounds what one rollout teaches, however long it is: many small ones teach more.
        # A cue is rare: unscaled, numbers of noise at every step drown it.  Of a noisy corridor, which looks alike at
        # every step, only the noise would be left if the mean were taken away.
        "memory": SuiteSettings(
            n_envs=32,
            min_n_steps=256,
            max_rollout_steps=2**13,
            min_n_envs=8,
            vf_coef=0.03,
            normalize_observations="scale",
        ),
        # Most of a one-hot view never changes: unscaled, it drowns the few cells that say something.
        # An agent that walks straight on never sees the cue: the entropy bonus keeps it looking round until that pays.
        "minigrid": SuiteSettings(n_envs=32, min_n_steps=256, ent_coef=0.02, normalize_observations=True),
        # A discount of 0.9 or a trace decay of 0.8 is better for RepeatPrevious, worse for PositionOnlyCartPoleHard.
        "popgym": SuiteSettings(n_envs=32, min_n_steps=256),
        # A force that is drawn anew at each step cancels itself out: it rocks no car out of a valley.
        "control": SuiteSettings(
            n_envs=8,
            batch_steps=1024,
            n_epochs=10,
            gae_lambda=0.98,
            ent_coef=0.0,
            normalize_observations=True,
            sde_sample_freq=4,
        ),
        "mujoco": SuiteSettings(ent_coef=0.0, normalize_observations=True),
        # A step holds a picture, and episodes last for thousands: the rollout is what memory allows.
        "atari": SuiteSettings(n_envs=8, max_n_steps=256, learning_rate=2.5e-4),
        "vision": SuiteSettings(n_envs=8, max_n_steps=256, learning_rate=2.5e-4),
        "gymnasium": SuiteSettings(normalize_observations=True),
    }
)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A command worth running, with what it shows."""

    command: str
    """What to type."""
    shows: str
    """What to expect."""


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "tmaze-50": Experiment(
            command="s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=50",
            shows="one cue remembered for 50 steps; 0.50 without memory, 1.00 at best",
        ),
        "tmaze-500": Experiment(
            command="s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=500",
            shows="the same for 500 steps",
        ),
        "tmaze-1000": Experiment(
            command="s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=1000",
            shows="the same for 1,000 steps",
        ),
        "minigrid-memory": Experiment(
            command="s7rl train MiniGrid-MemoryS11-v0",
            shows="look for the cue, then remember it; 0.50 without memory, 0.99 at best",
        ),
        "minigrid-memoryless": Experiment(
            command="s7rl train MiniGrid-MemoryS11-v0 --agent none",
            shows="the same without memory: a coin toss",
        ),
        "repeat-previous": Experiment(
            command="s7rl train s7rl/RepeatPrevious-v0",
            shows="name the card shown 31 steps ago, at every step; 1.00 at best",
        ),
        "cartpole": Experiment(
            command="s7rl train s7rl/CartPolePositionOnly-v0",
            shows="balance without seeing velocities; about 50 without memory, 500 at best",
        ),
    }
)

GRIDS: Mapping[str, Grid] = MappingProxyType(
    {
        "basics": Grid(
            summary="a cue held, symbols repeated, velocities inferred: who remembers, in seven minutes on two cores",
            tasks={
                "tmaze-50": "s7rl/TMazePassive-v0 --env-kwargs corridor_length=50 --steps 2e5",
                "repeat-previous-8": "s7rl/RepeatPrevious-v0 --env-kwargs k=8 --steps 2e5",
                "cartpole-position-only": "s7rl/CartPolePositionOnly-v0 --steps 1e5",
            },
            agents={agent: f"--agent {agent}" for agent in ("s7", "gru", "lstm", "none")},
        ),
    }
)
