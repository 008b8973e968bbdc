"""An agent as one function of tensors: what acting takes besides the environment, for export.

    observation(s), state, episode_start, noise  ->  action, next_state

Observations go in as the environment gives them, but that images have their channels first where SB3 moved them there,
and are scaled as in training; actions come out as the environment takes them.  With a noise of zeros the action is the
most probable one.  With independent draws of the named kind it is a draw from the policy:

=============  ===============  ==============================================================================
action space   noise            because
=============  ===============  ==============================================================================
Discrete       ``"gumbel"``     the greatest of logits plus standard Gumbel noise is a draw from their softmax
MultiDiscrete  ``"gumbel"``     the same for each part
MultiBinary    ``"logistic"``   logit plus standard logistic noise is above 0 with the probability of the bit
Box            ``"normal"``     mean plus deviation times standard normal noise
=============  ===============  ==============================================================================

Where an action is not allowed, add minus infinity to its noise (to the bit of a MultiBinary plus infinity, where it may
only be 1).  Noise that depends on the state (gSDE) has the same distribution at each step as while learning, but is
drawn anew at each.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from s7rl.agents.distributions import MaskableBernoulli, MaskableCategorical, MaskableMultiCategorical
from s7rl.agents.policies import RecurrentActorCriticPolicy

OUTPUT_NAMES = ("action", "next_state")
"""Of what a step returns."""


class RecurrentStep(nn.Module):
    """One step of an agent for any number of environments, the memory's state in and out.

    Args:
        policy: the agent's.
        normalizer: the ``VecNormalize`` that it was trained in, if there was one.

    Attributes:
        input_names: of what :meth:`forward` takes: ``observation``, or ``observation.KEY`` for each entry of a Dict,
            then ``state``, ``episode_start`` and ``noise``.
        noise_kind: the distribution of the noise, as the table above has it.
        noise_size: K, how many numbers of noise an action takes.
    """

    start: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, policy: RecurrentActorCriticPolicy, normalizer: VecNormalize | None = None) -> None:
        super().__init__()
        policy.set_training_mode(False)
        self.policy = policy
        # Here, not where they are used, as what is made there is recorded.
        for name in ("start", "low", "high"):
            numbers = torch.as_tensor(getattr(policy.action_space, name, 0), device=policy.device)
            self.register_buffer(name, numbers, persistent=False)
        self._action_dtype = _batch_of(policy.action_space, 1).dtype
        space = policy.observation_space
        entries = space.spaces if isinstance(space, spaces.Dict) else {}
        self.keys = list(entries)
        self._leaves = list(entries.values()) or [space]
        names = [f"observation.{key}" for key in entries] or ["observation"]
        self.input_names = (*names, "state", "episode_start", "noise")
        keys: list[str | None] = list(entries) or [None]
        self.scale = nn.ModuleList(_scaling(key, normalizer) for key in keys)
        distribution, _ = self._distribution(self.example(1)[:-1])
        self.noise_kind, self.noise_size = _noise(distribution)

    def forward(self, *inputs: Shaped[Tensor, "B ..."]) -> tuple[Shaped[Tensor, "B ..."], Float[Tensor, "B S"]]:
        """Act.

        Args:
            inputs: in the order of ``input_names``: observations ``[B, *shape]`` of the dtype of their space; the
                ``state`` ``[B, S]`` of the step before, at the very first zeros; ``episode_start`` ``[B]``, true where
                the observation is the first of an episode, so that its state is dropped; ``noise`` ``[B, K]``.

        Returns:
            Actions of the space's shape and dtype, and the state for the next step.
        """
        distribution, state = self._distribution(inputs[:-1])
        return self._actions(distribution, inputs[-1]), state

    def example(self, batch_size: int) -> tuple[Tensor, ...]:
        """Inputs at an episode's start: observations from their spaces, and no noise."""
        policy = self.policy
        observations = [_batch_of(space, batch_size) for space in self._leaves]
        noise = torch.zeros(batch_size, getattr(self, "noise_size", 0), device=policy.device)
        starts = torch.ones(batch_size, dtype=torch.bool, device=policy.device)
        return *(x.to(policy.device) for x in observations), policy.initial_state(batch_size), starts, noise

    def shape_text(self, name: str) -> str:
        """The shape and the dtype of an input or an output, for people: ``[B, 3] float32``."""
        inputs = dict(zip(self.input_names, self.example(1), strict=True))
        outputs = dict(zip(OUTPUT_NAMES, self(*inputs.values()), strict=True))
        tensor = {**inputs, **outputs}[name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        return f"[{', '.join(['B', *map(str, tensor.shape[1:])])}] {dtype}"

    def _distribution(self, inputs: tuple[Tensor, ...]) -> tuple[Distribution, Float[Tensor, "B S"]]:
        *leaves, state, episode_start = inputs
        scaled = [scale(leaf) for scale, leaf in zip(self.scale, leaves, strict=True)]
        observations = scaled[0] if not self.keys else dict(zip(self.keys, scaled, strict=True))
        return self.policy.get_distribution(observations, state, episode_start)

    def _actions(self, distribution: Distribution, noise: Float[Tensor, "B K"]) -> Shaped[Tensor, "B ..."]:
        match distribution:
            case MaskableCategorical():
                actions = (distribution.logits + noise).argmax(-1) + self.start
            case MaskableMultiCategorical():
                parts = zip(distribution.parts, noise.split(list(distribution.action_dims), dim=-1), strict=True)
                chosen = torch.stack([(part.logits + drawn).argmax(-1) for part, drawn in parts], dim=-1)
                actions = chosen + self.start.flatten()
            case MaskableBernoulli():
                actions = distribution.logits + noise > 0
            case _:
                normal: Any = distribution.distribution  # of a Gaussian, with gSDE or without
                actions = normal.mean + normal.stddev * noise
                low, high = self.low.flatten(), self.high.flatten()
                if self.policy.squash_output:
                    actions = low + 0.5 * (torch.tanh(actions) + 1.0) * (high - low)
                actions = actions.clamp(low, high)
        return actions.reshape(-1, *(self.policy.action_space.shape or ())).to(self._action_dtype)


class _Standardize(nn.Module):
    """What a ``VecNormalize`` does to an observation that it no longer learns from, in float64 as there."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, statistics: RunningMeanStd, epsilon: float, limit: float) -> None:
        super().__init__()
        self.limit = float(limit)
        self.register_buffer("mean", torch.tensor(statistics.mean))
        self.register_buffer("deviation", torch.tensor(np.sqrt(statistics.var + epsilon)))

    def forward(self, x: Shaped[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        return ((x.double() - self.mean) / self.deviation).clamp(-self.limit, self.limit).float()


def _scaling(key: str | None, normalizer: VecNormalize | None) -> nn.Module:
    """What happens to an entry of a Dict, or to the whole observation (None), before the policy gets it."""
    if normalizer is None or not normalizer.norm_obs:
        return nn.Identity()
    statistics: Any = normalizer.obs_rms
    if key is not None:
        statistics = statistics.get(key)
    if statistics is None:
        return nn.Identity()
    return _Standardize(statistics, normalizer.epsilon, normalizer.clip_obs)


def _noise(distribution: Distribution) -> tuple[str, int]:
    match distribution:
        case MaskableCategorical():
            return "gumbel", distribution.logits.shape[-1]
        case MaskableMultiCategorical():
            return "gumbel", sum(part.logits.shape[-1] for part in distribution.parts)
        case MaskableBernoulli():
            return "logistic", distribution.logits.shape[-1]
    normal: Any = distribution.distribution
    return "normal", normal.mean.shape[-1]


def _batch_of(space: spaces.Space[Any], batch_size: int) -> Tensor:
    sample: NDArray[Any] = np.asarray(space.sample(), dtype=space.dtype)
    return torch.as_tensor(np.stack([sample] * batch_size))
