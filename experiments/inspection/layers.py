r"""What a layer did in an episode: how long it remembers, and how far its gates stood open.

The time constant of a number of the memory that keeps a share a of itself in a step is taken as

.. math:: \tau = \frac{1}{1 - |a|} \quad\text{steps,}

after which about 1/e of it is left.  S7's :math:`w_k^2 + c` is just that.  Of the cores, S7, Mamba and the gated ones
decide it anew at each step; in S5, S4D and LRU it is what was learned; a window of past inputs has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, singledispatch
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s7rl.agents.observations import map_observations
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.cores import GRU, LRU, LSTM, S4D, S5, S7, Core, GTrXL, Mamba, MinGRU, ResidualBlock, Stack
from s7rl.experiments.inspection.recording import Episode

Gates = dict[str, Float[Tensor, "L _"]]
"""By what they are called, over the steps of an episode."""


class Passed(NamedTuple):
    """What went through a module in a scan, [L, 1, ...]."""

    given: Tensor
    returned: Tensor


Seen = Mapping[str, Passed]
"""By the name of the module within the layer."""


@dataclass(frozen=True)
class Layer:
    """One layer of the actor's memory."""

    name: str
    """Which block it is: "block 1" is nearest to the observation."""
    core: Core
    """The layer, without what stands around it."""
    block: nn.Module
    """With what stands around it."""
    start: int
    """Where its numbers begin in the state."""
    width: int
    """How many it remembers with, without a last input kept beside them for a token shift or a convolution."""


@dataclass(frozen=True)
class Trace:
    """What a layer did in an episode of L steps."""

    horizons: Float[Tensor, "L N"] | None
    """Time constants in steps; None where they do not depend on the input, or there are none."""
    gates: Gates
    """0: closed; 1: open."""


def layers_of(core: Core) -> list[Layer]:
    """The layers of a memory, in the order of their states."""
    layers, start = [], 0
    for number, block in enumerate(core.cores if isinstance(core, Stack) else [core], start=1):
        assert isinstance(block, Core)
        layer = block.layer if isinstance(block, ResidualBlock) else block
        layers.append(Layer(f"block {number}", layer, block, start, _width(layer)))
        start += block.state_size
    return layers


def trace(policy: RecurrentActorCriticPolicy, layers: list[Layer], episode: Episode) -> list[Trace]:
    """Goes through an episode once more, in one scan, and looks into each layer."""
    starts = torch.zeros(len(episode), 1, dtype=torch.bool, device=policy.device)
    observations = map_observations(lambda x: x.unsqueeze(1), episode.observations)
    with ExitStack() as stack, torch.no_grad():
        watched = [stack.enter_context(_watch(layer.block)) for layer in layers]
        policy.advance(observations, policy.initial_state(1), starts)
    traces = []
    for layer, seen in zip(layers, watched, strict=True):
        prefix = "" if layer.block is layer.core else "layer."
        inside = {name.removeprefix(prefix): passed for name, passed in seen.items() if name.startswith(prefix)}
        horizons, gates = follow(layer.core, inside)
        if isinstance(layer.block, ResidualBlock):
            gates = gates | {"gate of the block": _flat(seen["gate"].returned.sigmoid())}
        traces.append(Trace(horizons, gates))
    return traces


@singledispatch
def horizons_at_rest(core: Core) -> Float[Tensor, " N"] | None:
    """Time constants in steps while the input, and the state where it counts, is 0; None for a core that has none."""
    return None


@horizons_at_rest.register
def _(core: S7) -> Float[Tensor, " N"]:
    return core.horizons().detach()


@horizons_at_rest.register
def _(core: LRU) -> Float[Tensor, " N"]:
    return _from_log(-core.nu.detach().exp())


@horizons_at_rest.register(S5)
@horizons_at_rest.register(S4D)
def _(core: S5 | S4D) -> Float[Tensor, " N"]:
    log_decay, log_step = core.log_decay.detach(), core.log_step.detach()
    return _from_log(-(log_decay + log_step).exp()).flatten()


@horizons_at_rest.register
def _(core: Mamba) -> Float[Tensor, " N"]:
    with torch.no_grad():
        convolved = nn.functional.silu(core.convolution_bias)
        step = nn.functional.softplus(core.to_step(core.selection(convolved)[: core.rank]) + core.step_bias)
    return _from_steps(core, step[None])[0]


@horizons_at_rest.register
def _(core: MinGRU) -> Float[Tensor, " N"]:
    return 1.0 / core.gate_bias.detach().sigmoid()


@horizons_at_rest.register(GRU)
@horizons_at_rest.register(LSTM)
def _(core: GRU | LSTM) -> Float[Tensor, " N"]:
    kernel = core.gru if isinstance(core, GRU) else core.lstm
    bias = (kernel.get_parameter("bias_ih_l0") + kernel.get_parameter("bias_hh_l0")).detach()
    # The second of both: what a GRU keeps is its z, here as in torch.
    return _from_kept(bias.unflatten(0, (-1, core.d_model))[1])


