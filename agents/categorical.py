"""The categorical distribution over actions, cut down to what PPO asks of it."""

import torch
from jaxtyping import Float, Int
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor


class LogitsCategorical(CategoricalDistribution):
    """SB3's categorical distribution without ``torch.distributions`` behind it.

    That class normalises, validates and converts at every construction, which costs as much as the S7 layer when the
    agent acts.  Results are the same.
    """

    def proba_distribution(self, action_logits: Float[Tensor, "N A"]) -> "LogitsCategorical":
        """Set the logits."""
        self.log_probabilities = action_logits.log_softmax(dim=-1)
        return self

    def log_prob(self, actions: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Log-probability of each action."""
        return self.log_probabilities.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Float[Tensor, " N"]:
        """Entropy in nats; a probability of 0 adds nothing."""
        probabilities = self.log_probabilities.exp()
        return -(probabilities * self.log_probabilities.clamp_min(torch.finfo(probabilities.dtype).min)).sum(dim=-1)

    def sample(self) -> Int[Tensor, " N"]:
        """One action per row."""
        return self.log_probabilities.exp().multinomial(1).squeeze(-1)

    def mode(self) -> Int[Tensor, " N"]:
        """The most likely action per row."""
        return self.log_probabilities.argmax(dim=-1)
