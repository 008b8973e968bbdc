"""The gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) as a core: the baseline that everybody knows."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.cores.base import Core


class GRU(Core):
    """torch's GRU with episode resets.

    torch's fused kernel knows nothing of resets.  The scan runs it over the stretches between the times at which any
    sequence of the batch starts an episode, so that it costs a Python step per such time, never one per time step.

    Args:
        d_model: H, the width of input and output; also of the hidden state.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, state_size=d_model)
        self.gru = nn.GRU(d_model, d_model)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        starts = [0, *(reset[1:].any(dim=1).nonzero().flatten() + 1).tolist()]
        lengths = [end - start for start, end in zip(starts, [*starts[1:], len(x)], strict=True)]
        ys = []
        for start, stretch in zip(starts, x.split(lengths), strict=True):
            y, state = self._run(stretch, state, reset[start])
            ys.append(y)
        return torch.cat(ys), state

    def _run(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        state = torch.where(reset[:, None], 0.0, state)
        y, last = self.gru(x, state[None])
        return y, last[0]
