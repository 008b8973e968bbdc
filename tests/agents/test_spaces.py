"""Which spaces an agent takes, and that it learns, saves, loads and predicts the same with each of them.

Mutations seen to fail: actions that are not counted from the space's start; distributions made from the space as it is;
actions of shape () told by their shape; no flattening of what ``predict`` is given; observations that are copied only
where numpy does not call them contiguous.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from s7rl.agents import RecurrentPPO
from s7rl.agents.observations import to_batch, to_tensors
from s7rl.agents.spaces import check_spaces, flat_actions, to_action_space

IMAGE = spaces.Box(0, 255, (7, 7, 3), np.uint8)
NESTED = spaces.Dict(
    {
        "goal": spaces.Discrete(4, start=1),
        "sensors": spaces.Dict({"camera": IMAGE, "joints": spaces.Tuple([spaces.Box(-1.0, 1.0, (2,)), IMAGE])}),
    }
)
OBSERVATIONS: dict[str, tuple[str, spaces.Space[Any]]] = {
    "vector": ("MlpPolicy", spaces.Box(-1.0, 1.0, (3,))),
    "number": ("MlpPolicy", spaces.Box(-1.0, 1.0, ())),
    "symbol from -2": ("MlpPolicy", spaces.Discrete(5, start=-2)),
    "grid of symbols": (
        "MlpPolicy",
        spaces.MultiDiscrete(np.array([[3, 2], [4, 1]]), np.int8, start=np.array([[0, 1], [-3, 5]])),
    ),
    "grid of bits": ("MlpPolicy", spaces.MultiBinary([2, 3])),
    "image, channels last": ("CnnPolicy", IMAGE),
    "image, channels first": ("CnnPolicy", spaces.Box(0, 255, (3, 7, 7), np.uint8)),
    "image with the middle axis shortest": ("CnnPolicy", spaces.Box(0, 255, (7, 2, 3), np.uint8)),
    "image of fractions": ("CnnPolicy", spaces.Box(0.0, 1.0, (7, 7, 3))),
    "stacked image": ("CnnPolicy", spaces.Box(0, 255, (7, 7, 12), np.uint8)),
    "dict": ("MultiInputPolicy", spaces.Dict({"x": spaces.Discrete(3), "y": spaces.Box(-1.0, 1.0, ())})),
    "images of both orders": (
        "MultiInputPolicy",
        spaces.Dict({"near": IMAGE, "far": spaces.Box(0, 255, (3, 40, 40), np.uint8)}),
    ),
    "nested": ("MultiInputPolicy", NESTED),
    "tuple": ("MultiInputPolicy", spaces.Tuple([spaces.Discrete(2), spaces.Box(-1.0, 1.0, (2,))])),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "symbol": spaces.Discrete(3),
    "symbol from -2": spaces.Discrete(3, start=-2),
    "symbol of a byte": spaces.Discrete(100, start=-50, dtype=np.int8),
    "symbols from 5 and -1": spaces.MultiDiscrete([3, 2], start=[5, -1]),
    "grid of symbols": spaces.MultiDiscrete(np.array([[3, 2], [100, 100]]), np.int8),
    "bits": spaces.MultiBinary(3),
    "grid of bits": spaces.MultiBinary([2, 3]),
    "vector": spaces.Box(-1.0, 1.0, (2,)),
    "number": spaces.Box(-1.0, 1.0, ()),
    "matrix": spaces.Box(-2.0, 3.0, (2, 2), np.float64),
}


class Sampled(gym.Env[Any, Any]):
    """Shows random observations, insists on actions of its space, and times out after seven steps."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.clock = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.clock = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action)), f"{action!r} is not in {self.action_space}"
        self.clock += 1
        return self.observation_space.sample(), float(np.sum(action)), False, self.clock == 7, {}


