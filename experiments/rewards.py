"""The options about rewards: the user's functions, found and checked, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from s7rl.envs.rewards import RewardShaping, import_function
from s7rl.experiments.config import as_options
from s7rl.experiments.errors import UsageError
from s7rl.experiments.settings import RunSettings


def reward_shaping(settings: RunSettings) -> RewardShaping | None:
    """What the rewards of a run's environments become while it learns; None: they stay as they are.

    Raises:
        UsageError: a function cannot be imported, or takes other arguments.
    """
    options = settings.reward_options
    if not options:
        return None
    try:
        return RewardShaping(
            potential=_function("potential", options),
            reward=_function("reward", options),
            scale=options.get("reward_scale", 1.0),
            clip=options.get("reward_clip"),
            discount=settings.gamma,
        )
    except (ValueError, TypeError) as error:
        raise UsageError(as_options(str(error))) from error


def describe_rewards(options: Mapping[str, Any]) -> str:
    """What is learned from, in one line; empty where it is the environment's reward as it is."""
    parts = [f"those of {options['reward']}"] if "reward" in options else []
    parts += [f"clipped to {options['reward_clip']:g}"] if "reward_clip" in options else []
    parts += [f"shaped by the potential {options['potential']}"] if "potential" in options else []
    parts += [f"times {options['reward_scale']:g}"] if "reward_scale" in options else []
    return f"{', '.join(parts)}; returns below are the environment's own" if parts else ""


def _function(name: str, options: Mapping[str, Any]) -> Callable[..., Any] | None:
    if name not in options:
        return None
    try:
        return import_function(options[name])
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"--{name} {error}") from error
