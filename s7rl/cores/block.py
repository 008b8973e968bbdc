"""What stands around a layer, and how layers stack: both are cores themselves."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s7rl.cores.base import Core
from s7rl.cores.dense import Linear


class ResidualBlock(Core):
    r"""The block that S5 and S7 put around their layer ("half_glu2" in the S5 code).

    .. math:: s = \mathrm{layer}(\mathrm{LayerNorm}(x)), \qquad y = x + s \odot \sigma(W\,\mathrm{GELU}(s) + c)

    The GELU is the exact one (erf).  No dropout and no batch norm: both would make acting differ from learning.
    """

    def __init__(self, layer: Core) -> None:
        super().__init__(layer.d_model, layer.state_size)
        self.norm = nn.LayerNorm(layer.d_model)
        self.layer = layer
        self.gate = Linear(layer.d_model, layer.d_model)

    def step(
        self, x: Float[Tensor, "B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.step`."""
        # A subclass that scans otherwise learns otherwise: it has to step by its scan.
        by_scan = torch.is_grad_enabled() or type(self).scan is not ResidualBlock.scan
        whole = None if by_scan else self.layer.step_within(self.norm, self.gate, x, state, reset)
        return super().step(x, state, reset) if whole is None else whole

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        s, state = self.layer.scan(self.norm(x), state, reset)
        return x + s * torch.sigmoid(self.gate(nn.functional.gelu(s))), state


class Stack(Core):
    """Cores one after the other; the state is their states side by side."""

    def __init__(self, cores: Sequence[Core]) -> None:
        if not cores:
            raise ValueError("cores is empty, but a stack needs at least one: pass one core or more.")
        super().__init__(cores[0].d_model, sum(core.state_size for core in cores))
        self.cores = nn.ModuleList(cores)
        self._sizes = [core.state_size for core in cores]

    def step(
        self, x: Float[Tensor, "B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.step`."""
        return self._through("step", x, state, reset)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        return self._through("scan", x, state, reset)

    def _through(
        self, method: str, x: Float[Tensor, "*T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "*T B"]
    ) -> tuple[Float[Tensor, "*T B H"], Float[Tensor, "B S"]]:
        states = []
        parts = state.split(self._sizes, dim=-1) if len(self._sizes) > 1 else (state,)
        for core, part in zip(self.cores, parts, strict=True):
            x, part = getattr(core, method)(x, part, reset)
            states.append(part)
        return x, torch.cat(states, dim=-1) if len(states) > 1 else states[0]
