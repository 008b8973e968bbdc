"""A core as a TorchRL module (extra ``torchrl``), beside TorchRL's own ``LSTMModule`` and ``GRUModule``.

The same keys, markers and modes as theirs: it reads features, the memory's state and ``is_init``, steps through a
tensordict of single steps, and inside ``torchrl.modules.set_recurrent_mode`` scans one whose last dimension is time.
The scan takes episodes as they come; nothing is split or padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor, nn
from torchrl.data import Unbounded
from torchrl.envs import TensorDictPrimer
from torchrl.modules import recurrent_mode

from s7rl import Core, make_core

Key: TypeAlias = str | tuple[str, ...]
STATE = "recurrent_state"
"""The key of the memory's state, where only those of the features are given."""


class S7Module(TensorDictModuleBase):  # type: ignore[misc]
    """Features through a linear layer and a core, by the keys of a tensordict.

    A tensordict of shape ``[*B]`` holds one step of each sequence; in recurrent mode one of shape ``[*B, T]`` holds T.
    ``is_init``, of that shape or with a dimension of size 1 behind it, is true at the first observation of an episode:
    ``torchrl.envs.InitTracker`` writes it.

    Args:
        input_size: numbers in the features.
        d_model: H, numbers in the output.
        core: a name of ``s7rl.core_names()``, or a :class:`s7rl.Core` of width ``d_model``.
        in_key: key of the features; the state is then read at "recurrent_state".
        in_keys: keys of the features and of the state; and "is_init", which may be left out.
        out_key: key of the output; the state is then written to ("next", "recurrent_state").
        out_keys: keys of the output and of the state after it.
        default_recurrent_mode: whether tensordicts hold sequences outside ``set_recurrent_mode``, too.
        core_kwargs: options of the core, as ``s7rl.make_core`` takes them: ``n_blocks``, ``d_state``, ``horizon``, ...

    Raises:
        ValueError: if keys are given twice or not at all, or an option is out of range.
        TypeError: if the core does not take an option.
    """

    def __init__(
        self,
        input_size: int,
        d_model: int = 64,
        core: str | Core = "s7",
        *,
        in_key: Key | None = None,
        in_keys: Sequence[Key] | None = None,
        out_key: Key | None = None,
        out_keys: Sequence[Key] | None = None,
        default_recurrent_mode: bool = False,
        **core_kwargs: Any,
    ) -> None:
        super().__init__()
        inputs = _keys("in", in_key, in_keys, STATE)
        self.in_keys = [*(key for key in inputs if key != "is_init"), "is_init"]
        self.out_keys = _keys("out", out_key, out_keys, ("next", STATE))
        for name, keys in (("in_keys", self.in_keys[:-1]), ("out_keys", self.out_keys)):
            if len(keys) != 2:
                raise ValueError(f"{name} names {len(keys)} entries, {keys}: pass the features' and the state's.")
        if isinstance(core, Core) and (core_kwargs or core.d_model != d_model):
            raise ValueError(
                f"core is built already, with width {core.d_model}: pass d_model={core.d_model} and no options of it."
            )
        self.embed = nn.Linear(input_size, d_model)
        self.core = core if isinstance(core, Core) else make_core(core, d_model=d_model, **core_kwargs)
        self._default_recurrent_mode = default_recurrent_mode

    @property
    def recurrent_mode(self) -> bool:
        """Whether the last dimension of a tensordict is time: as ``set_recurrent_mode`` says, else the default."""
        mode = recurrent_mode()
        return self._default_recurrent_mode if mode is None else bool(mode)

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """The transform by which an environment carries the state, zeros at its reset.

        Raises:
            ValueError: if the state is not written to ("next", the key that it is read at).
        """
        read, written = _as_tuple(self.in_keys[1]), _as_tuple(self.out_keys[1])
        if written != ("next", *read):
            raise ValueError(
                f"the state is read at {read} and written to {written}, where the next step does not find it: "
                f"name {('next', *read)} in out_keys."
            )
        return TensorDictPrimer({read: Unbounded(shape=(self.core.state_size,))}, expand_specs=True)

    @dispatch  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the output and the state after each step that has one, in place.

        Of a sequence, the state after its last step is known and written; after the others, zeros.  Without a state
        in the tensordict nothing was seen before.

        Raises:
            KeyError: if features or "is_init" are missing.
            ValueError: in recurrent mode, if there is no dimension that could be time.
        """
        if self.recurrent_mode and not tensordict.ndim:
            raise ValueError(
                "the tensordict has no dimension, but in recurrent mode its last one is time: pass a sequence, or step "
                "outside set_recurrent_mode."
            )
        shape = tensordict.shape
        steps = shape[-1] if self.recurrent_mode else 1
        sequences = tensordict.reshape(-1, steps)
        features = self.embed(sequences[self.in_keys[0]]).transpose(0, 1)
        reset = sequences["is_init"].reshape(-1, steps).transpose(0, 1)
        state = sequences.get(self.in_keys[1], None)
        before = self.core.initial_state(features.shape[1]) if state is None else state[:, 0]
        if self.recurrent_mode:
            output, last = self.core.scan(features, before, reset)
            after = torch.cat([last.new_zeros(steps - 1, *last.shape), last[None]])
        else:
            output, after = (value[None] for value in self.core.step(features[0], before, reset[0]))
        for key, value in zip(self.out_keys, (output, after), strict=True):
            tensordict.set(key, _in_shape(shape, value))
        return tensordict


def _in_shape(shape: torch.Size, value: Tensor) -> Tensor:
    """What is time-major, ``[T, B, N]``, in the shape of a tensordict."""
    return value.transpose(0, 1).reshape(*shape, value.shape[-1])


def _keys(side: str, key: Key | None, keys: Sequence[Key] | None, state: Key) -> list[Key]:
    if (key is None) == (keys is None):
        raise ValueError(f"{side}_key is {key!r} and {side}_keys {keys!r}: pass one of the two.")
    return [*keys] if keys is not None else [key, state]  # type: ignore[list-item]


def _as_tuple(key: Key) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)
