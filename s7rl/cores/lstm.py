"""The long short-term memory (Hochreiter and Schmidhuber 1997; with forget gate, Gers et al. 2000) as a core."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments, span
from s7rl.cores.fused import FusedCore
from s7rl.cores.initialisation import chrono_bias


class LSTM(FusedCore):
    r"""torch's LSTM with episode resets, see :class:`~s7rl.cores.fused.FusedCore`.

    The state is [h | c], the output is h.

    Args:
        d_model: H, the width of input and output; also of the hidden state.
        horizon: shortest and longest initial time constant of the cells in steps, above 1, drawn log-uniformly
            per cell: :func:`~s7rl.cores.initialisation.chrono_bias` for the forget gate, its negative for the input
            gate.  None: torch's own, which forgets within about two steps.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument outside its range.
    """

    def __init__(self, d_model: int, *, horizon: tuple[float, float] | None = None) -> None:
        horizons = span("it is the (shortest, longest) time constant in steps", above=1.0)
        check_arguments(locals(), d_model=SIZE, horizon=horizons.or_none())
        super().__init__(d_model, state_size=2 * d_model)
        self.lstm = nn.LSTM(d_model, d_model)
        if horizon is not None:
            bias = chrono_bias(d_model, horizon)
            with torch.no_grad():
                # torch orders the gates: input, forget, cell, output; and adds two biases.
                self.lstm.get_parameter("bias_ih_l0")[: 2 * d_model] = torch.cat([-bias, bias])
                self.lstm.get_parameter("bias_hh_l0")[: 2 * d_model] = 0.0

    def run(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`FusedCore.run`."""
        hidden, cell = (half.contiguous() for half in state[None].chunk(2, dim=-1))
        y, (hidden, cell) = self.lstm(x, (hidden, cell))
        return y, torch.cat([hidden[0], cell[0]], dim=-1)
