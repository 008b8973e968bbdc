"""PPO's loss on a minibatch of sequences, as a pure function of what the policy says of it now."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from s7rl.agents.distributed import normalize
from s7rl.agents.rollout_buffer import Sequences
from s7rl.backends import fused

STATISTICS = ("entropy_loss", "policy_gradient_loss", "value_loss", "approx_kl", "clip_fraction", "loss")
"""What the loss is made of and what says how the policy moves, in the order of the fused kernel."""


def ppo_loss(
    batch: Sequences,
    values: Float[Tensor, "T B"],
    log_probs: Float[Tensor, "T B"],
    entropies: Float[Tensor, "T B"] | None,
    *,
    clip_range: float,
    clip_range_vf: float | None,
    normalize_advantage: bool,
    ent_coef: float,
    vf_coef: float,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The clipped surrogate loss (Schulman et al. 2017, arXiv 1707.06347, eq. 9), and its parts as SB3 logs them.

    Args:
        batch: the sequences; every step counts, there is no padding.
        values: what the critic says now.
        log_probs: of the actions that were taken, under the policy as it is now.
        entropies: of the policy now; None where they have no closed form: -log pi of the actions then estimates them.
        clip_range: how far the probability ratio may move.
        clip_range_vf: how far the value may move, in units of the return; None: as far as it wants.
        normalize_advantage: normalise advantages over all steps of the minibatch, those on other ranks included.
        ent_coef: weight of the entropy.
        vf_coef: weight of the value loss.

    Returns:
        The loss, and numbers under the names that follow ``train/`` in the log, without gradient.
    """
    advantages = batch.advantages
    if normalize_advantage:
        advantages = normalize(advantages)
    constants = advantages, batch.log_probs, batch.values, batch.returns
    if fused(values, log_probs, *([] if entropies is None else [entropies]), *constants):
        from s7rl.agents.kernels import ppo_loss as kernel  # only now: numba takes a while, and may be missing

        clip_ranges = clip_range, math.inf if clip_range_vf is None else clip_range_vf
        loss, statistics = kernel.loss_and_statistics(
            values, log_probs, entropies, constants, (*clip_ranges, ent_coef, vf_coef)
        )
        return loss, dict(zip(STATISTICS, statistics.unbind(), strict=True))
    log_ratio = log_probs - batch.log_probs
    ratio = log_ratio.exp()
    policy_loss = -torch.min(advantages * ratio, advantages * ratio.clamp(1 - clip_range, 1 + clip_range)).mean()
    if clip_range_vf is not None:
        values = batch.values + (values - batch.values).clamp(-clip_range_vf, clip_range_vf)
    value_loss = torch.nn.functional.mse_loss(values, batch.returns)
    entropy_loss = log_probs.mean() if entropies is None else -entropies.mean()
    loss = policy_loss + ent_coef * entropy_loss + vf_coef * value_loss
    with torch.no_grad():
        numbers = {
            "entropy_loss": entropy_loss.detach(),
            "policy_gradient_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            # Low-variance estimate of KL(old, new): http://joschu.net/blog/kl-approx.html
            "approx_kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
            "loss": loss.detach(),
        }
    return loss, numbers
