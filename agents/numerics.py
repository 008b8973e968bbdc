"""Numbers that are not finite, found where they first appear and before they reach the weights.

They are looked for in what the environments return, in what the policy says of it, in the loss and in the gradient.
What is checked costs a few microseconds a step of all environments, and as little per minibatch.  Which layer made a
number, :mod:`s7rl.agents.anomalies` finds.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import Tensor

from s7rl.agents.anomalies import NumericalError, when_acting
from s7rl.agents.distributed import world_size
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.rollout_buffer import SequenceBuffer

MEND_IT = "mend the environment, or have a wrapper that never lets it through"
FIND_IT = (
    "lower learning_rate, normalise observations and rewards, or find the layer by debug_anomalies=True "
    "(--debug-anomalies)"
)


def check_observations(
    observations: NDArray[Any] | Mapping[str, NDArray[Any]], env: VecEnv, step: int, timesteps: int
) -> None:
    """Check what the environments show.

    Args:
        observations: of all environments, ``[B, ...]``, or one such array per key.
        env: where they come from; a VecNormalize in it spreads one environment's nan to all, so that it is asked.
        step: steps of the rollout so far; 0: they stood there before it.
        timesteps: environment steps so far, over all environments.

    Raises:
        NumericalError: if one is nan or infinite, whatever the bounds of its space.
    """
    if isinstance(observations, Mapping):
        for key, array in observations.items():
            if not _all_finite(array):
                raw = _before_normalisation(env, "get_original_obs")
                _blame(f"the observation {key!r}", array, raw and raw[key], step, timesteps, MEND_IT)
    elif not _all_finite(observations):
        raw = _before_normalisation(env, "get_original_obs")
        _blame("the observation", observations, raw, step, timesteps, MEND_IT)


def check_last_observation(observation: Any, row: int, step: int, timesteps: int) -> None:
    """Check the last observation of one environment's episode; see :func:`check_observations`.

    Raises:
        NumericalError: if it is nan or infinite.
    """
    parts = observation.items() if isinstance(observation, Mapping) else [(None, observation)]
    for key, array in parts:
        if not _all_finite(np.asarray(array)):
            what = "the last observation" if key is None else f"the last observation {key!r}"
            when = when_acting(step, timesteps)
            raise NumericalError(f"{what} of an episode of environment {row} is nan or infinite {when}: {MEND_IT}.")


def check_rewards(rewards: NDArray[Any], env: VecEnv, step: int, timesteps: int) -> None:
    """Check rewards, ``[B]``; see :func:`check_observations`.

    Raises:
        NumericalError: if one is nan or infinite.
    """
    if not _all_finite(rewards):
        raw = _before_normalisation(env, "get_original_reward")
        _blame("the reward", rewards, raw, step, timesteps, MEND_IT)


def check_actions(actions: NDArray[Any], log_probs: NDArray[Any], step: int, timesteps: int) -> None:
    """Check actions, ``[B, ...]``, before an environment gets to see them; see :func:`check_observations`.

    Args:
        actions: discrete ones are always numbers.
        log_probs: of the actions, ``[B]``: where they are not numbers, nor were the probabilities they were drawn from.
        step: steps of the rollout, the one that is to be made included.
        timesteps: environment steps so far, over all environments.

    Raises:
        NumericalError: if one is nan or infinite.
    """
    if not _all_finite(actions):
        _blame("the action", actions, None, step, timesteps, FIND_IT)
    if not _all_finite(log_probs):
        _blame("the log-probability of the action", log_probs, None, step, timesteps, FIND_IT)


def check_rollout(buffer: SequenceBuffer, timesteps: int) -> None:
    """Check what the policy said during a rollout that is finished, and the advantages.

    Args:
        buffer: the rollout.
        timesteps: environment steps so far, over all environments, the rollout's included.

    Raises:
        NumericalError: if a value, a log-probability or an advantage is nan or infinite.
    """
    said = {
        "the value": (buffer.values, FIND_IT),
        "the log-probability of the action": (buffer.log_probs, FIND_IT),
        "the value of the next observation": (buffer.next_values, FIND_IT),
        "the advantage": (buffer.advantages, "rewards are too large: scale them, as VecNormalize does"),
    }
    if torch.stack([numbers.isfinite().all() for numbers, _ in said.values()]).all():  # one transfer from the device
        return
    for what, (numbers, hint) in said.items():
        for step, row in enumerate(numbers.cpu().numpy()):
            if not _all_finite(row):
                later = (len(numbers) - step - 1) * len(row) * world_size()
                _blame(what, row, None, step + 1, timesteps - later, hint)


def check_loss(numbers: Mapping[str, Float[Tensor, ""]], timesteps: int) -> None:
    """Check the loss of a minibatch.

    Args:
        numbers: "loss" and its terms, each under a name that ends so.
        timesteps: environment steps so far, over all environments.

    Raises:
        NumericalError: if it is nan or infinite; the term that is so is named.
    """
    if not math.isfinite(numbers["loss"].item()):
        terms = [name for name in numbers if name.endswith("_loss")]
        name = next(name for name in [*terms, "loss"] if not numbers[name].isfinite())
        raise NumericalError(f"the term {name} of the loss is {numbers[name].item()} {_when_learning(timesteps)}")


def clip_gradients(policy: RecurrentActorCriticPolicy, max_grad_norm: float, timesteps: int) -> None:
    """Scale the gradient down to a norm, if it is finite.

    Args:
        policy: the parameters, with the gradient of a minibatch whose loss is finite.
        max_grad_norm: the norm.
        timesteps: environment steps so far, over all environments.

    Raises:
        NumericalError: if the gradient is not finite; the optimiser has not seen it.
    """
    # Of what the optimiser moves: to go through all modules would take several times as long as the rest.
    gradients = [parameter.grad for parameter in policy.optimized_parameters() if parameter.grad is not None]
    if not gradients:
        return
    # One norm of all, and nothing scaled where nothing is too long: clip_grad_norm_ takes a norm and a product of each.
    norm = torch.cat([_entries(gradient) for gradient in gradients]).norm().item()
    if math.isfinite(norm):
        if norm > max_grad_norm:
            for gradient in gradients:
                gradient.mul_(max_grad_norm / norm)
        return
    # The norm, not only the numbers: it overflows where those are very large.
    norms = {name: own.grad.norm().item() for name, own in policy.named_parameters() if own.grad is not None}
    bad = [name for name in norms if not math.isfinite(norms[name])]
    who = (
        f"{bad[0]} has the norm {norms[bad[0]]}, one of {len(bad)}" if bad else f"all has the norm {norm}, that of none"
    )
    raise NumericalError(
        f"the gradient of {who} of {len(norms)} parameters, though the loss is finite, {_when_learning(timesteps)}"
    )


def _entries(gradient: Tensor) -> Float[Tensor, " N"]:
    """All that are not 0 for certain: an ``nn.Embedding`` in a features extractor may have a sparse gradient."""
    return (gradient.coalesce().values() if gradient.is_sparse else gradient).flatten()


def _all_finite(array: NDArray[Any]) -> bool:
    # The fastest that numpy has: sums and products are as fast only where they may overflow.
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _before_normalisation(env: VecEnv, method: str) -> Any:
    normalizer = unwrap_vec_normalize(env)
    return None if normalizer is None else getattr(normalizer, method)()


def _blame(what: str, numbers: NDArray[Any], raw: NDArray[Any] | None, step: int, timesteps: int, hint: str) -> None:
    """Name the first environment whose number is not finite, before normalisation if it was not finite there."""
    if raw is not None and not _all_finite(raw):
        numbers = raw
    index = np.argwhere(~np.isfinite(numbers))[0].tolist()
    element = f" at {index[1:]}," if index[1:] else ""
    when = when_acting(step, timesteps)
    raise NumericalError(f"{what} of environment {index[0]} is {numbers[tuple(index)].item()}{element} {when}: {hint}.")


def _when_learning(timesteps: int) -> str:
    return f"after {timesteps:,} environment steps, and the weights are those from before: {FIND_IT}."
