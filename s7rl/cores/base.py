"""The contract that every sequence model of s7rl fulfils, and the one word for it: a *core*.

A core maps features to features and carries a state.  The state is opaque, ONE float tensor ``[B, S]`` whatever is
inside, so that any core can be kept in a rollout buffer, handed to users as numpy, and exported.  Everything is
time-major.  ``reset[t]`` is true when ``x[t]`` is the FIRST observation of an episode: the state is cleared before
``x[t]`` is consumed.

Five laws hold for every core and are tested for every core (tests/s7rl/test_core_laws.py):

1. stepping one by one gives what :meth:`Core.scan` gives;
2. the scan of a batch is the scan of each of its rows;
3. the scan of two episodes in one row is two scans;
4. no gradient passes from an episode to the one before it;
5. cutting a sequence and carrying the state over changes nothing.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments


class Core(nn.Module, ABC):
    """A recurrent map from features ``[.., H]`` to features ``[.., H]``.

    Attributes:
        d_model: H, the width of input and output.
        state_size: S, how many numbers the state holds per sequence; 0 for a core without memory.
        dynamics: names of the parameters that set time scales, see :meth:`dynamics_parameters`.
        stands_alone: whether the layer has norm and residual connection of its own, so that it stacks without a
            :class:`~s7rl.cores.block.ResidualBlock` around it.
    """

    dynamics: ClassVar[tuple[str, ...]] = ()
    stands_alone: ClassVar[bool] = False

    def __init__(self, d_model: int, state_size: int) -> None:
        super().__init__()
        check_arguments(locals(), d_model=SIZE)
        self.d_model = d_model
        self.state_size = state_size

    def initial_state(self, batch_size: int) -> Float[Tensor, "B S"]:
        """The state before anything was seen: zeros, on the device and of the dtype of the parameters."""
        parameter = next(self.parameters(), None)
        if parameter is None:
            return torch.zeros(batch_size, self.state_size)
        return torch.zeros(batch_size, self.state_size, dtype=parameter.dtype, device=parameter.device)

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """The parameters, of this core and of those inside it, that set time scales: horizons, step sizes, token shift.

        An optimiser should not decay them, since 0 is no neutral value for them, and may want another step size.
        """
        return split_dynamics(self)[1]

    def step(
        self, x: Float[Tensor, "B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B S"]]:
        """Consume one observation per sequence; return the features and the state after it."""
        y, state = self.scan(x[None], state, reset[None])
        return y[0], state

    def step_within(
        self,
        norm: nn.LayerNorm,
        gate: nn.Linear,
        x: Float[Tensor, "B H"],
        state: Float[Tensor, "B S"],
        reset: Bool[Tensor, " B"],
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B S"]] | None:
        """A step, without gradients, of the :class:`~s7rl.cores.block.ResidualBlock` around this layer, all at once.

        Returns:
            The output of the block and the state after it; None where there is no code for that.
        """
        return None

    def forward(
        self,
        x: Float[Tensor, "T B H"],
        state: Float[Tensor, "B S"] | None = None,
        reset: Bool[Tensor, "T B"] | None = None,
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """The scan, called as ``torch.nn.GRU`` is: without a state nothing was seen, without resets nothing begins."""
        steps, batch, _ = x.shape
        state = self.initial_state(batch) if state is None else state
        reset = torch.zeros(steps, batch, dtype=torch.bool, device=x.device) if reset is None else reset
        return self.scan(x, state, reset)

    @abstractmethod
    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """Consume whole sequences; return all features and the state after the last step."""


def split_dynamics(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of a module that set no time scale, and those of the cores inside it that do, for an optimiser."""
    cores = [part for part in module.modules() if isinstance(part, Core)]
    named = [getattr(core, name) for core in cores for name in core.dynamics]
    # Some are a buffer or None, as their core's options have it.
    dynamics = {id(parameter): parameter for parameter in named if isinstance(parameter, nn.Parameter)}
    others = [parameter for parameter in module.parameters() if id(parameter) not in dynamics]
    return others, list(dynamics.values())
