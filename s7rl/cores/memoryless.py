"""A core that remembers nothing: the control by which memory is measured."""

from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.cores.base import Core


class Memoryless(Core):
    """The identity.  What stands around it (encoder, gated block, heads) is the same as around every other core."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, state_size=0)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        return x, state
