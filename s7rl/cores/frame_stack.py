"""Frame stacking (Mnih et al. 2015) as a core: the memory that most agents make do with."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.checks import SIZE, check_arguments
from s7rl.cores.base import Core
from s7rl.cores.dense import Linear
from s7rl.cores.window import lagged


class FrameStack(Core):
    r"""A linear map of the last k inputs.

    .. math:: y_t = W [u_t, u_{t-1}, \dots, u_{t-k+1}] + c, \qquad u_s = 0 \text{ before the episode's start}

    The state is the last k - 1 inputs, oldest first.

    Args:
        d_model: H, the width of input and output.
        n_frames: k, how many inputs are seen, the current one included; 4 as in the paper.

    Raises:
        TypeError: if a size is not a whole number.
        ValueError: if a size is below 1.
    """

    def __init__(self, d_model: int, *, n_frames: int = 4) -> None:
        check_arguments(locals(), d_model=SIZE, n_frames=SIZE)
        super().__init__(d_model, state_size=(n_frames - 1) * d_model)
        self.n_frames = n_frames
        self.output = Linear(n_frames * d_model, d_model)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        frames, window = lagged(x, state.unflatten(1, (self.n_frames - 1, self.d_model)), reset)
        return self.output(torch.cat(frames, dim=-1)), window.flatten(1)
