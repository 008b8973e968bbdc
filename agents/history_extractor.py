"""A memory for any algorithm of Stable-Baselines3 and sb3-contrib: a sequence model over the last observations.

    env = s7rl.envs.HistoryWrapper(env, length=32)
    policy_kwargs = dict(features_extractor_class=S7HistoryExtractor, features_extractor_kwargs=dict(d_model=64))
    model = SAC("MultiInputPolicy", env, policy_kwargs=policy_kwargs)

What is learned from is a batch of windows, each of one moment: they are scanned side by side, from no memory at all.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from s7rl.agents.encoders import ImageExtractor, is_image
from s7rl.checks import SIZE, check_arguments
from s7rl.cores import core_options, make_core
from s7rl.cores.dense import Linear
from s7rl.envs.wrappers.history import VALID

Self = TypeVar("Self", bound="S7HistoryExtractor")


class S7HistoryExtractor(BaseFeaturesExtractor):
    """What S7, or another core, makes of the last of the observations that :class:`s7rl.envs.HistoryWrapper` shows.

    The result is that of stepping the core through the episode's last K observations, one by one, from its initial
    state; what the wrapper shows before the episode's start has no part in it.  Each observation goes through an
    encoder first: images through an :class:`~s7rl.agents.encoders.ImageExtractor`, then a linear layer, ReLU and
    another linear layer.

    SB3's orthogonal initialisation (``ortho_init``, on in PPO and A2C) applies to the encoder only.

    Args:
        observation_space: that of a :class:`s7rl.envs.HistoryWrapper`.
        core: name of the sequence model, see :func:`s7rl.core_names`.
        d_model: H, the width of encoder, core and features.
        d_state: N, the number of modes of a state space core; None leaves it to the core, and other cores ignore it.
        n_blocks: how many blocks the core has.
        core_kwargs: further options of the core, see :func:`s7rl.core_options`.
        cnn_output_dim: what an image becomes before the encoder.

    Raises:
        TypeError: if an option is of the wrong kind.
        ValueError: if the observation space is another one, or an option is out of range.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        core: str = "s7",
        d_model: int = 64,
        d_state: int | None = None,
        n_blocks: int = 1,
        core_kwargs: dict[str, Any] | None = None,
        cnn_output_dim: int = 256,
    ) -> None:
        if not isinstance(observation_space, spaces.Dict) or VALID not in observation_space.spaces:
            raise ValueError(
                f"the observation space is a {type(observation_space).__name__} without {VALID!r}: wrap the "
                'environment in s7rl.envs.HistoryWrapper, outermost, and use "MultiInputPolicy".'
            )
        check_arguments(locals(), d_model=SIZE, d_state=SIZE.or_none(), n_blocks=SIZE, cnn_output_dim=SIZE)
        super().__init__(observation_space, d_model)
        (self.length,) = observation_space[VALID].shape or ()
        leaves = {key: space for key, space in observation_space.spaces.items() if key != VALID}
        # Two lists, as a ModuleDict refuses keys such as "a.b" and "keys".
        self.keys = list(leaves)
        extractors = [self._leaf(space, cnn_output_dim) for space in leaves.values()]
        self.leaves = nn.ModuleList(extractors)
        width = sum(leaf.width for leaf in extractors)
        self.encoder = nn.Sequential(Linear(width, d_model), nn.ReLU(), Linear(d_model, d_model))
        options = dict(core_kwargs or {})
        if d_state is not None and "d_state" in core_options(core):
            options.setdefault("d_state", d_state)
        self.core = make_core(core, d_model=d_model, n_blocks=n_blocks, **options)

    def forward(self, observations: dict[str, Float[Tensor, "N ..."]]) -> Float[Tensor, "N H"]:
        """Features of windows that SB3 has preprocessed: in float32, symbols one-hot."""
        valid = observations[VALID] > 0.5
        entries = [leaf(observations[key]) for key, leaf in zip(self.keys, self.leaves, strict=True)]
        x = self.encoder(torch.cat(entries, dim=-1)).transpose(0, 1)
        # The state is cleared where the first observation is that there is: what stands before is nothing.
        begins = valid.clone()
        begins[:, 1:] &= ~valid[:, :-1]
        y, _ = self.core.scan(x, self.core.initial_state(len(valid)), begins.t())
        return y[-1]

    def apply(self: Self, fn: Callable[[nn.Module], Any]) -> Self:
        """Apply a function to every module but the core: what it begins with has a meaning that SB3 would undo."""
        self.leaves.apply(fn)
        self.encoder.apply(fn)
        fn(self)
        return self

    def _leaf(self, space: spaces.Space[Any], cnn_output_dim: int) -> "_Vectors | _Images":
        if isinstance(space, spaces.Box) and space.shape:
            of_one = spaces.Box(space.low[0], space.high[0], dtype=space.dtype)
            if is_image(of_one):
                return _Images(of_one, cnn_output_dim, self.length)
        return _Vectors(spaces.flatdim(space) // self.length, self.length)


class _Vectors(nn.Module):
    """The numbers of each observation of a window in a row."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.width, self.length = width, length

    def forward(self, windows: Float[Tensor, "N ..."]) -> Float[Tensor, "N K F"]:
        return windows.reshape(len(windows), self.length, self.width)


class _Images(nn.Module):
    """Features of each image of a window."""

    def __init__(self, space: spaces.Box, width: int, length: int) -> None:
        super().__init__()
        self.width, self.length = width, length
        # SB3 sees no image in a window, and leaves bytes as they are.
        self.largest = 255.0 if is_image_space(space) else 1.0
        self.extractor = ImageExtractor(space, width)

    def forward(self, windows: Shaped[Tensor, "N K _ _ _"]) -> Float[Tensor, "N K F"]:
        features: Tensor = self.extractor(windows.flatten(0, 1) / self.largest)
        return features.view(len(windows), self.length, self.width)
