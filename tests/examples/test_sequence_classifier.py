"""The example of S7 as a plain layer learns, in little."""

from __future__ import annotations

import torch

from examples.sequence_classifier import FIRST, SECOND, draw, main


def test_it_tells_which_came_first_in_short_sequences() -> None:
    # Seen to fail it: a model that reads x[0] in place of x[-1].
    assert main(["--length", "12", "--updates", "60", "--width", "16", "--blocks", "1"]) > 0.9


def test_the_label_says_whether_8_came_before_9() -> None:
    # Seen to fail it: the two places unsorted.
    tokens, label = draw(200, 9, torch.Generator().manual_seed(0))
    for sequence, first in zip(tokens.T.tolist(), label.tolist(), strict=True):
        assert sequence.count(FIRST) == sequence.count(SECOND) == 1
        assert (sequence.index(FIRST) < sequence.index(SECOND)) == bool(first)
    assert 60 < int(label.sum()) < 140
