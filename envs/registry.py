"""From an environment's id to an environment: registration, loading of suites, adapters, and one-line errors.

Gymnasium 1.0 removed the entry points by which packages used to announce their environments, so an id is known after
its package has been imported and not before.  ``import s7rl.envs`` registers ours; ``make_env`` imports what a suite
needs (MiniGrid, POPGym, ALE, MiniWorld, VizDoom ...) when one of its ids is asked for.  Plain Gymnasium reaches ours,
too: ``gymnasium.make("s7rl.envs:s7rl/TMazePassive-v0")``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import VectorEnv

from s7rl.checks import error_line
from s7rl.envs.batched import EngineEnv, EngineVectorEnv
from s7rl.envs.suites import atari, control, memory, minigrid, mujoco, popgym, vision
from s7rl.envs.suites.suite import Suite
from s7rl.envs.wrappers.by_name import has_vector_wrappers, parse_wrappers, wrap, wrap_vector
from s7rl.envs.wrappers.flatten import flatten_env

OWN_MODULE = "s7rl.envs:"
"""What stands before an id of ours where Gymnasium is to import this package first."""

SUITES = (memory.SUITE, minigrid.SUITE, popgym.SUITE, control.SUITE, mujoco.SUITE, atari.SUITE, vision.SUITE)
"""All suites, in the order in which they are listed."""

# Arguments of gymnasium.make, which every environment therefore has.
_MAKE_ARGUMENTS = ("max_episode_steps", "disable_env_checker")


def register_envs() -> None:
    """Register our environments with Gymnasium; calling it again changes nothing."""
    for suite in SUITES:
        for env_id, arguments in suite.own.items():
            if env_id not in gym.registry:
                gym.register(env_id, **arguments)


def find_suite(env_id: str) -> Suite | None:
    """Return the suite that an id belongs to, if there is one."""
    name = env_id.rpartition(":")[2]
    return next((suite for suite in SUITES if suite.has(name)), None)


def make_env(
    env_id: str,
    env_kwargs: Mapping[str, object] | None = None,
    render_mode: str | None = None,
    wrappers: Sequence[str] = (),
) -> gym.Env[Any, Any]:
    """Make an environment that a policy can use.

    This is ``gymnasium.make`` plus what stands between an id and a policy: the suite's package is imported, the suite
    adapts its environments (``Suite.adapt``; MiniGrid's are encoded as a flat vector, for example), the wrappers that
    were asked for come around that, and nested observations become one Dict (``FlattenNested``).

    Args:
        env_id: any id that Gymnasium knows, or one of a suite (``SUITES``).
        env_kwargs: keyword arguments of the environment, such as ``corridor_length``.
        render_mode: as in ``gymnasium.make``; None draws nothing.
        wrappers: texts such as ``"Flicker(probability=0.5)"``, the first innermost; see
            :func:`s7rl.envs.parse_wrapper`.

    Raises:
        ValueError: in one line, if the id, a keyword argument, the render mode or a wrapper is unknown or cannot be
            used.
        TypeError: in one line, if a keyword argument of one of our environments or wrappers has the wrong type.
    """
    if not isinstance(env_id, str):
        raise TypeError(f"env_id ({env_id!r}) must be the id of an environment; register it with gymnasium.register.")
    kwargs = dict(env_kwargs or {})
    spec = check_names(env_id, kwargs, wrappers)
    if render_mode is not None:
        _check_render_mode(spec, render_mode)
        # Left out otherwise: not every environment has this argument.
        kwargs["render_mode"] = render_mode
    suite = find_suite(spec.id)
    if suite is not None and spec.id not in suite.own:
        kwargs = {**suite.make, **kwargs}
    try:
        env = gym.make(spec, **kwargs)  # type: ignore[arg-type]
        env = env if suite is None else suite.adapt(env)
    except Exception as error:
        raise _creation_error(env_id, dict(env_kwargs or {}), error) from error
    env = wrap(env, wrappers)
    try:
        return flatten_env(env)
    except ValueError as error:
        raise ValueError(f"{env_id} cannot be used: {error}") from error


def check_names(env_id: str, env_kwargs: Mapping[str, object], wrappers: Sequence[str]) -> EnvSpec:
    """Find out what can be said of the arguments of ``make_env`` without making an environment; its specification.

    Raises:
        ValueError: in one line, if the id, a keyword argument or a wrapper is unknown.
    """
    parse_wrappers(wrappers)  # what is misspelt is said before anything is imported
    spec = find_spec(env_id)
    _check_arguments(spec, env_kwargs)
    return spec


def has_batched_engine(
    env_id: str, env_kwargs: Mapping[str, object] | None = None, wrappers: Sequence[str] = ()
) -> bool:
    """Return whether ``make_batched`` can make this environment with these keyword arguments and wrappers.

    Raises:
        ValueError: in one line, if a wrapper is unknown or has no such argument.
    """
    engine = _engine_of(env_id)
    if engine is None or not has_vector_wrappers(wrappers):
        return False
    # Without arguments the engine need not be imported to know: lists ask this of every id.
    return not env_kwargs or set(env_kwargs) <= set(_arguments(load_env_creator(engine)) or ())


def make_batched(
    env_id: str, num_envs: int, env_kwargs: Mapping[str, object] | None = None, wrappers: Sequence[str] = ()
) -> VectorEnv[Any, Any, Any]:
    """Make a batched numpy environment; row i is the one that ``make_env`` makes with seed + i, step for step.

    It resets rows in the step that ends them (``AutoresetMode.SAME_STEP``); its ``unwrapped`` has ``get_state()``.

    Raises:
        ValueError: in one line, if there is no engine for the id, it has no such keyword argument, or a wrapper has no
            version for vector environments.
        TypeError: in one line, if a keyword argument or an argument of a wrapper has the wrong type.
    """
    engine = _engine_of(env_id)
    if engine is None:
        raise ValueError(
            f"{env_id!r} has no batched engine: use make_env, or see `s7rl list envs` for those that have."
        )
    spec = find_spec(env_id)
    creator = load_env_creator(engine)
    kwargs = dict(env_kwargs or {})
    unknown = _unknown(kwargs, _arguments(creator) or ())
    if unknown:
        raise _unknown_argument(f"the batched engine of {env_id}", unknown, _arguments(creator) or ())
    try:
        envs = creator(**{**spec.kwargs, **kwargs, "num_envs": num_envs})
    except Exception as error:
        raise _creation_error(env_id, kwargs, error) from error
    assert isinstance(envs, VectorEnv)
    return wrap_vector(envs, wrappers)


def find_spec(env_id: str) -> EnvSpec:
    """Return Gymnasium's specification of an id, after importing the suite that the id belongs to.

    Raises:
        ValueError: in one line, if the suite is not installed or the id does not exist.
    """
    register_envs()
    module, _, name = env_id.rpartition(":")
    if module:
        _import_module(env_id, module, f"write the part before {name!r} as Python imports it")
    suite = find_suite(name)
    if suite is not None:
        suite.import_for(name)
    if name not in gym.registry:
        raise ValueError(_unknown_id(name))
    return gym.spec(name)


def _import_module(env_id: str, module: str, remedy: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.partition(".")[0]:
            raise ValueError(
                f"{env_id} needs {module}, which is neither installed nor in {os.getcwd()}: {remedy}"
            ) from error
        raise ValueError(f"{env_id} needs {module}, which cannot be imported: {error_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{env_id} needs {module}, which cannot be imported: {error_line(error)}") from error


def _engine_of(env_id: str) -> str | None:
    suite = find_suite(env_id)
    return None if suite is None else suite.engine_of(env_id.rpartition(":")[2])


def _unknown_id(name: str) -> str:
    known = [*(env_id for suite in SUITES for env_id in (*suite.own, *suite.featured)), *gym.registry]
    prefix, middle = _parts(name)
    siblings = [env_id for env_id in known if _parts(env_id)[0] == prefix]
    namesakes = [env_id for env_id in known if _parts(env_id)[1] == middle]
    matches = list(dict.fromkeys([*_similar(middle, siblings), *namesakes] or _similar(middle, known)))
    version = _version(name)
    # Of several versions the one that was asked for, else the last.
    ranked = sorted(matches, key=lambda env_id: (_version(env_id) == version, _version(env_id)))
    best = {_parts(env_id): env_id for env_id in ranked}
    matches = [env_id for env_id in matches if best[_parts(env_id)] == env_id][:3]
    guess = f": did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
    return f"unknown environment {name!r}{guess} (see `s7rl list envs`)"


def _similar(middle: str, known: Iterable[str]) -> list[str]:
    """Return the ids whose middle is like the given one, then those that have it as a part."""
    by_middle: dict[str, list[str]] = {}
    for env_id in known:
        by_middle.setdefault(_parts(env_id)[1], []).append(env_id)
    within = [other for other in by_middle if len(middle) > 2 and middle in other]
    return [env_id for other in (*difflib.get_close_matches(middle, by_middle), *within) for env_id in by_middle[other]]


def _parts(env_id: str) -> tuple[str, str]:
    """Return the prefix of an id's collection, and the middle between it and the version, in small letters.

    Ids of one collection share their beginning and their end, which would make any two of them alike.
    """
    prefixes = (re.escape(prefix) for suite in SUITES for prefix in suite.prefixes if prefix.endswith("-"))
    match = re.fullmatch(rf"(.*/|{'|'.join(prefixes)}|)(.*?)(-v\d+)?", env_id.casefold(), flags=re.IGNORECASE)
    assert match is not None, "every part may be empty"
    return match[1], match[2]


def _version(env_id: str) -> int:
    """Return the number at the end of an id, -1 if there is none."""
    digits = env_id.rpartition("-v")[2]
    return int(digits) if digits.isdecimal() else -1


def _arguments(creator: Any) -> tuple[str, ...] | None:
    """Return the keyword arguments of an environment's class, or None if it takes any."""
    names: list[str] = []
    for constructor in _constructors(creator):
        parameters = inspect.signature(constructor).parameters.values()
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    else:
        if not isinstance(creator, type):
            return None
    return tuple(name for name in dict.fromkeys(names) if name not in ("self", "render_mode", "num_envs"))


def _constructors(creator: Any) -> list[Any]:
    """Return what takes the keyword arguments, each before the one that it passes its **kwargs on to."""
    if not isinstance(creator, type):
        return [creator]
    engine = _constructors(creator.engine) if issubclass(creator, (EngineEnv, EngineVectorEnv)) else []
    return [vars(cls)["__init__"] for cls in creator.__mro__[:-1] if "__init__" in vars(cls)] + engine


def _unknown(kwargs: Mapping[str, object], known: Iterable[str]) -> str | None:
    return next((name for name in kwargs if name not in known), None)


def _unknown_argument(who: str, name: str, known: Iterable[str]) -> ValueError:
    names = ", ".join(known) or "none"
    return ValueError(f"unknown keyword argument {name!r}: {who} takes {names}.")


def _check_arguments(spec: EnvSpec, kwargs: Mapping[str, object]) -> None:
    if not kwargs or spec.entry_point is None:
        return
    creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
    known = _arguments(creator)
    unknown = _unknown(kwargs, (*(known or ()), *_MAKE_ARGUMENTS))
    if known is not None and unknown:
        raise _unknown_argument(spec.id, unknown, known)


def _check_render_mode(spec: EnvSpec, render_mode: str) -> None:
    if spec.entry_point is None:
        return
    creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
    metadata = getattr(creator, "metadata", None)
    modes = metadata.get("render_modes", []) if isinstance(metadata, dict) else [render_mode]
    # Gymnasium shows "human" by itself where an environment gives pictures.
    if render_mode not in modes and not (render_mode == "human" and "rgb_array" in modes):
        names = ", ".join(repr(mode) for mode in modes) or "none"
        raise ValueError(f"render_mode ({render_mode!r}) is not one that {spec.id} has; it has: {names}.")


def _creation_error(env_id: str, kwargs: Mapping[str, object], error: Exception) -> Exception:
    # gymnasium.make decorates a TypeError; the constructor's own words are its cause.
    if isinstance(error, TypeError) and isinstance(error.__cause__, TypeError):
        error = error.__cause__
    if env_id.startswith("s7rl/") and _engine_of(env_id) is not None and isinstance(error, (TypeError, ValueError)):
        return type(error)(str(error))
    given = f" with {', '.join(f'{name}={value!r}' for name, value in kwargs.items())}" if kwargs else ""
    reason = " ".join(str(error).split())
    if not reason:
        # A bare assertion: its own line says more than its name.
        frames = traceback.extract_tb(error.__traceback__)
        reason = (frames[-1].line if frames else None) or type(error).__name__
    return ValueError(f"{env_id} cannot be made{given}: {reason}")
