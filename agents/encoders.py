"""What stands between observations and the core's encoder: preprocessing, and the features extractors.

:class:`Preprocessor` does what ``preprocess_obs`` of Stable-Baselines3 does, and is right where that is not: for
Discrete and MultiDiscrete spaces that do not start at 0 (SB3 encodes the raw value), for MultiDiscrete of more than one
axis (SB3 raises an IndexError) and for a Box of shape () (SB3 leaves no axis to flatten).
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Integer, Shaped
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from s7rl.agents.observations import Observations
from s7rl.backends import is_recorded
from s7rl.checks import SIZE, EnvironmentMistake, check_arguments
from s7rl.cores.dense import Linear

NATURE_CNN_SIDE = 36
"""The shortest side, in pixels, of an image that the three layers of Mnih et al. leave anything of."""
_OUTSIDE = (
    "an observation has the symbol {symbol}{where}, which is not in its space: correct the observation space of the "
    "environment."
)


class Preprocessor(nn.Module):
    """Observations as features extractors take them: float32, images scaled to [0, 1], whole numbers one-hot.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or a flat Dict of these.
        normalize_images: divide images of bytes (three axes, uint8, bounds 0 and 255) by 255, as in SB3.
    """

    def __init__(self, space: spaces.Space[Any], normalize_images: bool = True) -> None:
        super().__init__()
        # Two lists, as a ModuleDict refuses keys such as "a.b" and "keys".
        self.keys = list(space.spaces) if isinstance(space, spaces.Dict) else None
        leaves = space.spaces.items() if isinstance(space, spaces.Dict) else [(None, space)]
        self.leaves = nn.ModuleList(_preprocess_leaf(key, leaf, normalize_images) for key, leaf in leaves)

    def forward(self, observations: Observations) -> Observations:
        """Preprocess a batch, ``[N, *shape]`` for each leaf.

        Returns:
            ``[N, symbols]`` for Discrete and MultiDiscrete, the symbols of all its entries side by side; ``[N, 1]`` for
            a Box of shape (); ``[N, *shape]`` for any other Box and MultiBinary.

        Raises:
            ValueError: if a symbol is none of its space's; not noticed on a GPU, where looking would stop the work.
        """
        if self.keys is None:
            preprocessed: Tensor = self.leaves[0](observations)
            return preprocessed
        assert isinstance(observations, dict)
        return {key: leaf(observations[key]) for key, leaf in zip(self.keys, self.leaves, strict=True)}


class VectorExtractor(BaseFeaturesExtractor):
    """All numbers of an observation in a row.

    Args:
        observation_space: Box, Discrete, MultiDiscrete or MultiBinary.

    Raises:
        ValueError: for a Dict.
    """

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        if isinstance(observation_space, spaces.Dict):
            raise ValueError(
                'the observation space is a Dict, which "MlpPolicy" does not take: use "MultiInputPolicy".'
            )
        super().__init__(observation_space, spaces.flatdim(observation_space))

    def forward(self, observations: Float[Tensor, "N *shape"]) -> Float[Tensor, "N F"]:
        """Flatten preprocessed observations."""
        return observations.flatten(1)


class SymbolEncoder(nn.Embedding):
    """One vector per symbol of a Discrete space: what a linear layer makes of one-hot vectors, without making them.

    Args:
        space: of the symbols.
        d_model: H, width of the vectors.
    """

    def __init__(self, space: spaces.Discrete, d_model: int) -> None:
        super().__init__(int(space.n), d_model)
        self.start = int(space.start)

    def forward(self, observations: Shaped[Tensor, " N"]) -> Float[Tensor, "N H"]:
        """Look the symbols up.

        Raises:
            ValueError: if one is not of the space; a GPU notices later, and says so in its own words.
        """
        symbols = observations.long()
        if self.start:
            symbols = symbols - self.start
        try:
            return super().forward(symbols)
        except IndexError:
            outside = (symbols < 0) | (symbols >= self.num_embeddings)
            raise EnvironmentMistake(_OUTSIDE.format(symbol=observations[outside][0].item(), where="")) from None


class ImageExtractor(BaseFeaturesExtractor):
    """A convolutional network that fits the size of the image, then a linear layer and a ReLU.

    ================  =========================================================  =============================
    shortest side     convolutions, each with a ReLU                             a side of n pixels leaves
    ================  =========================================================  =============================
    36 and more       32 of 8x8 stride 4, 64 of 4x4 stride 2, 64 of 3x3          as Mnih et al. 2015: 84 to 7
    16 to 35          32, 64, 64 of 3x3 with strides 2, 2, 2 and a padding of 1  n / 8, rounded up
    1 to 15           32, 64, 64 of 3x3 with strides 1, 2, 2 and a padding of 1  n / 4, rounded up: 7 to 2
    ================  =========================================================  =============================

    The channels may stand first or last, see :func:`channels_first`.

    Args:
        observation_space: a Box of three axes: bytes from 0 to 255, or numbers with a fraction from 0 to 1.
        features_dim: width of the linear layer; Mnih et al. have 512.
        normalized_image: take any Box of three axes for an image, as in SB3.

    Raises:
        ValueError: if the space is no image, or ``features_dim`` is not positive.
        TypeError: if ``features_dim`` is no whole number.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], features_dim: int = 512, normalized_image: bool = False
    ) -> None:
        if not is_image(observation_space, normalized_image):
            hint = (
                "pass policy_kwargs=dict(normalize_images=False) if it is one"
                if isinstance(observation_space, spaces.Box) and len(observation_space.shape) == 3
                else 'use "MultiInputPolicy"'
                if isinstance(observation_space, spaces.Dict)
                else 'use "MlpPolicy"'
            )
            raise ValueError(
                f"the observation space is a {type(observation_space).__name__} of shape {observation_space.shape} and "
                f'dtype {observation_space.dtype}, not an image as "CnnPolicy" takes it: {hint}.'
            )
        check_arguments(locals(), features_dim=SIZE)
        super().__init__(observation_space, features_dim)
        shape: tuple[int, int, int] = observation_space.shape  # type: ignore[assignment]  # is_image: three axes
        self.channels_first = channels_first(shape)
        channels, height, width = shape if self.channels_first else (shape[2], *shape[:2])
        self.cnn = nn.Sequential(*_convolutions(channels, min(height, width)), nn.Flatten())
        with torch.no_grad():
            size = self.cnn(torch.zeros(1, channels, height, width)).shape[1]
        self.linear = nn.Sequential(Linear(size, features_dim), nn.ReLU())

    def forward(self, images: Float[Tensor, "N _ _ _"]) -> Float[Tensor, "N F"]:
        """Extract features of preprocessed images, in the order of axes that the space has."""
        features: Tensor = self.linear(self.cnn(images if self.channels_first else images.movedim(3, 1)))
        return features


