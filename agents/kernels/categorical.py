"""The categorical distribution while learning: log-probability of the action and entropy, numba, both directions.

For a row with logits x, probabilities p, entropy H and the action a,

    d log p_a / dx_j = 1[j = a] - p_j,   dH / dx_j = -p_j (log p_j + H),

of which p and the latter are kept for the backward.  The exponentials are numpy's, which takes many at a time; numba's,
one by one, would be three quarters of the forward pass.  A nan in a row gets into the sum, and from there into all of
the row.
"""

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from s7rl.kernels.arrays import array, empty_like
from s7rl.kernels.compiling import Array, kernel


def log_prob_and_entropy(
    logits: Float[Tensor, "N A"], actions: Int[Tensor, " N"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability of each action, and the entropy in nats; a logit of minus infinity is a probability of 0.

    Raises:
        ValueError: if there is not one action for each row, or one is none of 0 to A - 1.
    """
    if len(actions) != len(logits):
        raise ValueError(f"there are {len(actions)} actions, but logits for {len(logits)}: pass one for each.")
    result: tuple[Tensor, Tensor] = _Categorical.apply(logits, actions)  # type: ignore[no-untyped-call]
    return result


class _Categorical(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        logits, actions = logits.contiguous(), actions.long().contiguous()
        probabilities, slopes = empty_like(logits), empty_like(logits)
        log_prob, entropy = logits.new_empty(len(logits)), logits.new_empty(len(logits))
        p, slope = array(probabilities), array(slopes)
        shift(array(logits), slope)
        with np.errstate(under="ignore"):  # an unlikely action is no error, whatever the user made of numpy's
            np.exp(slope, out=p)
        categorical_forward(array(actions), p, slope, array(log_prob), array(entropy))
        ctx.save_for_backward(actions, probabilities, slopes)
        return log_prob, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        actions, probabilities, slopes = ctx.saved_tensors
        grad_logits = empty_like(slopes)
        given = (grad.contiguous() for grad in grads)
        categorical_backward(*map(array, (actions, probabilities, slopes, *given, grad_logits)))
        return grad_logits, None


@kernel
@no_type_check
def shift(logits: Array, shifted: Array) -> None:
    """Fill ``shifted`` [N, A], logits less the highest of their row: no exponential of theirs overflows."""
    rows, columns = logits.shape
    for i in range(rows):
        x, y = logits[i], shifted[i]
        highest = x[0]
        for j in range(1, columns):
            highest = x[j] if x[j] > highest else highest
        for j in range(columns):
            y[j] = x[j] - highest


@kernel
@no_type_check
def categorical_forward(
    actions: NDArray[np.int64], probabilities: Array, slopes: Array, log_prob: Array, entropy: Array
) -> None:
    """Fill the last two [N], and turn exponentials into probabilities and shifted logits into slopes [N, A]."""
    rows, columns = slopes.shape
    zero, lowest = slopes.dtype.type(0), slopes.dtype.type(-1e4)
    for i in range(rows):
        p, slope, action = probabilities[i], slopes[i], actions[i]
        if not 0 <= action < columns:
            raise ValueError("an action lies outside 0 to A - 1, the columns of the logits.")
        total, h = zero, zero
        for j in range(columns):
            total += p[j]
        log_total = np.log(total)
        log_prob[i] = slope[action] - log_total
        for j in range(columns):
            p[j] /= total
            log_p = slope[j] - log_total
            # Minus infinity times a probability of 0 is not a number; far above the bound it is 0 already.
            slope[j] = lowest if log_p < lowest else log_p
            h -= p[j] * slope[j]
        for j in range(columns):
            slope[j] = -p[j] * (slope[j] + h)
        entropy[i] = h


@kernel
@no_type_check
def categorical_backward(
    actions: NDArray[np.int64],
    probabilities: Array,
    slopes: Array,
    grad_log_prob: Array,
    grad_entropy: Array,
    grad_logits: Array,
) -> None:
    """Fill the last array [N, A] from what the forward pass kept and the gradients of its results [N]."""
    for i in range(len(actions)):
        for j in range(slopes.shape[1]):
            grad_logits[i, j] = grad_entropy[i] * slopes[i, j] - grad_log_prob[i] * probabilities[i, j]
        grad_logits[i, actions[i]] += grad_log_prob[i]