@singledispatch
def follow(core: Core, seen: Seen) -> tuple[Float[Tensor, "L N"] | None, Gates]:
    """Time constants and gates of a layer.

    Args:
        core: the layer.
        seen: what went through its modules in an episode of L steps.
    """
    return None, {}


@follow.register
def _(core: S7, seen: Seen) -> tuple[Float[Tensor, "L N"] | None, Gates]:
    if core.selectivity == "none":
        return None, {}
    selection = _flat(seen["selection"].returned)
    if core.spread is not None:
        selection = selection @ core.spread.detach()
    horizons = core.horizons(selection[:, : core.d_state]).detach()
    if core.selectivity != "diagonal":
        return horizons, {}
    modes, width = core.d_state, core.input.out_features
    _, into, out, _ = selection.split([modes, modes, width, core.d_model], dim=-1)
    return horizons, {"input gate 1 + W_B u": 1.0 + into, "output gate 1 + W_C u": 1.0 + out}


@follow.register
def _(core: Mamba, seen: Seen) -> tuple[Float[Tensor, "L N"] | None, Gates]:
    step = nn.functional.softplus(_flat(seen["to_step"].returned) + core.step_bias.detach())
    _, out = _flat(seen["input"].returned).chunk(2, dim=-1)
    return _from_steps(core, step), {"output gate SiLU(z)": nn.functional.silu(out)}


@follow.register
def _(core: MinGRU, seen: Seen) -> tuple[Float[Tensor, "L N"] | None, Gates]:
    update = (_flat(seen["gate"].returned) + core.gate_bias.detach()).sigmoid()
    return 1.0 / update, {"update gate z": update}


@follow.register
def _(core: GRU, seen: Seen) -> tuple[Float[Tensor, "L N"] | None, Gates]:
    reset, kept = _logits(core.gru, seen["gru"], core.d_model)[:, :2].unbind(1)
    return _from_kept(kept), {"reset gate r": reset.sigmoid(), "update gate 1 - z": (-kept).sigmoid()}


@follow.register
def _(core: LSTM, seen: Seen) -> tuple[Float[Tensor, "L N"] | None, Gates]:
    into, kept, _, out = _logits(core.lstm, seen["lstm"], core.d_model).unbind(1)
    return _from_kept(kept), {
        "input gate": into.sigmoid(),
        "forget gate": kept.sigmoid(),
        "output gate": out.sigmoid(),
    }


@follow.register
def _(core: GTrXL, seen: Seen) -> tuple[Float[Tensor, "L N"] | None, Gates]:
    gates = {}
    for name, gate in (("attention", core.attention_gate), ("perceptron", core.perceptron_gate)):
        from_y, from_x = (_flat(seen[f"{name}_gate.{part}"].returned) for part in ("from_y", "from_x"))
        logit = from_y.chunk(3, dim=-1)[1] + from_x.chunk(2, dim=-1)[1] - gate.bias.detach()
        gates[f"gate of the {name}"] = logit.sigmoid()
    return None, gates


def _width(core: Core) -> int:
    if isinstance(core, S7):
        return core.input.out_features
    if isinstance(core, Mamba):
        return len(core.skip) * core.d_state
    if isinstance(core, GTrXL):
        return core.state_size - 1  # it counts its inputs
    return core.state_size


@contextmanager
def _watch(block: nn.Module) -> Iterator[dict[str, Passed]]:
    """Notes during the block what goes through the modules inside."""
    seen: dict[str, Passed] = {}

    def note(name: str, module: nn.Module, given: tuple[Any, ...], returned: Any) -> None:
        seen[name] = Passed(given[0], returned[0] if isinstance(returned, tuple) else returned)

    hooks = [part.register_forward_hook(partial(note, name)) for name, part in block.named_modules() if name]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _flat(x: Float[Tensor, "L 1 K"]) -> Float[Tensor, "L K"]:
    return x[:, 0]


def _logits(kernel: nn.RNNBase, passed: Passed, width: int) -> Float[Tensor, "L gates H"]:
    """Torch's gates before their sigmoids; those of a GRU's candidate, its last, are not what it computes."""
    x, y = _flat(passed.given), _flat(passed.returned)
    before = torch.cat([torch.zeros_like(y[:1]), y[:-1]])
    weights = {name: parameter.detach() for name, parameter in kernel.named_parameters()}
    from_x = nn.functional.linear(x, weights["weight_ih_l0"], weights["bias_ih_l0"])
    from_y = nn.functional.linear(before, weights["weight_hh_l0"], weights["bias_hh_l0"])
    gates: Tensor = (from_x + from_y).unflatten(1, (-1, width))
    return gates


def _from_log(log_kept: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """1 / (1 - a) from log a, with the digits of an a near 1."""
    return -1.0 / torch.expm1(log_kept)


def _from_kept(logit: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """1 / (1 - a) from the logit of a."""
    return 1.0 / (-logit).sigmoid()


def _from_steps(core: Mamba, step: Float[Tensor, "L E"]) -> Float[Tensor, "L EN"]:
    return _from_log(-(step[..., None] * core.log_decay.detach().exp())).flatten(1)
