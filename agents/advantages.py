"""Advantage estimates, as pure functions on time-major ``[T, B]`` tensors.

Index t is always the step at which the action was taken: ``rewards[t]`` follows it, and ``next_values[t]`` is the
value of the observation that it led to, before any automatic reset.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.scan import linear_scan


def generalized_advantages(
    rewards: Float[Tensor, "T B"],
    values: Float[Tensor, "T B"],
    next_values: Float[Tensor, "T B"],
    terminated: Bool[Tensor, "T B"],
    truncated: Bool[Tensor, "T B"],
    *,
    gamma: float,
    gae_lambda: float,
) -> Float[Tensor, "T B"]:
    r"""Generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    .. math:: \hat A_t = \delta_t + \gamma\lambda(1-e_t)\hat A_{t+1}, \qquad
              \delta_t = r_t + \gamma(1-d_t)V(o_{t+1}) - V(o_t)

    where d_t is ``terminated`` and e_t is ``terminated | truncated``: a time-out cuts the trace but still bootstraps,
    a terminal state does neither, and a step that is both counts as terminal.

    Args:
        rewards: reward received after the action at t, in environment units.
        values: V of the observation at t.
        next_values: V of the true successor of t, not of the observation after a reset.
        terminated: the action at t led to a terminal state.
        truncated: the episode was cut off after t.
        gamma: discount, in [0, 1].
        gae_lambda: trace decay, in [0, 1]; 0 gives TD errors, 1 Monte-Carlo returns.
    """
    # A Python float times a bool tensor would be float32 whatever the inputs are.
    bootstraps = (~terminated).to(rewards.dtype)
    continues = (~(terminated | truncated)).to(rewards.dtype)
    errors = rewards + gamma * bootstraps * next_values - values
    # The recursion runs backwards in time: it is the linear scan of the reversed sequence, environments as its modes.
    backwards = linear_scan(
        (gamma * gae_lambda * continues).flip(0)[:, None], errors.flip(0)[:, None], errors.new_zeros(1, len(errors[0]))
    )
    return backwards[:, 0].flip(0)
