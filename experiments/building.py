"""From the settings of a run to its environments and its agent, on the device and in the processes that there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.utils import LinearSchedule, get_device
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from s7rl.agents import (
    RecurrentPPO,
    ShapedRewardVecEnv,
    VecScale,
    WorkerError,
    load_normalization,
    make_vec,
    prepare_env,
    process_group,
)
from s7rl.agents.distributed import rank, world_size
from s7rl.agents.policy_names import policy_name
from s7rl.backends import backend
from s7rl.envs import has_batched_engine
from s7rl.envs.registry import find_spec
from s7rl.experiments.config import as_options
from s7rl.experiments.errors import TrainingError, UsageError, memory_shortage
from s7rl.experiments.rewards import reward_shaping
from s7rl.experiments.settings import RunSettings
from s7rl.experiments.sharing import share_of

MOST_STEPS = 30_000
"""Steps of an episode that is played to see how good an agent is, where nobody says: more than Atari's 27,000."""
MEMORY_REMEDY = "give a smaller --n-steps, --n-envs or --d-model"
"""What to do where memory does not suffice."""


@contextmanager
def ranks(device: str) -> Iterator[None]:
    """Runs a block as one of the processes that torchrun started, or as the only one.

    Raises:
        UsageError: the device cannot be used, or torchrun's variables are incomplete.
    """
    check_device(device)
    with ExitStack() as stack:
        try:
            stack.enter_context(process_group(device))
        except ValueError as error:
            raise UsageError(str(error)) from error
        yield


@memory_shortage(MEMORY_REMEDY)
def build(settings: RunSettings) -> tuple[RecurrentPPO, VecEnv]:
    """Makes the environments and the agent: all of them, or this rank's share.

    Raises:
        UsageError: the environment, its spaces or an option of the network are not what the agent can use, or there is
            not enough memory.
    """
    vec_env = make_environments(settings)
    share = share_of(settings, rank(), world_size())
    try:
        model = RecurrentPPO(
            policy_name(vec_env.observation_space),
            vec_env,
            learning_rate=step_size(settings),
            n_steps=settings.n_steps,
            batch_size=share.batch_size,
            n_epochs=settings.n_epochs,
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.ent_coef,
            vf_coef=settings.vf_coef,
            max_grad_norm=settings.max_grad_norm,
            policy_kwargs={
                "core": settings.core,
                "d_model": settings.d_model,
                "d_state": settings.d_state,
                "n_blocks": settings.n_blocks,
                "core_kwargs": dict(settings.core_kwargs),
                "dynamics_lr_factor": settings.dynamics_lr_factor,
                **settings.policy_kwargs,
            },
            seed=settings.seed,
            device=settings.device,
            n_threads=settings.threads if settings.threads is not None else "auto",
            sequence_length=settings.sequence_length,
            **{**_exploration(settings, vec_env.action_space), **settings.ppo_kwargs},
        )
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise UsageError(as_options(str(error))) from error
    return model, vec_env


def _exploration(settings: RunSettings, actions: spaces.Space[Any]) -> dict[str, Any]:
    if settings.sde_sample_freq is None or not isinstance(actions, spaces.Box):
        return {}
    return {"use_sde": True, "sde_sample_freq": settings.sde_sample_freq}


@memory_shortage(MEMORY_REMEDY)
def make_environments(settings: RunSettings) -> VecEnv:
    """Makes the environments of a run: all of them, or this rank's share.

    Raises:
        UsageError: they cannot be made, or there is not enough memory.
        TrainingError: a worker process died or hung while it made one.
    """
    share = share_of(settings, rank(), world_size())
    try:
        vec_env = make_vec_of(settings, share.n_envs, share.seed)
        shaping = reward_shaping(settings)
        if shaping is not None:
            vec_env = ShapedRewardVecEnv(vec_env, shaping)
        # The policy scales images itself, and the entries of a Dict may be symbols.
        scales_observations = (
            bool(settings.normalize_observations)
            and policy_name(vec_env.observation_space) == "MlpPolicy"
            and isinstance(vec_env.observation_space, spaces.Box)
        )
        if scales_observations or settings.normalize_rewards:
            normalizer = VecScale if settings.normalize_observations == "scale" else VecNormalize
            vec_env = normalizer(
                vec_env, norm_obs=scales_observations, norm_reward=settings.normalize_rewards, gamma=settings.gamma
            )
    except WorkerError as error:
        raise TrainingError(str(error), error.traceback) from error
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise UsageError(str(error)) from error
    return vec_env


def make_vec_of(settings: RunSettings, n_envs: int, seed: int) -> VecEnv:
    """Makes environments of a run's task, stepped as it says."""
    return make_vec(
        settings.env_id,
        n_envs,
        seed,
        dict(settings.env_kwargs),
        workers=settings.workers,
        timeout=float(settings.worker_timeout) or None,
        wrappers=settings.wrappers,
    )


