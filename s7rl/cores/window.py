"""The last few inputs of an episode, for the cores that keep them in their state."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def lagged(
    x: Float[Tensor, "T B H"], window: Float[Tensor, "B K H"], reset: Bool[Tensor, "T B"]
) -> tuple[list[Float[Tensor, "T B H"]], Float[Tensor, "B K H"]]:
    """The inputs of 0, 1, ..., K steps ago at every step, 0 where the episode is younger, and the window after them.

    Args:
        x: the inputs.
        window: the K inputs before x, oldest first; 0 where there were none.
        reset: true where a step is the first of an episode.
    """
    steps, size = len(x), window.shape[1]
    padded = torch.cat([window.transpose(0, 1), x])
    episode = torch.cat([reset.new_zeros(size, x.shape[1]), reset]).cumsum(0)
    lags = [x]
    for lag in range(1, size + 1):
        earlier = slice(size - lag, size - lag + steps)
        same = episode[earlier] == episode[size:]
        lags.append(torch.where(same[..., None], padded[earlier], 0.0))
    kept = torch.where((episode[steps:] == episode[-1])[..., None], padded[steps:], 0.0)
    return lags, kept.transpose(0, 1)
