"""What features extractors get and make of observations: every space, images of every size, either order of axes.

Mutations seen to fail: a one-hot code that forgets ``start`` or ``offset``; no division by 255; no axis for a Box of
shape (); convolutions without padding; the Nature CNN from 35 pixels on; images whose axes are never moved;
a user's extractor passed by for its base class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from torch import Tensor, nn

from s7rl.agents import RecurrentActorCriticPolicy
from s7rl.agents.encoders import (
    ImageExtractor,
    MultiInputExtractor,
    Preprocessor,
    VectorExtractor,
    channels_first,
    is_image,
)


def image_space(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def samples(space: spaces.Space[Any], n: int = 3) -> NDArray[Any]:
    space.seed(0)
    return np.stack([space.sample() for _ in range(n)])


def slow_code(space: spaces.Space[Any], value: Any) -> NDArray[np.float64]:
    """The vector of one observation, number by number."""
    if isinstance(space, spaces.Discrete):
        return np.array([float(value == space.start + i) for i in range(space.n)])
    if isinstance(space, spaces.MultiDiscrete):
        symbols = zip(space.nvec.flatten(), space.start.flatten(), value.flatten(), strict=True)
        return np.array([float(symbol == start + i) for n, start, symbol in symbols for i in range(n)])
    scale = 255.0 if isinstance(space, spaces.Box) and is_image(space) and space.dtype == np.uint8 else 1.0
    return np.asarray(value, dtype=np.float64).flatten() / scale


SPACES: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Box(-1.0, 1.0, (3,)),
    "number": spaces.Box(-1.0, 1.0, ()),
    "matrix of doubles": spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
    "bytes": spaces.Box(0, 255, (5,), np.uint8),
    "words": spaces.Box(0, 60_000, (5,), np.uint16),
    "image": image_space(7, 7, 3),
    "symbolic image": spaces.Box(0, 10, (7, 7, 3), np.uint8),
    "float image": spaces.Box(0.0, 1.0, (7, 7, 3)),
    "video": image_space(2, 7, 7, 3),
    "symbol": spaces.Discrete(5),
    "symbol from -2": spaces.Discrete(5, start=-2),
    "symbols": spaces.MultiDiscrete([3, 2, 4]),
    "symbols from -1, 2 and 7": spaces.MultiDiscrete([3, 2, 4], start=[-1, 2, 7]),
    "grid of symbols": spaces.MultiDiscrete(np.array([[3, 2], [4, 1]]), np.int8, start=np.array([[0, 1], [-3, 5]])),
    "bits": spaces.MultiBinary(4),
    "grid of bits": spaces.MultiBinary([2, 3]),
}


@pytest.mark.parametrize("name", SPACES)
def test_an_observation_becomes_the_vector_that_its_space_says(name: str) -> None:
    space = SPACES[name]
    batch = samples(space)
    vectors = VectorExtractor(space)(Preprocessor(space)(torch.as_tensor(batch)))
    assert vectors.dtype == torch.float32
    assert vectors.shape == (3, VectorExtractor(space).features_dim)
    expected = np.stack([slow_code(space, value) for value in batch])
    np.testing.assert_allclose(vectors.numpy(), expected, rtol=1e-6, atol=0)


def test_the_entries_of_a_dict_are_the_vectors_of_its_spaces() -> None:
    """Keys that torch takes for something else included."""
    named = dict(zip(["keys", "a.b", *(f"k{i}" for i in range(len(SPACES)))], SPACES.values(), strict=False))
    space = spaces.Dict(list(named.items()))
    batch = {key: samples(entry) for key, entry in named.items()}
    preprocessed = Preprocessor(space)({key: torch.as_tensor(array) for key, array in batch.items()})
    assert isinstance(preprocessed, dict)
    for key, entry in named.items():
        expected = np.stack([slow_code(entry, value) for value in batch[key]])
        np.testing.assert_allclose(preprocessed[key].flatten(1).numpy(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["vector", "bytes", "image", "symbolic image", "symbol", "symbols", "grid of bits"])
@pytest.mark.parametrize("normalize_images", [True, False])
def test_where_stable_baselines3_is_right_the_result_is_its_own(name: str, normalize_images: bool) -> None:
    space = SPACES[name]
    batch = torch.as_tensor(samples(space))
    ours = Preprocessor(space, normalize_images)(batch)
    theirs = preprocess_obs(batch, space, normalize_images)
    assert isinstance(ours, torch.Tensor)
    assert isinstance(theirs, torch.Tensor)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("symbol", [-1, 4, 9])
def test_a_symbol_outside_its_space_is_named_in_one_line(symbol: int) -> None:
    """Among several it would otherwise pass for its neighbour's."""
    space = spaces.Dict({"cards": spaces.MultiDiscrete([4, 4])})
    with pytest.raises(ValueError, match=rf"^an observation has the symbol {symbol} at 'cards', [^\n]+$"):
        Preprocessor(space)({"cards": torch.tensor([[0, symbol]])})
    with pytest.raises(ValueError, match=rf"^an observation has the symbol {symbol}, [^\n]+$"):
        Preprocessor(spaces.Discrete(3, start=1))(torch.tensor([2, symbol]))


