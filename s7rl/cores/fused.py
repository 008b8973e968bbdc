"""torch's fused recurrent kernels, which know nothing of resets, on sequences that have some."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def scan_between_resets(
    run: Run, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
    """Run the kernel over the stretches between the times at which any sequence of the batch starts an episode.

    It costs a Python step per such time, never one per time step.  The alternative, all episodes side by side as one
    PackedSequence, is faster for a GRU of few sequences and many resets, and much slower for an LSTM of many: its
    gradient takes time quadratic in the number of steps.

    Args:
        run: from a stretch and the state before it to the outputs and the state after it.
        x: the inputs.
        state: the state before them.
        reset: true where a step is the first of an episode.
    """
    starts = [0, *(reset[1:].any(dim=1).nonzero().flatten() + 1).tolist()]
    lengths = [end - start for start, end in zip(starts, [*starts[1:], len(x)], strict=True)]
    ys = []
    for start, stretch in zip(starts, x.split(lengths), strict=True):
        y, state = run(stretch, torch.where(reset[start][:, None], 0.0, state))
        ys.append(y)
    return torch.cat(ys), state
