"""PPO's loss, its statistics and its gradient in one pass over a minibatch; numba, float32 and float64.

The equations are those of :mod:`s7rl.agents.losses`, and so is what becomes of a nan: comparisons with one are false,
and every choice here lets it through then.  Where the ratio lies within the clip range both branches of the minimum are
the same number, and the gradient is that of either.

What belongs to one step is computed in the arrays' own type, as torch does; sums are float64, since they run over
thousands of steps one by one.
"""

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from s7rl.kernels.arrays import array
from s7rl.kernels.compiling import Array, kernel


def loss_and_statistics(
    values: Float[Tensor, "T B"],
    log_probs: Float[Tensor, "T B"],
    entropies: Float[Tensor, "T B"] | None,
    constants: tuple[Float[Tensor, "T B"], ...],
    coefficients: tuple[float, float, float, float],
) -> tuple[Float[Tensor, ""], Float[Tensor, "6"]]:
    """The loss, and without gradient the statistics in the order of ``s7rl.agents.losses.STATISTICS``.

    Args:
        values: what the critic says now.
        log_probs: of the actions that were taken, under the policy as it is now.
        entropies: of the policy now; None: -log pi of the actions estimates them.
        constants: advantages, and log-probabilities, values and returns of the rollout.
        coefficients: clip range, that of the value (infinite: no clipping), weights of entropy and of value loss.
    """
    result: tuple[Tensor, Tensor] = _PPOLoss.apply(  # type: ignore[no-untyped-call]
        values, log_probs, entropies, constants, coefficients
    )
    return result


class _PPOLoss(torch.autograd.Function):
    """The gradient is made along with the loss: it takes the same numbers."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        log_probs: Tensor,
        entropies: Tensor | None,
        constants: tuple[Tensor, ...],
        coefficients: tuple[float, ...],
    ) -> tuple[Tensor, Tensor]:
        estimated = entropies is None
        tensors = values, log_probs, -log_probs if entropies is None else entropies, *constants
        statistics, grads = values.new_empty(6), values.new_empty(3, *values.shape)
        flat = (array(tensor).ravel() for tensor in tensors)
        ppo_loss(*flat, *coefficients, array(statistics), array(grads).reshape(3, -1))
        if estimated:
            grads[1] -= grads[2]
        ctx.estimated = estimated
        ctx.save_for_backward(grads)
        ctx.mark_non_differentiable(statistics)
        return statistics[-1].clone(), statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (grads,) = ctx.saved_tensors
        grad_values, grad_log_probs, grad_entropies = (grads * grad_loss).unbind()
        return grad_values, grad_log_probs, None if ctx.estimated else grad_entropies, None, None


@kernel
@no_type_check
def ppo_loss(
    values: Array,
    log_probs: Array,
    entropies: Array,
    advantages: Array,
    old_log_probs: Array,
    old_values: Array,
    returns: Array,
    clip_range: float,
    clip_range_vf: float,
    ent_coef: float,
    vf_coef: float,
    statistics: Array,
    grads: Array,
) -> None:
    """Fill ``statistics`` [6], and ``grads`` [3, N] by values, log-probabilities and entropies, from arrays [N]."""
    number, own = len(values), values.dtype.type
    zero, one = own(0), own(1)
    limit, limit_vf = own(clip_range), own(clip_range_vf)
    low, high = own(1 - clip_range), own(1 + clip_range)
    value_share, policy_share = own(vf_coef * 2 / number), own(-1 / number)
    clips_values = limit_vf < np.inf
    grads[2] = -ent_coef / number
    surrogates = squares = entropy = kl = clipped = 0.0
    for i in range(number):
        log_ratio, advantage = log_probs[i] - old_log_probs[i], advantages[i]
        ratio = np.exp(log_ratio)
        free, held = advantage * ratio, advantage * _clamp(ratio, low, high)
        gains = free > held  # by moving on, which does not count
        surrogates += held if gains else free
        grads[1, i] = policy_share * (zero if gains else advantage) * ratio
        kl += ratio - one - log_ratio
        clipped += abs(ratio - one) > limit
        entropy += entropies[i]
        value, follows = values[i], True
        if clips_values:
            change = value - old_values[i]
            value = old_values[i] + _clamp(change, -limit_vf, limit_vf)
            follows = -limit_vf <= change <= limit_vf
        error = value - returns[i]
        squares += error * error
        grads[0, i] = value_share * error if follows else zero
    policy_loss, value_loss, entropy_loss = -surrogates / number, squares / number, -entropy / number
    statistics[0], statistics[1], statistics[2] = entropy_loss, policy_loss, value_loss
    statistics[3], statistics[4] = kl / number, clipped / number
    statistics[5] = policy_loss + ent_coef * entropy_loss + vf_coef * value_loss


@kernel(inline="always")
@no_type_check
def _clamp(x, low, high):
    return low if x < low else high if x > high else x
