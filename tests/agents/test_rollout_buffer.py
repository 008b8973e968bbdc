"""Minibatches of a rollout: every sequence once, whole, with all that belongs to it.

Mutations seen to fail: the states taken along the wrong axis; not taken at all; masks, or a part of Dict observations,
left as they are.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from s7rl.agents.rollout_buffer import Sequences, minibatches

LENGTH, NUMBER = 3, 6


def numbered(*shape: int) -> Tensor:
    """``[LENGTH, NUMBER, *shape]``, the number of the sequence everywhere in it."""
    return torch.arange(NUMBER).view(NUMBER, *(1 for _ in shape)).expand(LENGTH, NUMBER, *shape).float()


@pytest.mark.parametrize("masked", [True, False])
def test_a_minibatch_has_all_of_each_of_its_sequences_and_a_pass_has_each_once(masked: bool) -> None:
    names = ("actions", "log_probs", "values", "advantages", "returns")
    sequences = Sequences(
        observations={"eye": numbered(4, 4), "ear": numbered(2)},
        action_masks=numbered(5) >= 3 if masked else None,
        episode_starts=numbered() >= 3,
        initial_state=numbered(7)[0],
        next_state=numbered(7)[0],
        **{name: numbered() for name in names},
    )
    seen = []
    for batch in minibatches(sequences, 2):
        number = batch.next_state[:, 0]
        seen += number.tolist()
        assert isinstance(batch.observations, dict)
        of_steps = [*batch.observations.values(), *(getattr(batch, name) for name in names)]
        assert all(len(x) == LENGTH for x in of_steps)
        for x in (*torch.cat([x.flatten(2) if x.ndim > 2 else x[..., None] for x in of_steps], dim=-1), *batch[-2:]):
            assert torch.equal(x, number[:, None].expand_as(x))
        assert torch.equal(batch.episode_starts, (number >= 3).expand(LENGTH, 2))
        if masked:
            assert batch.action_masks is not None
            assert torch.equal(batch.action_masks, (number >= 3)[:, None].expand(LENGTH, 2, 5))
        else:
            assert batch.action_masks is None
    assert sorted(seen) == list(range(NUMBER))
