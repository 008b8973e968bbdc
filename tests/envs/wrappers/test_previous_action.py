"""Previous action, reward and episode start: values by hand, and against Gymnasium's own flattening.

Mutations tried, each of which fails a test here: the start flag at every step, or at none; the action of two steps ago
(the past not renewed); the start of Discrete ignored; blocks of MultiDiscrete in another order; bounds of the action
without zero; the reward before the action; an image flattened; a Dict's key overwritten.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from s7rl.envs.wrappers.flat_encoding import FlatEncoding
from s7rl.envs.wrappers.previous_action import PreviousActionReward
from tests.envs.wrappers.babbler import ACTIONS, OBSERVATIONS, Babbler, assert_same

FLAT = ("box", "matrix", "discrete", "multidiscrete", "multibinary")


@pytest.mark.parametrize("kind", FLAT)
def test_the_encoding_of_a_batch_is_gymnasiums_of_each_member(kind: str) -> None:
    space = OBSERVATIONS[kind]
    space.seed(0)
    members = [space.sample() for _ in range(50)]
    encoding = FlatEncoding(space)
    vectors = np.zeros((50, encoding.size), np.float32)
    encoding.write(np.stack(members), vectors)
    np.testing.assert_array_equal(
        vectors, [np.asarray(spaces.flatten(space, member), np.float32) for member in members]
    )
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    np.testing.assert_array_equal((encoding.low, encoding.high), (flat.low.astype(np.float32), flat.high))


def test_an_episode_by_hand() -> None:
    env = PreviousActionReward(gym.make("MountainCar-v0", max_episode_steps=3))
    plain = gym.make("MountainCar-v0", max_episode_steps=3)
    shown, seen = [env.reset(seed=0)[0]], [plain.reset(seed=0)[0]]
    for action in (2, 0, 1):
        shown.append(env.step(action)[0])
        seen.append(plain.step(action)[0])
    shown.append(env.reset()[0])
    seen.append(plain.reset()[0])
    np.testing.assert_array_equal([row[:2] for row in shown], seen)
    expected = [[0, 0, 0, 0, 1], [0, 0, 1, -1, 0], [1, 0, 0, -1, 0], [0, 1, 0, -1, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal([row[2:] for row in shown], expected)
    low, high = [-1.2, -0.07, 0, 0, 0, -np.inf, 0], [0.6, 0.07, 1, 1, 1, np.inf, 1]
    assert env.observation_space == spaces.Box(np.array(low, np.float32), np.array(high, np.float32))
    assert shown[1].dtype == np.float32


@pytest.mark.parametrize(
    "parts", [(True, False, False), (False, True, False), (False, False, True), (True, True, True)]
)
@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("kind", FLAT)
def test_a_flat_observation_is_followed_by_what_was_asked_for(
    kind: str, actions: str, parts: tuple[bool, bool, bool]
) -> None:
    env, plain = PreviousActionReward(Babbler(kind, actions), *parts), Babbler(kind, actions)
    assert isinstance(env.observation_space, spaces.Box)
    plain.action_space.seed(0)
    shown, observation = env.reset(seed=1)[0], plain.reset(seed=1)[0]
    action: Any = np.zeros(spaces.flatdim(plain.action_space))
    reward, start = 0.0, 1.0
    for _ in range(30):
        past = [part for part, wanted in zip((action, [reward], [start]), parts, strict=True) if wanted]
        own = spaces.flatten(plain.observation_space, observation)
        assert_same(shown, np.concatenate([own, *past]).astype(np.float32))
        assert env.observation_space.contains(shown)
        taken = plain.action_space.sample()
        shown, *_ = env.step(taken)
        observation, reward, terminated, truncated, _ = plain.step(taken)
        action, start = spaces.flatten(plain.action_space, taken), 0.0
        if terminated or truncated:
            shown, observation = env.reset()[0], plain.reset()[0]
            action, reward, start = np.zeros_like(action), 0.0, 1.0


def test_an_image_stays_one_beside_the_past() -> None:
    env, plain = PreviousActionReward(Babbler("image", "box")), Babbler("image", "box")
    assert env.observation_space == spaces.Dict(
        observation=plain.observation_space,
        previous_action=spaces.Box(np.array([-1, 0], np.float32), np.array([1, 2], np.float32)),
        previous_reward=spaces.Box(-np.inf, np.inf, (1,)),
        episode_start=spaces.Box(0, 1, (1,)),
    )
    shown, observation = env.reset(seed=0)[0], plain.reset(seed=0)[0]
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    past = {"previous_action": np.zeros(2, np.float32), "previous_reward": zero, "episode_start": one}
    assert_same(shown, {"observation": observation, **past})
    action = np.array([0.25, 1.5], np.float32)
    shown, (observation, reward, *_) = env.step(action)[0], plain.step(action)
    past = {"previous_action": action, "previous_reward": np.array([reward], np.float32), "episode_start": zero}
    assert_same(shown, {"observation": observation, **past})


def test_a_dict_gets_the_keys_that_were_asked_for() -> None:
    env, plain = PreviousActionReward(Babbler("dict"), reward=False), Babbler("dict")
    assert list(env.observation_space.spaces) == ["a", "b", "previous_action", "episode_start"]  # type: ignore[attr-defined]
    shown, observation = env.reset(seed=0)[0], plain.reset(seed=0)[0]
    assert_same({key: shown[key] for key in "ab"}, observation)
    assert env.observation_space.contains(shown)
    with pytest.raises(
        ValueError, match=r"^the observation space has an entry 'episode_start' already: [^\n]+rename it"
    ):
        PreviousActionReward(env, action=False)
    again = PreviousActionReward(env, action=False, start=False)
    assert "previous_reward" in again.observation_space.spaces  # type: ignore[attr-defined]


class Other(gym.Env[Any, Any]):
    """An environment with a text for an observation or an action."""

    def __init__(self, observations: bool) -> None:
        self.observation_space = spaces.Text(3) if observations else spaces.Discrete(2)
        self.action_space = spaces.Discrete(2) if observations else spaces.Text(3)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Babbler("tuple"), r"^the observation space is Tuple[^\n]+: flatten it with s7rl\.envs\.FlattenNested\.$"),
        (Other(observations=True), r"^the observation space is Text[^\n]+FlattenNested"),
        (Other(observations=False), r"^the action space is Text[^\n]+: pass action=False\.$"),
    ],
)
def test_what_has_no_encoding_is_refused_in_one_line(env: gym.Env[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreviousActionReward(env)


def test_an_action_without_an_encoding_can_be_left_out() -> None:
    env = PreviousActionReward(Other(observations=False), action=False)
    assert env.observation_space.shape == (4,)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^action, reward and start are all False, [^\n]+: pass True for one\.$"):
        PreviousActionReward(Babbler(), action=False, reward=False, start=False)
