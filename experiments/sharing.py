"""How the ranks of a run under torchrun share its environments and its minibatches: arithmetic alone."""

from __future__ import annotations

from typing import NamedTuple

from s7rl.agents.minibatch_sizes import cut_rollout
from s7rl.experiments.config import as_options
from s7rl.experiments.errors import UsageError
from s7rl.experiments.settings import RunSettings


class Share(NamedTuple):
    """What one rank has of a run."""

    n_envs: int
    """Environments that it steps."""
    batch_size: int
    """Steps that it has in each minibatch."""
    seed: int
    """Seed of its first environment: those of the ranks follow on, so that they are those of a run without ranks."""


def share_of(settings: RunSettings, rank: int, ranks: int) -> Share:
    """Gives each rank an equal share.

    Args:
        settings: those of the whole run.
        rank: whose share, from 0.
        ranks: how many there are.

    Raises:
        UsageError: environments or minibatches cannot be shared equally.
    """
    n_envs, rest = divmod(settings.n_envs, ranks)
    if rest or n_envs < 1:
        nearest = [ranks * number for number in (n_envs, n_envs + 1) if number]
        raise UsageError(
            f"--n-envs {settings.n_envs} must be a multiple of the {ranks} processes, which share the environments: "
            f"the nearest {_are(nearest)}"
        )
    batch_size, rest = divmod(settings.batch_size, ranks)
    if rest:
        nearest = [ranks * number for number in (batch_size, batch_size + 1) if number]
        raise UsageError(
            f"--batch-size {settings.batch_size} must be a multiple of the {ranks} processes, which share each "
            f"minibatch: the nearest {_are(nearest)}"
        )
    try:
        cut_rollout(n_envs, settings.n_steps, batch_size, settings.sequence_length)
    except ValueError as error:
        raise UsageError(
            f"each of the {ranks} processes has its share of --n-envs and --batch-size: {as_options(str(error))}"
        ) from error
    return Share(n_envs, batch_size, settings.seed + rank * n_envs)


def _are(values: list[int]) -> str:
    return f"is {values[0]}" if len(values) == 1 else f"are {values[0]} and {values[1]}"
