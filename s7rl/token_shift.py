r"""The token shift: each input less a share of the one before it.

.. math:: v_t = u_t - \mu \odot u_{t-1}, \qquad u_{t-1} = 0 \text{ where an episode starts}

(Peng et al. 2023, "RWKV: Reinventing RNNs for the Transformer Era", arXiv 2305.13048, mix neighbours likewise.)
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from s7rl.backends import backend


def token_shift(
    u: Float[Tensor, "T B H"], mu: Float[Tensor, " H"], before: Float[Tensor, "B H"], reset: Bool[Tensor, "T B"]
) -> Float[Tensor, "T B H"]:
    """Differentiable in every tensor but ``reset``; on the CPU one pass each way.

    Args:
        u: the inputs.
        mu: the share of the input before.
        before: the input before the first.
        reset: true where a step is the first of an episode.
    """
    if backend(u) == "numba" and u.dtype == mu.dtype == before.dtype:
        from s7rl.kernels import cpu_token_shift  # only now: numba takes a while, and may be missing

        return cpu_token_shift.shift(u, mu, before, reset)
    previous = torch.cat([before[None], u[:-1]]).masked_fill(reset[..., None], 0.0)
    return torch.addcmul(u, mu, previous, value=-1)