@contextmanager
def usable(what: Path | str) -> Iterator[None]:
    """Says what is wrong with a trained agent or its task, in a block that makes one of them and does not play yet.

    Args:
        what: the file of the agent, or the option that named another task.

    Raises:
        UsageError: they cannot be made, or do not fit together.
    """
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{what} cannot be used: {error}") from error


def make_evaluation_vec(
    settings: RunSettings,
    model: RecurrentPPO,
    checkpoint: Path,
    n_envs: int,
    seed: int,
    max_steps: int | None = None,
) -> VecEnv:
    """Makes environments of a run's task to play in, with observations scaled as in a checkpoint.

    Args:
        settings: of the run.
        model: who is to play.
        checkpoint: gives the statistics of VecNormalize, where the run used it.
        n_envs: how many.
        seed: of the first; every other one has the next.
        max_steps: as ``step_limit``.

    Raises:
        UsageError: they cannot be made, or are not what the agent was trained in.
    """
    limit = step_limit(settings, max_steps)
    if limit is not None:
        # The engines have no such limit, but are the same step for step as the environments that have.
        workers = "auto" if settings.workers == "batched" else settings.workers
        settings = replace(settings, env_kwargs={**settings.env_kwargs, "max_episode_steps": limit}, workers=workers)
    with usable(checkpoint):
        return as_trained(model, checkpoint, make_vec_of(settings, n_envs, seed))


def as_trained(model: RecurrentPPO, checkpoint: Path, vec_env: VecEnv) -> VecEnv:
    """Environments with observations scaled as in a checkpoint.

    Raises:
        ValueError: they show or take something else than those that the agent was trained in; they are closed.
    """
    try:
        # Shapes first: the statistics of others do not fit, which would be said of them, not of the environment.
        _check_observations(model, vec_env, dtypes=False)
        scaled = load_normalization(checkpoint, vec_env)
        _check_observations(model, scaled, dtypes=True)
        if scaled.action_space != model.action_space:
            raise ValueError(
                f"Action spaces do not match: the agent takes {model.action_space}, the environment "
                f"{scaled.action_space}"
            )
    except BaseException:
        vec_env.close()
        raise
    return scaled


def _check_observations(model: RecurrentPPO, vec_env: VecEnv, *, dtypes: bool) -> None:
    """Raises ValueError where an agent was trained on other observations."""
    shown = prepare_env(vec_env, monitor_wrapper=False).observation_space  # as training did: channels come first
    if not _alike(shown, model.observation_space, dtypes=dtypes):
        raise ValueError(
            f"Observation spaces do not match: the agent was trained on {model.observation_space}, the environment "
            f"shows {shown}"
        )


def _alike(first: spaces.Space[Any], second: spaces.Space[Any], *, dtypes: bool) -> bool:
    """Whether two spaces have the same kinds and shapes of values.  Bounds may follow from the longest episode."""
    if isinstance(first, spaces.Dict):
        if not isinstance(second, spaces.Dict) or first.keys() != second.keys():
            return False
        return all(_alike(first[key], second[key], dtypes=dtypes) for key in first)
    if isinstance(first, spaces.Box):
        same_dtype = not dtypes or first.dtype == second.dtype
        return isinstance(second, spaces.Box) and first.shape == second.shape and same_dtype
    return first == second


def step_limit(settings: RunSettings, max_steps: int | None) -> int | None:
    """The steps after which episodes are cut short that would go on otherwise, perhaps for ever.

    Args:
        settings: of the run.
        max_steps: what was asked for; None: the environment's own limit, or ``MOST_STEPS`` where it has none that is
            known beforehand.

    Returns:
        The steps; None where the environment ends its episodes no later by itself.
    """
    own = settings.env_kwargs.get("max_episode_steps", find_spec(settings.env_id).max_episode_steps)
    own = own if isinstance(own, int) and own > 0 else None
    if max_steps is None:
        engine = has_batched_engine(settings.env_id, settings.env_kwargs, settings.wrappers)
        return None if own is not None or engine else MOST_STEPS
    return None if own is not None and own <= max_steps else max_steps


def step_size(settings: RunSettings) -> float | LinearSchedule:
    """Adam's step size, or how it falls."""
    if not settings.anneal:
        return settings.learning_rate
    return LinearSchedule(settings.learning_rate, 0.0, settings.annealing)


def check_device(name: str) -> None:
    """Raises UsageError where torch or the scans cannot run on a device.

    SB3 would quietly take the CPU instead of a missing GPU.
    """
    try:
        tensor = torch.empty(0, device=get_device(name) if name == "auto" else name)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UsageError(f"--device {name} cannot be used here: give --device cpu, or auto") from error
    try:
        backend(tensor)
    except ValueError as error:
        raise UsageError(str(error)) from error