def assert_learns_and_comes_back(policy: str, env: gym.Env[Any, Any]) -> RecurrentPPO:
    torch.manual_seed(0)
    env.observation_space.seed(0)
    model = RecurrentPPO(
        policy, env, n_steps=16, n_epochs=2, seed=0, policy_kwargs={"d_model": 8, "d_state": 4}, device="cpu"
    )
    model.learn(32)
    assert model.logger.name_to_value["train/approx_kl"] >= 0.0
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = RecurrentPPO.load(file, env=env, device="cpu")
    assert loaded.observation_space == model.observation_space
    observation = env.observation_space.sample()  # as the environment gives it
    action, state = model.predict(observation, deterministic=True)
    again, state_again = loaded.predict(observation, deterministic=True)
    np.testing.assert_array_equal(action, again)
    np.testing.assert_array_equal(state, state_again)
    assert env.action_space.contains(np.asarray(action))
    return model


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_an_agent_learns_from_observations_of_every_kind(name: str) -> None:
    policy, space = OBSERVATIONS[name]
    assert_learns_and_comes_back(policy, Sampled(space, spaces.Discrete(2)))


@pytest.mark.parametrize("name", ACTIONS)
def test_an_agent_learns_to_act_in_every_kind_of_space(name: str) -> None:
    """On the first minibatch the ratio is 1: what was stored is what was done."""
    env = Sampled(spaces.Box(-1.0, 1.0, (3,)), ACTIONS[name])
    model = assert_learns_and_comes_back("MlpPolicy", env)
    model.n_epochs, model.batch_size = 1, 16
    model.learn(16)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0.0, abs=1e-5)
    assert model.logger.name_to_value["train/clip_fraction"] == 0.0


def test_an_agent_on_images_is_evaluated_in_an_environment_of_its_own() -> None:
    env = Sampled(NESTED, spaces.Discrete(2, start=3))
    model = assert_learns_and_comes_back("MultiInputPolicy", env)
    flat = Sampled(OBSERVATIONS["tuple"][1], spaces.Discrete(2))
    other = assert_learns_and_comes_back("MultiInputPolicy", flat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # SB3 misses a Monitor
        evaluate_policy(other, DummyVecEnv([lambda: flat]), n_eval_episodes=2)
    assert model.get_env() is not None
    evaluate_policy(model, model.get_env(), n_eval_episodes=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_as_the_policy_counts_them_are_those_of_the_space_and_back(name: str) -> None:
    space = ACTIONS[name]
    space.seed(0)
    batch = np.stack([space.sample() for _ in range(5)])
    start = space.start if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) else 0
    inside = batch - start
    outside = to_action_space(inside, space)
    np.testing.assert_array_equal(outside, batch)
    assert outside.dtype == space.dtype


def test_the_distributions_get_vectors_that_are_counted_from_zero() -> None:
    grid = spaces.MultiDiscrete(np.array([[3, 2], [100, 100]]), np.int8, start=np.array([[1, 1], [-50, 2]]))
    assert flat_actions(grid) == spaces.MultiDiscrete([3, 2, 100, 100])
    assert sum(flat_actions(grid).nvec) == 205  # type: ignore[attr-defined]  # more than a byte holds
    assert flat_actions(spaces.MultiBinary([2, 3])) == spaces.MultiBinary(6)
    assert flat_actions(spaces.Discrete(3, start=2)) == spaces.Discrete(3)
    box = spaces.Box(-1.0, 1.0, (2, 2))
    assert flat_actions(box) is box


def test_actions_outside_a_box_are_clipped_to_it() -> None:
    space = spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 5.0]), dtype=np.float64)
    np.testing.assert_array_equal(to_action_space(np.array([[-3.0, 7.0], [0.5, 1.0]]), space), [[-1, 5], [0.5, 1]])


