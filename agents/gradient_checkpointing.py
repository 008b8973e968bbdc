"""Gradient checkpointing over time: memory for time, where sequences are long.

Of a sequence only the memory's state before every piece of K steps is kept; the backward pass computes each piece once
more when it gets there (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174).  The
features extractor is part of a piece: that of images takes most of the memory.  So a batch norm in it normalises by the
steps of a piece, not of a minibatch, and counts each piece twice in its running statistics.
"""

from collections.abc import Callable
from operator import itemgetter

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from s7rl.agents.observations import Observations, map_observations

Recur = Callable[
    [Observations, Float[Tensor, "B S"], Bool[Tensor, "T B"]],
    tuple[Float[Tensor, "N H"], Float[Tensor, "N H"], Float[Tensor, "B S"]],
]


def recur_in_pieces(
    recur: Recur,
    steps: int,
    observations: Observations,
    state: Float[Tensor, "B S"],
    episode_starts: Bool[Tensor, "T B"],
) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N H"], Float[Tensor, "B S"]]:
    """What ``recur`` makes of whole sequences, computed and, for the gradient, computed again in pieces.

    Args:
        recur: consumes observations; returns what actor and critic make of each, flat and time-major, and the state
            after the last.
        steps: K, of a piece; the last may be shorter.
        observations: of T steps.
        state: before the first of them.
        episode_starts: true where an observation is the first of an episode.
    """
    actor, critic = [], []
    for first in range(0, len(episode_starts), steps):
        piece = slice(first, first + steps)
        part = map_observations(itemgetter(piece), observations)
        # Numbers that a user's features extractor draws, for a dropout, are drawn the same again.
        of_actor, of_critic, state = checkpoint(
            recur, part, state, episode_starts[piece], use_reentrant=False, preserve_rng_state=True
        )
        actor.append(of_actor)
        critic.append(of_critic)
    together = torch.cat(actor)
    shared = all(a is c for a, c in zip(actor, critic, strict=True))
    return together, together if shared else torch.cat(critic), state
