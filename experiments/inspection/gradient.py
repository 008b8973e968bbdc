"""How far back a decision looks: its gradient with respect to each observation before it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s7rl.agents.observations import map_observations
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.experiments.inspection.recording import Episode


def decision_gradient(
    policy: RecurrentActorCriticPolicy, episode: Episode, decision: int | None = None
) -> Float[Tensor, " lags"]:
    r"""The length of the gradient of a decision with respect to what the memory was given at each step up to it.

    .. math:: g_\ell = \Bigl\| \frac{\partial \log \pi(a_t)}{\partial e_{t-\ell}} \Bigr\|_2

    The observation of a step may be a symbol, so e is what the encoder makes of it, the input of the first layer.  One
    scan over the episode gives all of it.

    Args:
        policy: who decides.
        episode: with the decisions.
        decision: t, the step of the decision, from 0; None: the last.

    Returns:
        g by the lag, from 0 for the observation that came just before the decision to t for the episode's first.

    Raises:
        ValueError: the episode has no such step.
    """
    at = len(episode) - 1 if decision is None else decision
    if not 0 <= at < len(episode):
        raise ValueError(f"decision is {at}, but the episode has {len(episode)} steps: pass one from 0 on.")
    encoded: list[Tensor] = []

    def begin_here(module: nn.Module, given: tuple[Tensor, ...], returned: Tensor) -> Tensor:
        encoded.append(returned.detach().requires_grad_())
        return encoded[0]

    # What comes later cannot matter, and the memory is empty before the first.
    starts = torch.zeros(at + 1, 1, dtype=torch.bool, device=policy.device)
    masks = None if episode.action_masks is None else episode.action_masks[: at + 1].unsqueeze(1)
    observations = map_observations(lambda x: x[: at + 1].unsqueeze(1), episode.observations)
    hook = policy.encoder.register_forward_hook(begin_here)
    try:
        _, log_probs, _, _ = policy.evaluate_actions(
            observations, episode.decisions[: at + 1].unsqueeze(1), policy.initial_state(1), starts, masks
        )
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(log_probs[at, 0], encoded)
    lengths: Tensor = torch.linalg.vector_norm(gradient, dim=-1).flip(0)
    return lengths
