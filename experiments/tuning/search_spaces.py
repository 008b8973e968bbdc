"""What is searched: the options of PPO and of the network that matter most, and those of each core.

A dimension is a function that asks a trial for a value, under the option's name. Values are rounded to three digits, so
that what a preset says is what was tried. Ranges are single choices, around the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from s7rl.envs import Task
from s7rl.experiments.arguments import read_assignments, write_assignments
from s7rl.experiments.config import LearnConfig, NetworkOptions, PPOOptions, TrainConfig
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.settings import UNKNOWN_SPAN, reach_of

if TYPE_CHECKING:
    from optuna import Trial

Dimension: TypeAlias = "Callable[[Trial, str], Any]"


def log_uniform(low: float, high: float) -> Dimension:
    """A number, each of its orders of magnitude as likely as any other."""
    return lambda trial, name: _rounded(trial.suggest_float(name, low, high, log=True))


def just_below_1(nearest: float, farthest: float) -> Dimension:
    """A number as far from 1 as ``log_uniform`` says."""
    return lambda trial, name: _below_1(trial.suggest_float(f"1 - {name}", nearest, farthest, log=True))


def uniform(low: float, high: float) -> Dimension:
    """A number, anywhere between two others."""
    return lambda trial, name: _rounded(trial.suggest_float(name, low, high))


def whole(low: int, high: int) -> Dimension:
    """A whole number, both ends included."""
    return lambda trial, name: trial.suggest_int(name, low, high)


def one_of(*values: str | int | float) -> Dimension:
    """One of a few values."""
    return lambda trial, name: trial.suggest_categorical(name, values)


def horizons(reach: int) -> Dimension:
    """From 2 steps to as many times ``reach`` as the trial says, from one to a thousand."""

    def ask(trial: Trial, name: str) -> tuple[float, float]:
        return 2.0, max(4.0, _rounded(reach * trial.suggest_float(f"{name} / reach", 1.0, 1000.0, log=True)))

    return ask


def step_range(trial: Trial, name: str) -> tuple[float, float]:
    """The steps of a discretisation, whose inverses are time constants: from what the trial says to 0.1."""
    return _rounded(trial.suggest_float(f"least {name}", 1e-5, 1e-2, log=True)), 0.1


def ring(trial: Trial, name: str) -> tuple[float, float]:
    """Where eigenvalues lie at first: from 0.9 to what the trial says."""
    return 0.9, _below_1(trial.suggest_float(f"1 - greatest {name}", 1e-5, 1e-2, log=True))


COMMON: Mapping[str, Dimension] = {
    "learning_rate": log_uniform(1e-4, 1e-2),
    "gamma": just_below_1(5e-4, 0.1),
    "gae_lambda": just_below_1(5e-3, 0.2),
    "ent_coef": log_uniform(1e-4, 0.1),
    "vf_coef": log_uniform(1e-2, 1.0),
    "clip_range": one_of(0.1, 0.2, 0.3, 0.4),
    "n_epochs": whole(2, 10),
    "d_model": one_of(32, 64, 128),
    "n_blocks": whole(1, 2),
}
"""Of every agent."""


def space_of_core(core: str, reach: int) -> Mapping[str, Dimension]:
    """What is searched beside ``COMMON``.

    Args:
        core: a name of ``s7rl.core_names()``.
        reach: steps from a cue to its use, for cores with horizons.
    """
    dynamics = {"dynamics_lr_factor": log_uniform(0.1, 1.0)}
    modes = {"d_state": one_of(64, 128, 256), **dynamics}
    steps = {"step_range": step_range}
    spaces: dict[str, Mapping[str, Dimension]] = {
        "s7": {
            **modes,
            "horizon": horizons(reach),
            "rotation": one_of(0.0, 0.25, 0.5, 0.75, 1.0),
            "selectivity": one_of("diagonal", "low_rank"),
            "token_shift": uniform(0.0, 1.0),
            "input_scale": one_of(0.0, 0.25, 0.5),
        },
        "s5": {**modes, **steps},
        "s4d": {**modes, **steps, "d_state": one_of(16, 32, 64)},
        "mamba": {**modes, **steps, "d_state": one_of(8, 16, 32), "expand": one_of(1, 2), "d_conv": one_of(2, 4, 8)},
        "lru": {**modes, "r_range": ring, "max_phase": log_uniform(0.01, 6.28)},
        "mingru": {**dynamics, "horizon": horizons(reach)},
        "gru": {},
        "lstm": {"horizon": horizons(reach)},
        "gtrxl": {"window": one_of(16, 32, 64, 128), "n_heads": one_of(2, 4, 8)},
        "stack": {"n_frames": one_of(2, 4, 8, 16)},
        "none": {},
    }
    return spaces[core]


def space_of(task: Task, request: TrainConfig) -> dict[str, Dimension]:
    """What is searched for a task: all that the request and its agent leave open."""
    agent, options = AGENTS[request.agent], options_of(request)
    every = {**COMMON, **space_of_core(agent.core, reach_of(task) or UNKNOWN_SPAN)}
    given = {*agent.core_kwargs, *options, *options.get("core_kwargs", {})}
    return {name: dimension for name, dimension in every.items() if name not in given}


def with_options(request: TrainConfig, options: Mapping[str, Any]) -> TrainConfig:
    """The request with options of PPO, of the network, and, by any other name, of its core."""
    ppo = {field.name for field in fields(PPOOptions)}
    network = {field.name for field in fields(NetworkOptions)}
    core = {name: value for name, value in options.items() if name not in ppo | network}
    return replace(
        request,
        ppo=replace(request.ppo, **{name: value for name, value in options.items() if name in ppo}),
        network=replace(
            request.network,
            **{name: value for name, value in options.items() if name in network},
            core_kwargs=(*request.network.core_kwargs, *(write_assignments({n: v}) for n, v in core.items())),
        ),
    )


def options_of(request: LearnConfig) -> dict[str, Any]:
    """The options that a request gives, as a preset holds them."""
    groups = (request.ppo, request.further, request.rewards, request.network)
    given = {name: value for group in groups for name, value in asdict(group).items() if value is not None}
    core = read_assignments("--core-kwargs", given.pop("core_kwargs"))
    if request.n_envs is not None:
        given["n_envs"] = request.n_envs
    return given | ({"core_kwargs": core} if core else {})


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _below_1(distance: float) -> float:
    return round(1 - _rounded(distance), 8)
