"""The gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) as a core: the baseline that everybody knows."""

from jaxtyping import Float
from torch import Tensor, nn

from s7rl.cores.fused import FusedCore


class GRU(FusedCore):
    """torch's GRU with episode resets, see :class:`~s7rl.cores.fused.FusedCore`.

    Args:
        d_model: H, the width of input and output; also of the hidden state.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, state_size=d_model)
        self.gru = nn.GRU(d_model, d_model)

    def run(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`FusedCore.run`."""
        y, last = self.gru(x, state[None])
        return y, last[0]
