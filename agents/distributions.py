"""Distributions over actions, cut down to what PPO asks of them; those over discrete ones take masks.

``torch.distributions``, which SB3 builds on, normalises, validates and converts at every construction; that costs as
much as the S7 layer while the agent acts.  Results are the same.

A mask is true where an action is allowed.  One that is not has probability 0 to the bit: it is never taken, adds
nothing to the entropy and gets no gradient.  Masks are laid out as sb3-contrib's are: for Discrete one column per
action; for MultiDiscrete those of all its parts side by side; for MultiBinary two per bit, whether it may be 0 and
whether it may be 1.
"""

from typing import TypeAlias

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
    StateDependentNoiseDistribution,
)
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal

from s7rl.backends import fused


class MaskableCategorical(CategoricalDistribution):
    """One action out of A."""

    def proba_distribution(self, action_logits: Float[Tensor, "N A"]) -> "MaskableCategorical":
        """Set the logits."""
        self._unmasked = self.logits = action_logits
        self._normalized: Tensor | None = None
        return self

    def apply_masking(self, masks: Bool[Tensor, "N A"]) -> None:
        """Leave only the allowed actions, in their proportions.  Masks from before no longer count."""
        # From the logits: beside a forbidden action that is far likelier, the log-probabilities have lost their digits.
        self.logits = self._unmasked.masked_fill(~masks, -torch.inf)
        self._normalized = None

    @property
    def distribution(self) -> Categorical:  # type: ignore[override]  # SB3 declares an attribute
        """The same as torch has it, which SB3's class keeps."""
        return Categorical(logits=self.logits, validate_args=False)

    @property
    def log_probabilities(self) -> Float[Tensor, "N A"]:
        """Of every action."""
        if self._normalized is None:
            self._normalized = self.logits.log_softmax(dim=-1)
        return self._normalized

    def log_prob(self, actions: Shaped[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Log-probability of each action."""
        return self.log_probabilities.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Float[Tensor, " N"]:
        """Entropy in nats; a probability of 0 adds nothing."""
        probabilities = self.log_probabilities.exp()
        return -(probabilities * _finite(self.log_probabilities)).sum(dim=-1)

    def sample(self) -> Shaped[Tensor, " N"]:
        """One action per row."""
        # The first of exponential clocks that run at these rates: how torch.multinomial draws, too, after checks that
        # take as long as the draw.
        probabilities = self.log_probabilities.exp()
        return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(dim=-1)

    def mode(self) -> Shaped[Tensor, " N"]:
        """The most likely action per row."""
        return self.log_probabilities.argmax(dim=-1)


class MaskableMultiCategorical(MultiCategoricalDistribution):
    """One action out of each of several sets, independently: a categorical distribution for each."""

    def proba_distribution(self, action_logits: Float[Tensor, "N A"]) -> "MaskableMultiCategorical":
        """Set the logits of all parts, side by side."""
        self.parts = [
            MaskableCategorical(logits.shape[-1]).proba_distribution(logits) for logits in self._split(action_logits)
        ]
        return self

    @property
    def distribution(self) -> list[Categorical]:  # type: ignore[override]  # SB3 declares an attribute
        """The same as torch has them, one for each part, which SB3's class keeps."""
        return [part.distribution for part in self.parts]

    def apply_masking(self, masks: Bool[Tensor, "N A"]) -> None:
        """Leave only the allowed actions of each part, in their proportions.  Masks from before no longer count."""
        for part, allowed in zip(self.parts, self._split(masks), strict=True):
            part.apply_masking(allowed)

    def log_prob(self, actions: Shaped[Tensor, "N P"]) -> Float[Tensor, " N"]:
        """Log-probability of the actions of a row together."""
        taken = zip(self.parts, actions.unbind(-1), strict=True)
        return torch.stack([part.log_prob(action) for part, action in taken]).sum(dim=0)

    def entropy(self) -> Float[Tensor, " N"]:
        """Entropy in nats, of all parts together."""
        return torch.stack([part.entropy() for part in self.parts]).sum(dim=0)

    def sample(self) -> Shaped[Tensor, "N P"]:
        """One action per row and part."""
        return torch.stack([part.sample() for part in self.parts], dim=-1)

    def mode(self) -> Shaped[Tensor, "N P"]:
        """The most likely action per row and part."""
        return torch.stack([part.mode() for part in self.parts], dim=-1)

    def _split(self, x: Shaped[Tensor, "N A"]) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = x.split(list(self.action_dims), dim=-1)
        return parts


class MaskableBernoulli(BernoulliDistribution):
    """D independent bits."""

    def proba_distribution(self, action_logits: Float[Tensor, "N D"]) -> "MaskableBernoulli":
        """Set the logits of each bit being 1."""
        self._unmasked = self.logits = action_logits
        return self

    @property
    def distribution(self) -> Bernoulli:  # type: ignore[override]  # SB3 declares an attribute
        """The same as torch has it, which SB3's class keeps; its log_prob of a bit that masks fix is not a number."""
        return Bernoulli(logits=self.logits, validate_args=False)

    def apply_masking(self, masks: Bool[Tensor, "N M"]) -> None:
        """Fix the bits of which only one value is allowed.  Masks from before no longer count."""
        zero, one = masks.unflatten(-1, (-1, 2)).unbind(-1)
        self.logits = self._unmasked.masked_fill(~zero, torch.inf).masked_fill(~one, -torch.inf)

    def log_prob(self, actions: Shaped[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Log-probability of the bits of a row together."""
        zero, one = self._log_probabilities()
        return torch.where(actions.bool(), one, zero).sum(dim=-1)

    def entropy(self) -> Float[Tensor, " N"]:
        """Entropy in nats, of all bits together; a probability of 0 adds nothing."""
        log_probabilities = torch.stack(self._log_probabilities())
        return -(log_probabilities.exp() * _finite(log_probabilities)).sum(dim=(0, -1))

    def sample(self) -> Float[Tensor, "N D"]:
        """Bits as 0.0 and 1.0."""
        # torch.bernoulli raises where a probability is nan, which is found and explained after the draw.
        probabilities = self.logits.sigmoid()
        return (torch.rand_like(probabilities) < probabilities).to(probabilities.dtype)

    def mode(self) -> Float[Tensor, "N D"]:
        """The most likely bits; 0 where both are."""
        return (self.logits > 0).to(self.logits.dtype)

    def _log_probabilities(self) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
        """Of 0 and of 1."""
        return torch.nn.functional.logsigmoid(-self.logits), torch.nn.functional.logsigmoid(self.logits)


Maskable: TypeAlias = MaskableCategorical | MaskableMultiCategorical | MaskableBernoulli


class Gaussian(DiagGaussianDistribution):
    """Independent normal distributions.  SB3's, but for torch's checks of its arguments.

    Those look at the numbers, for which a GPU has to stop at every step; what is not finite is found elsewhere.
    """

    def proba_distribution(self, mean_actions: Float[Tensor, "N A"], log_std: Float[Tensor, " A"]) -> "Gaussian":
        """Set mean and standard deviation."""
        self.distribution = Normal(mean_actions, log_std.exp().expand_as(mean_actions), validate_args=False)
        return self


class StateDependentNoise(StateDependentNoiseDistribution):
    """Normal distributions whose deviation follows from the features (gSDE).  SB3's, but for torch's checks.

    So deviations that are 0 explore nothing, and those that are nan are told of the action that they made.
    """

    def sample_weights(self, log_std: Float[Tensor, "F *A"], batch_size: int = 1) -> None:
        """Draw the noise of one environment, and of several."""
        std = self.get_std(log_std)
        self.weights_dist = Normal(torch.zeros_like(std), std, validate_args=False)
        self.exploration_mat = self.weights_dist.rsample()
        self.exploration_matrices = self.weights_dist.rsample(torch.Size([batch_size]))

    def proba_distribution(
        self, mean_actions: Float[Tensor, "N A"], log_std: Float[Tensor, "F *A"], latent_sde: Float[Tensor, "N F"]
    ) -> "StateDependentNoise":
        """Set the mean, and the deviation by the features, which the noise does not train (eq. 5 of the paper)."""
        self._latent_sde = latent_sde if self.learn_features else latent_sde.detach()
        variance = self._latent_sde**2 @ self.get_std(log_std) ** 2
        self.distribution = Normal(mean_actions, torch.sqrt(variance + self.epsilon), validate_args=False)
        return self


def lean(distribution: Distribution) -> Distribution:
    """Ours in place of SB3's: discrete ones take masks, and none asks the device whether its numbers are right."""
    match distribution:
        case CategoricalDistribution():
            return MaskableCategorical(distribution.action_dim)
        case MultiCategoricalDistribution():
            return MaskableMultiCategorical(distribution.action_dims)
        case BernoulliDistribution():
            return MaskableBernoulli(distribution.action_dims)
        case StateDependentNoiseDistribution():
            squashes = distribution.bijector is not None
            return StateDependentNoise(
                distribution.action_dim, distribution.full_std, distribution.use_expln, squash_output=squashes
            )
        case DiagGaussianDistribution():
            return Gaussian(distribution.action_dim)
    raise TypeError(f"there is no distribution of ours for {type(distribution).__name__}.")


def log_prob_and_entropy(
    distribution: Distribution, actions: Shaped[Tensor, "N ..."]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"] | None]:
    """Log-probabilities of actions, and entropies (None where they have no closed form): what learning asks for."""
    if isinstance(distribution, MaskableCategorical) and fused(distribution.logits):
        from s7rl.agents.kernels import categorical  # only now: numba takes a while, and may be missing

        return categorical.log_prob_and_entropy(distribution.logits, actions)
    return distribution.log_prob(actions), distribution.entropy()


def mask_parts(action_space: spaces.Space[object]) -> list[int]:
    """How many columns of a mask belong to each choice that an action makes.

    Raises:
        ValueError: for a continuous action.
    """
    match action_space:
        case spaces.Discrete():
            return [int(action_space.n)]
        case spaces.MultiDiscrete():
            return [int(n) for n in action_space.nvec.flatten()]
        case spaces.MultiBinary():
            return [2] * int(torch.Size(action_space.shape).numel())
    raise ValueError(f"the action space is {action_space}, but action masks are for discrete actions: use no masks.")


def _finite(log_probabilities: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Bounded below, as minus infinity times a probability of 0 is not a number.

    The probability is 0 to the bit long before the bound, so that nothing changes; one as low as the dtype allows would
    overflow in the gradient.
    """
    return log_probabilities.clamp_min(-1e4)
