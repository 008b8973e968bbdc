"""From an environment's id to many of it: in a batched engine, in a loop, or in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from s7rl import envs
from s7rl.agents.distributed import world_size
from s7rl.agents.random_states import random_states, set_random_states
from s7rl.agents.trial import seconds_per_step
from s7rl.agents.vec_env import BatchedVecEnv
from s7rl.agents.worker_process import MakeEnv
from s7rl.agents.workers import DEFAULT_TIMEOUT, TIMEOUT, WorkerError, WorkerVecEnv
from s7rl.checks import OPTIONS, Rule, check_arguments, choice, whole_number
from s7rl.envs.registry import find_spec

DEFAULT_N_ENVS = 16
"""Environments that run in parallel where the user names an environment by its id."""
WORKERS = ("auto", "single", "batched", "loop", "processes")
"""How environments are stepped."""
EXCHANGE_SECONDS = 40e-6
"""What it takes to send one worker an action and receive its answer, both processes' share of it."""
WORTHWHILE = 1.2
"""Processes are taken where they promise to be this many times as fast: they also cost memory and a start."""
TRIAL_SECONDS = 0.03
"""How long an environment is stepped to find out how fast it is."""
MAKE_ARGUMENTS: Mapping[str, Rule] = {
    "n_envs": whole_number("training needs an environment", least=1),
    "seed": whole_number("environments count on from it", least=0).or_none(),
    "env_kwargs": OPTIONS.or_none(),
    "workers": choice("it says how environments are stepped", WORKERS),
    "timeout": TIMEOUT,
    "wrappers": Rule(
        meaning="it holds what stands around an environment, the first innermost",
        hint="pass a list of texts, such as ['PreviousActionReward']",
        of_kind=lambda value: (
            isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(text, str) for text in value)
        ),
    ),
}
"""The arguments of :func:`make_vec` but for ``env_id``."""


@dataclass(frozen=True)
class Choice:
    """How environments are stepped, and why so."""

    workers: str
    """One of ``WORKERS``, and not "auto"."""
    reason: str
    """In a few words; empty where it was asked for."""

    def __str__(self) -> str:
        name = {"batched": "batched engine", "loop": "loop in this process", "processes": "one process each"}
        return name[self.workers] + (f" ({self.reason})" if self.reason else "")


_CHOICES: WeakKeyDictionary[VecEnv, Choice] = WeakKeyDictionary()
"""How the environments that were made here are stepped.  Not an attribute of theirs: it is not of the run's state."""


def make_vec(
    env_id: str,
    n_envs: int = DEFAULT_N_ENVS,
    seed: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    workers: str = "auto",
    timeout: float | None = DEFAULT_TIMEOUT,
    wrappers: Sequence[str] = (),
) -> VecEnv:
    """Make ``n_envs`` environments of that id, monitored.

    However they are stepped, the same seeds and actions give the same observations, rewards and ends of episodes:

    * ``"batched"``: our numpy engine, all of them in one call; only for ids that have one.
    * ``"loop"``: one after another in this process, SB3's ``DummyVecEnv``.
    * ``"processes"``: one process each, :class:`s7rl.agents.workers.WorkerVecEnv`.
    * ``"auto"``: batched where there is an engine, else as ``"single"``.
    * ``"single"``: single environments, in the way that pays.  One is made, stepped with random actions for 30 ms,
      resets of ended episodes included, and closed: in a worker, so that it cannot hang or crash for good, unless it
      has an engine of ours or ``timeout`` is None.  With t seconds a step and k cores that this process may use (or
      one per environment, if that is fewer), processes need about 40 us + t / k for a step of one environment and are
      taken where that is at least 1.2 times as fast as t: from 120 us a step on two cores, from 57 us on eight.  On one
      core, or for one environment, it is the loop.

    Measured with environments that do nothing but use up t, 8 of them on two cores of an AMD EPYC, microseconds per
    step of one environment (observations of 64 bytes; 28 kB and 4 or 16 environments are the same within 15 %):

    ===========  ====  ====  ====  ====  ====  ====
    t             20    60    80   120   200  1000
    loop          22    62    82   122   202  1002
    processes     56    71    82    99   146   571
    ===========  ====  ====  ====  ====  ====  ====

    Args:
        env_id: a Gymnasium id, as :func:`s7rl.envs.make_env` takes it.
        n_envs: how many run in parallel.
        seed: environment i is seeded with ``seed + i`` at the first reset; None: at random.
        env_kwargs: keyword arguments of the environment.
        workers: how they are stepped; :func:`chosen_workers` tells what "auto" came to.
        timeout: seconds that a process has for an answer before it counts as hanging; None: for ever.
        wrappers: what stands around each, the first innermost, as :func:`s7rl.envs.make_env` takes it.  An engine goes
            together with those that have a version for many environments: all but TimeoutAsTruncation and
            FlattenNested.

    Raises:
        ValueError: in one line, if there is no such environment, it does not take an argument or a wrapper, its package
            is missing, or ``workers`` is "batched" and it has no engine, or none that goes with the wrappers; or if
            an argument is out of range.
        TypeError: in one line, if an argument is of the wrong kind.
        WorkerError: if a process dies or hangs while it makes its environment, or tries how fast it is.
    """
    if not isinstance(env_id, str):
        raise TypeError(
            f"env_id is {env_id!r}, but environments are made by their id: register it with gymnasium.register."
        )
    check_arguments(locals(), **MAKE_ARGUMENTS)
    chosen = choose_workers(env_id, n_envs, env_kwargs, workers, timeout, wrappers)
    vec_env: VecEnv
    if chosen.workers == "batched":
        if not envs.has_batched_engine(env_id, env_kwargs, wrappers):
            given = f" with {', '.join([*(env_kwargs or ()), *wrappers])}" if env_kwargs or wrappers else ""
            raise ValueError(
                f"workers is 'batched', but {env_id}{given} has no batched engine: pass 'auto', 'loop' or 'processes'."
            )
        vec_env = BatchedVecEnv(envs.make_batched(env_id, n_envs, env_kwargs, wrappers))
    elif chosen.workers == "loop":
        vec_env = DummyVecEnv([lambda: envs.make_env(env_id, env_kwargs, wrappers=wrappers)] * n_envs)
    else:
        vec_env = in_processes(env_id, n_envs, env_kwargs, timeout, wrappers)
    _CHOICES[vec_env] = chosen
    vec_env = VecMonitor(vec_env)
    vec_env.seed(seed)
    return vec_env