class MultiInputExtractor(BaseFeaturesExtractor):
    """The features of all entries of a Dict side by side: images through a network each, all else as vectors.

    Args:
        observation_space: a flat Dict.
        cnn_output_dim: width of the linear layer of each image.
        normalized_image: take any Box of three axes for an image, as in SB3.

    Raises:
        ValueError: if the space is no Dict, or ``cnn_output_dim`` is not positive.
        TypeError: if ``cnn_output_dim`` is no whole number.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], cnn_output_dim: int = 256, normalized_image: bool = False
    ) -> None:
        if not isinstance(observation_space, spaces.Dict):
            raise ValueError(
                f'the observation space is a {type(observation_space).__name__}, but "MultiInputPolicy" takes a Dict: '
                'use "MlpPolicy", or "CnnPolicy" for an image.'
            )
        check_arguments(locals(), cnn_output_dim=SIZE)
        sizes = [
            cnn_output_dim if is_image(space, normalized_image) else spaces.flatdim(space)
            for space in observation_space.spaces.values()
        ]
        super().__init__(observation_space, sum(sizes))
        # Two lists, as a ModuleDict refuses keys such as "a.b" and "keys".
        self.keys = list(observation_space.spaces)
        self.extractors = nn.ModuleList(
            ImageExtractor(space, cnn_output_dim, normalized_image)
            if is_image(space, normalized_image)
            else nn.Flatten()
            for space in observation_space.spaces.values()
        )

    def forward(self, observations: dict[str, Float[Tensor, "N ..."]]) -> Float[Tensor, "N F"]:
        """Extract features of preprocessed observations."""
        parts = zip(self.keys, self.extractors, strict=True)
        return torch.cat([extractor(observations[key]) for key, extractor in parts], dim=1)


def is_image(space: spaces.Space[Any], normalized: bool = False) -> bool:
    """Whether a space is an image: a Box of three axes that holds bytes from 0 to 255 or fractions from 0 to 1.

    Args:
        space: any space.
        normalized: take any Box of three axes for one.
    """
    if is_image_space(space, normalized_image=normalized):
        return True
    return bool(
        isinstance(space, spaces.Box)
        and len(space.shape) == 3
        and np.issubdtype(space.dtype, np.floating)
        and (space.low == 0).all()
        and (space.high == 1).all()
    )


def channels_first(shape: tuple[int, int, int]) -> bool:
    """Whether the first axis of an image counts its channels, or the last.

    Where two sides that stand next to each other are equal they are height and width: (7, 7, 12) has 12 channels, where
    SB3 finds 7.  Otherwise the smaller of the first and the last axis counts the channels, and the first if they are
    equal.
    """
    first, middle, last = shape
    if (first == middle) != (middle == last):
        return middle == last
    return first <= last


def _convolutions(channels: int, side: int) -> list[nn.Module]:
    if side >= NATURE_CNN_SIDE:
        layers = [
            nn.Conv2d(channels, 32, kernel_size=8, stride=4),
            nn.Conv2d(32, 64, kernel_size=4, stride=2),
            nn.Conv2d(64, 64, kernel_size=3),
        ]
    else:
        layers = [
            # Small images are often grids, where each cell counts: they are seen at full resolution first.
            nn.Conv2d(channels, 32, kernel_size=3, stride=2 if side >= 16 else 1, padding=1),
            nn.Conv2d(32, 64, kernel_size=3, stride=2, padding=1),
            nn.Conv2d(64, 64, kernel_size=3, stride=2, padding=1),
        ]
    return [module for layer in layers for module in (layer, nn.ReLU())]


def _preprocess_leaf(key: str | None, space: spaces.Space[Any], normalize_images: bool) -> nn.Module:
    if isinstance(space, spaces.Discrete):
        return _OneHot(key, np.array([space.n]), np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        return _OneHot(key, space.nvec.flatten(), space.start.flatten())
    if normalize_images and is_image_space(space):
        return _Scale(255.0)
    return _Scale(1.0)


class _Scale(nn.Module):
    """Numbers as float32, divided by a constant, with an axis to flatten."""

    def __init__(self, divisor: float) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, x: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N ..."]:
        x = x.float()
        if self.divisor != 1.0:
            x = x / self.divisor
        return x.unsqueeze(1) if x.ndim == 1 else x


class _OneHot(nn.Module):
    """Whole numbers as vectors of zeros and ones, those of several symbols side by side."""

    # Made once: nothing is copied to the device while acting.  Not saved: they follow from the space.
    start: Tensor
    last: Tensor
    offset: Tensor

    def __init__(self, key: str | None, counts: Integer[np.ndarray, " K"], starts: Integer[np.ndarray, " K"]) -> None:
        super().__init__()
        self.where = "" if key is None else f" at {key!r}"
        counts, starts = counts.astype(np.int64), starts.astype(np.int64)
        self.size = int(counts.sum())
        self.register_buffer("start", torch.as_tensor(starts), persistent=False)
        self.register_buffer("last", torch.as_tensor(counts - 1), persistent=False)
        self.register_buffer("offset", torch.as_tensor(np.cumsum(counts) - counts), persistent=False)

    def forward(self, x: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N F"]:
        symbols = x.flatten(1).long() if x.ndim > 1 else x.long().unsqueeze(1)
        symbols = symbols - self.start
        if x.device.type == "cpu" and not is_recorded():
            outside = (symbols < 0) | (symbols > self.last)
            if outside.any():
                symbol = (symbols + self.start)[outside][0].item()
                raise EnvironmentMistake(_OUTSIDE.format(symbol=symbol, where=self.where))
        one_hot = torch.zeros(x.shape[0], self.size, device=x.device)
        return one_hot.scatter_(1, symbols + self.offset, 1.0)
