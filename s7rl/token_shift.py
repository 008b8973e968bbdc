r"""The token shift: each input less a share of the one before it.

.. math:: v_t = u_t - \mu \odot u_{t-1}, \qquad u_{t-1} = 0 \text{ where an episode starts}

(Peng et al. 2023, "RWKV: Reinventing RNNs for the Transformer Era", arXiv 2305.13048, mix neighbours likewise.)
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.backends import fused
from s7rl.scan import check_shapes


def token_shift(
    u: Float[Tensor, "T B H"], mu: Float[Tensor, " H"], before: Float[Tensor, "B H"], reset: Bool[Tensor, "T B"]
) -> Float[Tensor, "T B H"]:
    """Differentiable in every tensor but ``reset``; on the CPU one pass each way.

    Args:
        u: the inputs.
        mu: the share of the input before.
        before: the input before the first.
        reset: true where a step is the first of an episode.

    Raises:
        ValueError: if the shapes do not fit together, or T is 0.
    """
    steps, batch, width = u.shape
    check_shapes(steps, batch, width, before, reset)
    if mu.shape != (width,):
        raise ValueError(f"u has width {width}, but mu has shape {tuple(mu.shape)}: pass one share for each feature.")
    if fused(u, mu, before):
        from s7rl.kernels import cpu_token_shift  # only now: numba takes a while, and may be missing

        shifted: Tensor = cpu_token_shift.shift(u, mu, before, reset)
        return shifted
    previous = torch.cat([before[None], u[:-1]]).masked_fill(reset[..., None], 0.0)
    return torch.addcmul(u, mu, previous, value=-1)
