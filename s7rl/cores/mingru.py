r"""The minimal gated recurrent unit (Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments, span
from s7rl.cores.base import Core
from s7rl.cores.dense import Linear
from s7rl.cores.initialisation import chrono_bias
from s7rl.scan import linear_scan


class MinGRU(Core):
    r"""A GRU whose gate does not look at the state, so that it is a linear recurrence.

    .. math::
        x_k = (1 - z_k) \odot x_{k-1} + z_k \odot \tilde x_k, \qquad z_k = \sigma(W_z u_k + \beta), \qquad
        \tilde x_k = W u_k + c, \qquad y_k = x_k

    This is the paper's plain form.  Its log-space form has positive states only and loses digits on long sequences; the
    scan here needs neither.

    Args:
        d_model: H, the width of input, output and state.
        horizon: shortest and longest initial time constant in steps, above 1, drawn log-uniformly per unit:
            beta is the negative of :func:`~s7rl.cores.initialisation.chrono_bias`.  With beta = 0, as in the paper,
            half of the state is gone after every step.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument outside its range.
    """

    dynamics = ("gate_bias",)

    def __init__(self, d_model: int, *, horizon: tuple[float, float] = (2.0, 1000.0)) -> None:
        horizons = span("it is the (shortest, longest) time constant in steps", above=1.0)
        check_arguments(locals(), d_model=SIZE, horizon=horizons)
        super().__init__(d_model, state_size=d_model)
        self.gate = Linear(d_model, d_model, bias=False)  # W_z
        self.gate_bias = nn.Parameter(-chrono_bias(d_model, horizon))  # beta
        self.candidate = Linear(d_model, d_model)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        logit = self.gate(x) + self.gate_bias
        # 1 - z as the sigmoid of the negative logit keeps the digits of a gate that is nearly closed.
        states = linear_scan(torch.sigmoid(-logit), torch.sigmoid(logit) * self.candidate(x), state, reset)
        return states, states[-1]