def choose_workers(
    env_id: str,
    n_envs: int,
    env_kwargs: Mapping[str, Any] | None = None,
    workers: str = "auto",
    timeout: float | None = DEFAULT_TIMEOUT,
    wrappers: Sequence[str] = (),
) -> Choice:
    """What ``workers`` of :func:`make_vec` come to here: "auto" and "single" stand for another one.

    Raises:
        ValueError: in one line, if there is no such environment, or it cannot be made.
        WorkerError: if it dies or hangs where that is tried.
    """
    if workers not in ("auto", "single"):
        return Choice(workers, "")
    if workers == "auto" and envs.has_batched_engine(env_id, env_kwargs, wrappers):
        return Choice("batched", "")
    cores = available_cores()
    if n_envs == 1 or cores == 1:
        return Choice("loop", "there is one environment" if n_envs == 1 else "there is one core for it")
    seconds = _seconds_per_step(env_id, env_kwargs, timeout, wrappers)
    if seconds is None:
        return Choice("loop", "it could not be tried")
    alongside = min(cores, n_envs)
    measured = f"a step takes {1e6 * seconds:,.0f} us, {alongside} cores"
    return Choice("processes" if processes_pay(seconds, alongside) else "loop", measured)


def processes_pay(seconds: float, alongside: int) -> bool:
    """Whether processes are worth it.

    Args:
        seconds: what a step of one environment takes.
        alongside: how many environments can be stepped at the same time.
    """
    return WORTHWHILE * (EXCHANGE_SECONDS + seconds / alongside) <= seconds


def available_cores() -> int:
    """The cores that this process may use, its share where torchrun started several of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // world_size())


def chosen_workers(vec_env: VecEnv) -> Choice | None:
    """How environments that :func:`make_vec` made are stepped, and why; None for others."""
    return _CHOICES.get(vec_env.unwrapped)


def in_processes(
    env_id: str,
    n_envs: int,
    env_kwargs: Mapping[str, Any] | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    wrappers: Sequence[str] = (),
) -> WorkerVecEnv:
    """Make environments in a process each, as :func:`make_vec` does, but not monitored.

    Raises:
        ValueError: in one line, as ``make_env``, also where it is a process that says so.
        TypeError: in one line, as ``make_env``.
        WorkerError: if a process dies or hangs.
    """
    make = MakeEnv(env_id, dict(env_kwargs or {}), tuple(wrappers), find_spec(env_id))
    try:
        return WorkerVecEnv([make] * n_envs, timeout)
    except WorkerError as error:
        # As without processes.
        if error.failure is not None and error.failure.kind in ("ValueError", "TypeError"):
            raise {"ValueError": ValueError, "TypeError": TypeError}[error.failure.kind](error.failure.text) from error
        raise


def _seconds_per_step(
    env_id: str, env_kwargs: Mapping[str, Any] | None, timeout: float | None, wrappers: Sequence[str]
) -> float | None:
    """Mean seconds of a step and the resets that it leads to; None if the environment raises something in it."""
    if timeout is None or envs.has_batched_engine(env_id, env_kwargs, wrappers):
        return _seconds_per_step_here(env_id, env_kwargs, wrappers)
    try:
        cloudpickle.dumps((find_spec(env_id), env_kwargs))
    except Exception:
        return None  # No process could be told what to make.
    try:
        worker = in_processes(env_id, 1, env_kwargs, timeout, wrappers)
        with closing(worker):
            worker.seed(0)
            worker.reset()
            (seconds,) = worker.ask(seconds_per_step, [(TRIAL_SECONDS,)])
    except WorkerError as error:
        # What it raised here it raises in the loop, too, where it is explained; there it would hang or die for good.
        if error.failure is None:
            raise
        return None
    return seconds if isinstance(seconds, float) else None


def _seconds_per_step_here(env_id: str, env_kwargs: Mapping[str, Any] | None, wrappers: Sequence[str]) -> float | None:
    # What an environment draws from global generators here must not shift what it draws later.
    states = random_states()
    env = envs.make_env(env_id, env_kwargs, wrappers=wrappers)
    try:
        env.reset(seed=0)
        return seconds_per_step(env, TRIAL_SECONDS)
    except Exception:
        return None
    finally:
        env.close()
        set_random_states(states)
