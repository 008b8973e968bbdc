"""Rewards to learn from: hand-computed values, the theorem on solved MDPs, and one line for each mistake.

Mutations seen to fail: the potential of a terminal state counted; that of a time-out left out; the sum clipped instead
of the reward; the scale left off the potential; the discount left out; the potential or the return kept for the second
episode; SB3's keys left in the info; observations handed out that can be written to; infinity let through; a numpy
array for a number refused.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RecordEpisodeStatistics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s7rl.envs.rewards import RewardError, RewardShaping
from s7rl.envs.wrappers.reward import ShapedReward

numbers = st.floats(-10.0, 10.0, allow_nan=False)
scales = st.floats(0.1, 10.0)


def ten_times(obs: Any) -> float:
    return 10.0 * float(obs)


@pytest.mark.parametrize(
    ("options", "terminated", "expected"),
    [
        ({}, False, 3.0),
        ({"scale": 0.5}, False, 1.5),
        ({"clip": 2.0}, False, 2.0),
        ({"clip": 2.0, "scale": 0.5}, False, 1.0),
        # 3 + 0.5 * 40 - 10, and without the 40 where the episode is over.
        ({"potential": ten_times}, False, 13.0),
        ({"potential": ten_times}, True, -7.0),
        ({"potential": ten_times, "scale": 2.0}, False, 26.0),
        # The reward alone is clipped: 2 + 20 - 10.
        ({"potential": ten_times, "clip": 2.0}, False, 12.0),
        ({"potential": ten_times, "clip": 2.0, "scale": 2.0}, True, -16.0),
        ({"reward": lambda obs, action, next_obs, info: obs - action + next_obs + info["bonus"]}, False, 103.0),
        ({"reward": lambda obs, action, next_obs, info: -next_obs, "clip": 1.5}, False, -1.5),
    ],
)
def test_the_reward_of_a_step_is_as_worked_out_by_hand(
    options: dict[str, Any], terminated: bool, expected: float
) -> None:
    shaping = RewardShaping(discount=0.5, **options)
    assert shaping.shaped(1, 2, 4, 3.0, terminated, {"bonus": 100}) == expected


@given(st.lists(numbers, min_size=2, max_size=12), st.floats(0.0, 1.0), scales, st.booleans())
def test_the_discounted_sum_of_shaping_is_the_potential_that_the_episode_began_with(
    potentials: list[float], discount: float, scale: float, terminated: bool
) -> None:
    shaping = RewardShaping(potential=potentials.__getitem__, discount=discount, scale=scale)
    last = len(potentials) - 1
    total = sum(
        discount**t * shaping.shaped(t, 0, t + 1, 0.0, terminated and t + 1 == last, truncated=t + 1 == last)
        for t in range(last)
    )
    left = 0.0 if terminated else discount**last * potentials[last]
    assert total == pytest.approx(scale * (left - potentials[0]), abs=1e-9)


def action_values(chances: NDArray[Any], rewards: NDArray[Any], discount: float) -> NDArray[np.float64]:
    """Q of the best policy by value iteration, ``[S, A]``; the state after the last is terminal."""
    values = np.zeros(len(chances))
    for _ in range(400):
        quality: NDArray[np.float64] = (chances * (rewards + discount * np.append(values, 0.0))).sum(axis=2)
        values = quality.max(axis=1)
    return quality


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 4), st.floats(0.0, 0.9), scales, st.booleans())
def test_a_potential_leaves_the_best_policy_and_takes_itself_off_the_values(
    seed: int, states: int, actions: int, discount: float, scale: float, clips: bool
) -> None:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(states + 1, 0.5), size=(states, actions))
    rewards = rng.normal(size=(states, actions, states + 1))
    potentials = rng.normal(scale=5.0, size=states + 1)  # of the terminal state as well: it must not count
    clip = 0.7 if clips else None
    shaping = RewardShaping(potential=potentials.__getitem__, discount=discount, scale=scale, clip=clip)
    shaped = np.array(
        [
            [
                [
                    shaping.shaped(s, a, after, float(rewards[s, a, after]), after == states)
                    for after in range(states + 1)
                ]
                for a in range(actions)
            ]
            for s in range(states)
        ]
    )
    plain = action_values(chances, np.clip(rewards, -0.7, 0.7) if clips else rewards, discount)
    changed = action_values(chances, shaped, discount)
    np.testing.assert_allclose(changed, scale * (plain - potentials[:states, None]), atol=1e-9 * scale)
    best, best_changed = (
        quality > quality.max(axis=1, keepdims=True) - 1e-7 * size for quality, size in ((plain, 1.0), (changed, scale))
    )
    np.testing.assert_array_equal(best, best_changed)


class Count(gym.Env[Any, Any]):
    """Shows 1, 2, 3, ... within an episode and pays as much as it shows; every second episode is cut off."""

    observation_space = spaces.Box(0.0, 100.0, (1,))
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, length: int = 3) -> None:
        self.length, self.episode, self.t = length, 0, 0

    def observe(self) -> NDArray[np.float32]:
        return np.full(1, self.t + 1, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.episode, self.t = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.t += 1
        ended, by_clock = self.t == self.length, self.episode % 2 == 0
        info = {"t": self.t, "TimeLimit.truncated": ended and by_clock}
        return self.observe(), float(self.t + 1), ended and not by_clock, ended and by_clock, info


def first(obs: Any) -> float:
    return float(obs[0])


def episodes(env: gym.Env[Any, Any], number: int) -> list[tuple[list[float], dict[str, Any]]]:
    """Rewards and the last info of some episodes."""
    found = []
    for _ in range(number):
        env.reset()
        rewards: list[float] = []
        over = False
        while not over:
            _, reward, terminated, truncated, info = env.step(1)
            rewards.append(float(reward))
            over = terminated or truncated
        found.append((rewards, info))
    return found


def test_the_wrapper_shapes_every_episode_and_reports_both_returns() -> None:
    env = ShapedReward(RecordEpisodeStatistics(Count()), RewardShaping(potential=first, discount=0.5))
    (ended, info), (cut, cut_info), (again, _) = episodes(env, 3)
    # 2 + 0.5 * 2 - 1, 3 + 0.5 * 3 - 2, 4 + 0.5 * 4 - 3, and no 0.5 * 4 in a terminal state.
    assert ended == again == [2.0, 2.5, 1.0]
    assert cut == [2.0, 2.5, 3.0]
    assert (info["episode"]["r"], info["episode"]["shaped_r"]) == (9.0, 5.5)
    assert (cut_info["episode"]["r"], cut_info["episode"]["shaped_r"]) == (9.0, 7.5)


def test_a_reward_function_is_given_the_step_and_how_it_ended() -> None:
    steps: list[Any] = []

    def reward(obs: Any, action: Any, next_obs: Any, info: Any) -> float:
        steps.append((first(obs), action, first(next_obs), dict(info)))
        return 0.25

    env = ShapedReward(RecordEpisodeStatistics(Count(2)), RewardShaping(reward=reward))
    assert [rewards for rewards, _ in episodes(env, 2)] == [[0.25, 0.25]] * 2
    going = {"t": 1, "terminated": False, "truncated": False}
    assert steps == [
        (1.0, 1, 2.0, going),
        (2.0, 1, 3.0, {"t": 2, "terminated": True, "truncated": False}),
        (1.0, 1, 2.0, going),
        (2.0, 1, 3.0, {"t": 2, "terminated": False, "truncated": True}),
    ]


def test_a_function_cannot_change_what_the_agent_sees() -> None:
    def greedy(obs: Any) -> float:
        obs["count"][0] = 99.0
        return 0.0

    class Named(gym.ObservationWrapper[Any, Any, Any]):
        observation_space: spaces.Space[Any] = spaces.Dict({"count": Count.observation_space})

        def observation(self, observation: Any) -> Any:
            return {"count": observation}

    with pytest.raises(
        RewardError, match=r"^at a reset after 0 steps: [^\n]*greedy failed: ValueError: [^\n]*read-only"
    ):
        ShapedReward(Named(Count()), RewardShaping(potential=greedy, discount=1.0)).reset()


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (math.nan, "returned nan, which is not finite"),
        (-math.inf, "returned -inf, which is not finite"),
        (None, "returned None, which is no number"),
        ("1", "returned '1', which is no number"),
        (np.zeros(1), "returned array([0.]), which is no number"),
        (1j, "returned 1j, which is no number"),
    ],
)
def test_what_is_no_reward_is_refused_in_one_line_with_the_function_and_the_step(returned: Any, told: str) -> None:
    def reward(obs: Any, action: Any, next_obs: Any, info: Any) -> Any:
        return returned if info["t"] == 2 else 1

    env = ShapedReward(Count(), RewardShaping(reward=reward))
    env.reset()
    env.step(0)
    with pytest.raises(RewardError, match=r"^[^\n]+$") as caught:
        env.step(0)
    assert str(caught.value).startswith("at step 2: the reward function ")
    assert f"reward {told}: mend that function." in str(caught.value)


@pytest.mark.parametrize("returned", [1, True, np.float32(1.0), np.int64(1), np.bool_(True), np.array(1.0)])
def test_every_kind_of_number_is_a_reward(returned: Any) -> None:
    value = RewardShaping(reward=lambda obs, action, next_obs, info: returned).shaped(0, 0, 0, 5.0, False)
    assert value == 1.0


def test_a_failing_function_is_named_with_its_line() -> None:
    def reward(obs: Any, action: Any, next_obs: Any, info: Any) -> float:
        return float(1 // int(np.sum(action)))

    with pytest.raises(
        RewardError,
        match=r"^the reward function \S*:\S*reward failed: ZeroDivisionError: [^\n]+ \(test_rewards\.py, line \d+\): ",
    ):
        RewardShaping(reward=reward).shaped(0, 0, 0, 0.0, False)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"scale": 0.0}, ValueError, r"^scale is 0\.0, but [^\n]+: pass a number above 0\.$"),
        ({"scale": math.nan}, ValueError, r"^scale is nan, but [^\n]+: pass a number above 0\.$"),
        ({"clip": -1.0}, ValueError, r"^clip is -1\.0, but [^\n]+: pass a number above 0, or None\.$"),
        ({"potential": first}, ValueError, r"^discount is None, [^\n]+; pass the agent's gamma\.$"),
        ({"discount": 1.5}, ValueError, r"^discount is 1\.5, but [^\n]+: pass a number from 0 to 1, or None\.$"),
        ({"scale": True}, TypeError, r"^scale is True, but [^\n]+: pass a number above 0\.$"),
        (
            {"reward": first},
            TypeError,
            r"^reward \S+:first takes \(obs[^\n]+ called with \(obs, action, next_obs, info\)",
        ),
        ({"potential": lambda: 0.0}, TypeError, r"^potential \S+ takes \(\)[^\n]* called with \(obs\); [^\n]+$"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_a_shaping_that_cannot_be_is_refused_in_one_line(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        RewardShaping(**options)