Text = spaces.Text(4)
Fine = spaces.Discrete(2)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (Text, Fine, "the observation space is a Text space, .*leave it out"),
        (spaces.Dict({"a": Fine, "b": Text}), Fine, "the observation space has at 'b' a Text space"),
        (NESTED, Fine, "the observation space is a nested Dict: .*FlattenNested"),
        (spaces.Tuple([Fine]), Fine, "the observation space is a nested Tuple: .*FlattenNested"),
        (spaces.Dict({}), Fine, "the observation space is a Dict without entries"),
        (spaces.Box(0, 1, (0,)), Fine, r"the observation space is a Box of shape \(0,\), which holds nothing"),
        (
            spaces.Dict({"a": spaces.Box(0, 1, (2, 0))}),
            Fine,
            r"the observation space has at 'a' a Box of shape \(2, 0\)",
        ),
        (Fine, Text, "the action space is a Text, .*ActionWrapper"),
        (Fine, spaces.Tuple([Fine]), "the action space is a Tuple, .*ActionWrapper"),
        (Fine, spaces.Dict({"a": Fine}), "the action space is a Dict, .*ActionWrapper"),
        (Fine, spaces.Box(0, 5, (2,), np.int64), "the action space is a Box of int64, .*MultiDiscrete"),
        (Fine, spaces.Box(-np.inf, np.inf, (2,)), "the action space is a Box with infinite bounds, .*ClipAction"),
        (Fine, spaces.Box(np.array([-1.0, -np.inf]), 1.0, dtype=np.float64), "the action space is a Box with infinite"),
        (Fine, spaces.Box(0, 1, (0,)), r"the action space is a Box of shape \(0,\), which holds nothing"),
    ],
)
def test_spaces_that_are_not_supported_are_refused_in_one_line(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        check_spaces(observation_space, action_space)
    assert caught.match(message)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_what_an_agent_learns_from_is_let_through_once_it_is_flat(name: str) -> None:
    space = OBSERVATIONS[name][1]
    if name not in ("nested", "tuple"):
        check_spaces(space, Fine)
    for action_space in ACTIONS.values():
        check_spaces(spaces.Discrete(2), action_space)


def leaf(name: str) -> spaces.Space[Any]:
    return OBSERVATIONS[name][1]


Flat = st.sampled_from(
    [name for name, (_, space) in OBSERVATIONS.items() if not isinstance(space, spaces.Dict | spaces.Tuple)]
)


@given(name=Flat, batch=st.integers(1, 3))
def test_one_observation_is_a_batch_of_one(name: str, batch: int) -> None:
    space = leaf(name)
    single = space.sample()
    array, vectorized = to_batch(single, space)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array[0], single)
    assert (len(array), vectorized) == (1, False)
    many = np.stack([space.sample() for _ in range(batch)])
    array, vectorized = to_batch(many, space)
    np.testing.assert_array_equal(array, many)
    assert vectorized


def test_a_nested_observation_and_its_images_take_the_agents_form() -> None:
    space = spaces.Dict({"sensors/camera": spaces.Box(0, 255, (3, 7, 7), np.uint8), "goal": spaces.Discrete(4)})
    image = IMAGE.sample()
    batch, vectorized = to_batch({"goal": 3, "sensors": {"camera": image}}, space)
    assert isinstance(batch, dict)
    assert not vectorized
    np.testing.assert_array_equal(batch["sensors/camera"][0], image.transpose(2, 0, 1))
    assert batch["goal"].tolist() == [3]
    _, vectorized = to_batch({"goal": [3, 1], "sensors": {"camera": np.stack([image, image])}}, space)
    assert vectorized


@pytest.mark.parametrize(
    ("observation", "space", "message"),
    [
        (np.zeros(4), spaces.Box(-1, 1, (3,)), r"the observation has shape \(4,\), but its space has \(3,\)"),
        (np.zeros((2, 2)), spaces.Discrete(3), r"the observation has shape \(2, 2\)"),
        ({"a": 0}, spaces.Dict({"a": Fine, "b": Fine}), "the observation has no entry 'b'"),
        ({"a": 0, "b": [1, 1]}, spaces.Dict({"a": Fine, "b": Fine}), "'a' is single, 'b' is 2"),
        ({"a": [0], "b": [1, 1]}, spaces.Dict({"a": Fine, "b": Fine}), "'a' is 1, 'b' is 2"),
        ({"a": [[0]]}, spaces.Dict({"a": Fine}), r"the observation's entry 'a' has shape \(1, 1\)"),
    ],
)
def test_an_observation_of_another_form_is_refused_in_one_line(
    observation: Any, space: spaces.Space[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        to_batch(observation, space)
    assert caught.match(message)


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(2 * 4 * 4 * n).reshape(2, 4, 4, n).transpose(0, 3, 1, 2) for n in (1, 3)),
        np.array([[1.0, 2.0, 3.0]])[::-1],
        np.array(5),
    ],
    ids=["one channel", "three channels", "mirrored", "a number"],
)
def test_tensors_lie_in_memory_as_their_shapes_say(array: NDArray[Any]) -> None:
    tensor = to_tensors(array, torch.device("cpu"))
    assert isinstance(tensor, torch.Tensor)
    assert tensor.stride() == torch.empty(array.shape).stride()
    np.testing.assert_array_equal(tensor.numpy(), array)
