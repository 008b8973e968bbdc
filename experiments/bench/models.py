"""The sequence models as things to measure: by name, at a width, ready to train or to act.

Cores are as ``make_core`` builds them; torch's LSTM and GRU are bare, the yardsticks that everybody has. Names of cores
stand here only where a benchmark needs to treat one in its own way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from s7rl import Core, core_names, make_core
from s7rl.experiments.suggestions import chosen

REFERENCE = "s7"
"""The core that all are compared with."""
BARE: Mapping[str, Callable[[int, int], nn.LSTM | nn.GRU]] = MappingProxyType(
    {"torch.nn.LSTM": nn.LSTM, "torch.nn.GRU": nn.GRU}
)
"""The yardsticks."""
FULL_ATTENTION: Mapping[str, str] = MappingProxyType({"gtrxl": "window"})
"""Cores that attend to a window, and the option for its length: training sets it to T, so that the whole sequence is
attended to, as the others remember all of it."""
MATCHINGS: Mapping[str, str] = MappingProxyType({"width": "equal width", "parameters": "equal parameters"})
"""What a model can have in common with S7, in words."""
SEED = 0


def chosen_cores(names: Sequence[str]) -> tuple[str, ...]:
    """The cores of an option ``--cores``, all where it is empty, S7 first.

    Raises:
        UsageError: there is no such core, or it is named twice.
    """
    return (REFERENCE, *(name for name in chosen("core", names, core_names(), "--cores") if name != REFERENCE))


def make_module(name: str, d_model: int, length: int | None = None, n_blocks: int = 1) -> nn.Module:
    """A core by its name, or a yardstick.

    Args:
        name: of ``core_names()`` or of ``BARE``.
        d_model: the width of input, output and hidden state.
        length: the steps that a core which attends to a window shall see; None for its own default.
        n_blocks: blocks of a core on top of each other.
    """
    if name in BARE:
        return BARE[name](d_model, d_model)
    options = {FULL_ATTENTION[name]: length} if length is not None and name in FULL_ATTENTION else {}
    return make_core(name, d_model=d_model, n_blocks=n_blocks, **options)


def parameter_count(module: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def matching_width(count: Callable[[int], int], target: int) -> int:
    """The width whose number of parameters comes nearest to a target; of two as near, the smaller.

    Args:
        count: parameters at a width, which grow with it.
        target: how many there should be.
    """
    largest = 1
    while count(largest) < target:
        largest *= 2
    enough = 1 + bisect_left(range(1, largest), target, key=count)
    return min((width for width in (enough - 1, enough) if width > 0), key=lambda width: abs(count(width) - target))


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model at a width."""

    name: str
    """Of ``core_names()`` or of ``BARE``."""
    d_model: int
    """Its width."""
    parameters: int
    """How many numbers it learns."""
    state_size: int
    """How many numbers it carries from step to step for each sequence."""
    matchings: tuple[str, ...]
    """What it has in common with S7: keys of ``MATCHINGS``."""


def contenders(names: Sequence[str], d_model: int) -> list[Contender]:
    """Each model at the width of S7, and at the width that gives it as many parameters."""
    target = parameter_count(make_module(REFERENCE, d_model))
    found = []
    for name in (*names, *BARE):
        widths = {"width": d_model, "parameters": matching_width(partial(_count, name), target)}
        for width in sorted(set(widths.values())):
            module = make_module(name, width)
            found.append(
                Contender(
                    name=name,
                    d_model=width,
                    parameters=parameter_count(module),
                    state_size=_state_size(module),
                    matchings=tuple(matching for matching, its in widths.items() if its == width),
                )
            )
    return found


def _count(name: str, d_model: int) -> int:
    return parameter_count(make_module(name, d_model))


def _state_size(module: nn.Module) -> int:
    if isinstance(module, Core):
        return module.state_size
    assert isinstance(module, nn.LSTM | nn.GRU)
    return module.hidden_size * (2 if isinstance(module, nn.LSTM) else 1)


class TrainingStep:
    """Forward and backward through one minibatch, from the features below the model back to them.

    No loss and no optimiser: they are the same for all models. Nor any episode boundary but the first: cores that loop
    over boundaries would take longer with more.
    """

    def __init__(self, name: str, d_model: int, *, length: int, batch_size: int, device: str) -> None:
        """Makes the model and its data; the same for every call with the same arguments."""
        torch.manual_seed(SEED)
        self._device = torch.device(device)
        self._module = make_module(name, d_model, length).to(self._device)
        self._x = torch.randn(length, batch_size, d_model, device=self._device, requires_grad=True)
        self._reset = torch.zeros(length, batch_size, dtype=torch.bool, device=self._device)
        self._reset[0] = True

    def __call__(self) -> None:
        """Runs it once, to the end also on a GPU.

        It keeps nothing but its input: many wait for their turn at the same time.  The input serves as the gradient of
        the output as well.
        """
        self._forward_backward()
        self._x.grad = None
        self._module.zero_grad(set_to_none=True)
        synchronize(self._device)

    def _forward_backward(self) -> None:
        self._forward().backward(self._x.detach())

    def _forward(self) -> Tensor:
        if isinstance(self._module, Core):
            state = self._module.initial_state(self._x.shape[1])
            y: Tensor = self._module.scan(self._x, state, self._reset)[0]
            return y
        output: Tensor = self._module(self._x)[0]
        return output


class Acting:
    """Steps of a batch of sequences one after the other, without gradients.

    As many in a row as keep the caches warm with one model: an agent acts for a whole rollout, too.
    """

    STEPS = 20

    def __init__(self, name: str, d_model: int, *, batch_size: int, device: str) -> None:
        """Makes the model and its data; the same for every call with the same arguments."""
        torch.manual_seed(SEED)
        self._device = torch.device(device)
        self._module = make_module(name, d_model).to(self._device)
        self._x = torch.randn(batch_size, d_model, device=self._device)
        self._reset = torch.zeros(batch_size, dtype=torch.bool, device=self._device)
        if isinstance(self._module, Core):
            self._state = self._module.initial_state(batch_size)
        else:
            self._state = torch.zeros(1, batch_size, d_model, device=self._device)

    def __call__(self) -> None:
        """Runs ``STEPS`` steps, to the end also on a GPU."""
        with torch.no_grad():
            for _ in range(self.STEPS):
                if isinstance(self._module, Core):
                    self._module.step(self._x, self._state, self._reset)
                elif isinstance(self._module, nn.LSTM):
                    self._module(self._x[None], (self._state, self._state))
                else:
                    self._module(self._x[None], self._state)
        synchronize(self._device)


def synchronize(device: torch.device) -> None:
    """Waits for a GPU, which would otherwise be timed at giving it work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