def test_preprocessing_adds_nothing_to_the_weights() -> None:
    assert not Preprocessor(spaces.Dict(SPACES)).state_dict()


@given(height=st.integers(1, 96), width=st.integers(1, 96), channels=st.sampled_from([1, 3, 4, 12]), last=st.booleans())
def test_an_image_of_any_size_has_features_that_all_of_it_makes(
    height: int, width: int, channels: int, last: bool
) -> None:
    """No size is too small, and the features' gradient reaches every pixel but those that Nature's strides skip."""
    space = image_space(height, width, channels) if last else image_space(channels, height, width)
    torch.manual_seed(0)
    extractor = ImageExtractor(space, features_dim=64)
    image = torch.rand(2, *space.shape, requires_grad=True)
    features = extractor(image)
    assert features.shape == (2, 64)
    features.sum().backward()
    assert image.grad is not None
    assert torch.isfinite(features).all()
    if min(height, width) < 36:
        assert (image.grad != 0).any(dim=0).all()


@pytest.mark.parametrize(
    ("side", "left"), [(1, 1), (3, 1), (7, 2), (8, 2), (15, 4), (16, 2), (35, 5), (36, 1), (64, 4), (84, 7), (96, 8)]
)
def test_the_layers_leave_of_a_side_what_the_documentation_says(side: int, left: int) -> None:
    first = ImageExtractor(image_space(3, side, side)).linear[0]
    assert isinstance(first, nn.Linear)
    assert first.in_features == 64 * left * left


def test_a_large_image_gets_the_network_of_mnih_et_al() -> None:
    space = image_space(4, 84, 84)
    ours, theirs = ImageExtractor(space), NatureCNN(space)
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 4, 84, 84)
    torch.testing.assert_close(ours(images), theirs(images))  # to rounding: the dense layer may be summed by oneDNN
    assert ours.features_dim == 512


@pytest.mark.parametrize("side", [7, 20, 40])
def test_the_order_of_axes_makes_no_difference(side: int) -> None:
    first, last = ImageExtractor(image_space(3, side, side)), ImageExtractor(image_space(side, side, 3))
    last.load_state_dict(first.state_dict())
    images = torch.rand(2, 3, side, side)
    torch.testing.assert_close(last(images.movedim(1, 3).contiguous()), first(images))


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((7, 7, 3), False),
        ((3, 7, 7), True),
        ((7, 7, 12), False),  # SB3 finds 7 channels
        ((12, 7, 7), True),
        ((84, 84, 1), False),
        ((1, 84, 84), True),
        ((3, 3, 7), False),
        ((210, 160, 3), False),
        ((3, 210, 160), True),
        ((7, 2, 3), False),  # SB3 warns and takes the 2 for the channels
        ((3, 3, 3), True),
        ((1, 1, 1), True),
    ],
)
def test_channels_are_the_odd_axis_out_or_the_shorter_of_the_outer_ones(
    shape: tuple[int, int, int], first: bool
) -> None:
    assert channels_first(shape) is first


