"""The options about rewards: the user's functions, found and checked, without torch."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from s7rl.checks import shown
from s7rl.envs.rewards import RewardShaping, error_and_place
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


def import_function(name: str) -> Callable[..., Any]:
    """Import a function by its name, ``module:function``, from where Python finds modules.

    Raises:
        ValueError: if the name is none, or there is nothing of that name in the module.
        ImportError: if there is no such module, or importing it fails.
        TypeError: if it cannot be called.
    """
    module_name, _, path = name.partition(":")
    parts = path.split(".")
    if module_name.endswith(".py") or "/" in module_name:
        stem = Path(module_name).stem
        raise ValueError(
            f"{name} names a file, not a module; write {stem}:{path or 'function'}, from the file's folder."
        )
    if not all(part.isidentifier() for part in [*module_name.split("."), *parts]):
        raise ValueError(f"{name} is not module:function, as in my_rewards:progress.")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise ImportError(
                f"{name} cannot be imported: there is no module {error.name!r} in {Path.cwd()} or among the installed "
                "packages."
            ) from error
        told = error_and_place(error)
        raise ImportError(f"{name} cannot be imported: importing {module_name} failed: {told}.") from error
    for part in parts:
        if not hasattr(found, part):
            own = [key for key in dir(found) if getattr(getattr(found, key), "__module__", None) == module_name]
            close = difflib.get_close_matches(part, own, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(own) or 'no function of its own'}."
            raise ValueError(f"{name} cannot be imported: {module_name} has no {path!r}: {hint}")
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} is {shown(found)}, which cannot be called; name a function.")
    function: Callable[..., Any] = found
    return function


def _function(name: str, options: Mapping[str, Any]) -> Callable[..., Any] | None:
    if name not in options:
        return None
    try:
        return import_function(options[name])
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"--{name} {error}") from error
