"""torch's fused recurrent kernels, which know nothing of resets, on sequences that have some."""

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.cores.base import Core


class FusedCore(Core):
    """A core that runs the kernel over the stretches between the times at which any sequence starts an episode.

    It costs a Python step per such time, never one per time step.  The alternative, all episodes side by side as one
    PackedSequence, is faster for a GRU of few sequences and many resets, and much slower for an LSTM of many: its
    gradient takes time quadratic in the number of steps.
    """

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        # A single step, which an agent acts by, is a stretch as it is.
        starts = [0, *(reset[1:].any(dim=1).nonzero().flatten() + 1).tolist()] if len(x) > 1 else [0]
        lengths = [end - start for start, end in zip(starts, [*starts[1:], len(x)], strict=True)]
        ys = []
        for start, stretch in zip(starts, x.split(lengths), strict=True):
            y, state = self.run(stretch, torch.where(reset[start][:, None], 0.0, state))
            ys.append(y)
        return torch.cat(ys), state

    @abstractmethod
    def run(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """The outputs of a stretch without resets, and the state after it."""