def test_a_policys_orthogonal_initialisation_reaches_every_layer() -> None:
    from s7rl.agents.policy_names import RecurrentActorCriticCnnPolicy

    policy = RecurrentActorCriticCnnPolicy(image_space(3, 7, 7), spaces.Discrete(2), lambda _: 1e-3)
    layers = [layer for layer in policy.features_extractor.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        weight = layer.weight.detach().flatten(1)
        product = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(product, 2.0 * torch.eye(len(product)), rtol=0, atol=1e-4)
        assert layer.bias is not None
        assert not layer.bias.any()


def test_a_dict_gets_a_network_for_each_image_and_the_numbers_of_all_else() -> None:
    space = spaces.Dict(
        [
            ("camera", image_space(7, 7, 3)),
            ("keys", spaces.Discrete(3, start=1)),
            ("map", image_space(3, 40, 40)),
            ("sensors/joints", spaces.Box(-1.0, 1.0, (2, 2))),
            ("a.b", spaces.MultiDiscrete(np.array([[2, 3]]))),
        ]
    )
    extractor = MultiInputExtractor(space, cnn_output_dim=16)
    assert extractor.features_dim == 16 + 3 + 16 + 4 + 5
    preprocessed = Preprocessor(space)({key: torch.as_tensor(samples(entry)) for key, entry in space.spaces.items()})
    assert isinstance(preprocessed, dict)
    parts = extractor(preprocessed).split([16, 3, 16, 4, 5], dim=1)
    for (key, entry), part, network in zip(space.spaces.items(), parts, extractor.extractors, strict=True):
        assert isinstance(network, ImageExtractor) == (key in ("camera", "map"))
        expected = network(preprocessed[key]).detach()
        torch.testing.assert_close(part.detach(), expected)
        if not isinstance(network, ImageExtractor):
            assert part.shape[1] == spaces.flatdim(entry)


@pytest.mark.parametrize(
    ("space", "image", "normalized"),
    [
        (image_space(7, 7, 3), True, True),
        (spaces.Box(0.0, 1.0, (7, 7, 3)), True, True),
        (spaces.Box(0, 10, (7, 7, 3), np.uint8), False, True),
        (spaces.Box(-1.0, 1.0, (7, 7, 3)), False, True),
        (spaces.Box(0, 255, (7, 7), np.uint8), False, False),
        (spaces.MultiBinary([7, 7, 3]), False, False),
        (spaces.Discrete(3), False, False),
    ],
)
def test_an_image_is_bytes_or_fractions_on_three_axes_and_any_box_of_them_where_the_user_says_so(
    space: spaces.Space[Any], image: bool, normalized: bool
) -> None:
    assert is_image(space) is image
    assert is_image(space, normalized=True) is normalized


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("width", ["64", 64.0, None, True])
def test_a_width_that_is_no_whole_number_is_refused_in_one_line(width: Any) -> None:
    """Fails if either check of the widths is left out."""
    image = image_space(7, 7, 3)
    with pytest.raises(TypeError, match=r"^features_dim is [^\n]+: pass a whole number from 1 on\.$"):
        ImageExtractor(image, features_dim=width)
    with pytest.raises(TypeError, match=r"^cnn_output_dim is [^\n]+: pass a whole number from 1 on\.$"):
        MultiInputExtractor(spaces.Dict({"x": image}), cnn_output_dim=width)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageExtractor(spaces.Box(-1.0, 1.0, (4,))), 'a Box of shape \\(4,\\) .*use "MlpPolicy"'),
        (lambda: ImageExtractor(spaces.Box(0, 10, (7, 7, 3), np.uint8)), "normalize_images=False"),
        (lambda: ImageExtractor(spaces.Dict({"x": image_space(7, 7, 3)})), 'use "MultiInputPolicy"'),
        (lambda: ImageExtractor(image_space(7, 7, 3), features_dim=0), "features_dim is 0"),
        (lambda: MultiInputExtractor(image_space(7, 7, 3)), 'is a Box, but "MultiInputPolicy" takes a Dict'),
        (
            lambda: MultiInputExtractor(spaces.Dict({"x": image_space(7, 7, 3)}), cnn_output_dim=-1),
            "cnn_output_dim is -1",
        ),
        (lambda: VectorExtractor(spaces.Dict({"x": spaces.Discrete(2)})), 'use "MultiInputPolicy"'),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        make()
    assert caught.match(message)


class Blinded(FlattenExtractor):
    def forward(self, observations: Tensor) -> Tensor:
        return torch.zeros_like(super().forward(observations))


def test_an_extractor_that_is_derived_from_the_flat_one_sees_symbols_too() -> None:
    space = spaces.Discrete(3)
    policy = RecurrentActorCriticPolicy(space, space, lambda _: 1e-3, features_extractor_class=Blinded)
    values = policy.predict_values(torch.arange(3), policy.initial_state(3), torch.ones(3, dtype=torch.bool))
    assert values.unique().numel() == 1
