"""Key-to-door by hand, by an oracle, by every memoryless policy, and by an independent slow twin.

Mutations that were tried, each of which fails a test: a door opens without the key; any door opens; the key can be
taken in the last room; an apple is eaten on any side, or always pays; the agent begins the last room where it left the
first; a room is a step shorter; the color is shown after the key was taken; a new episode keeps the key; apples stay
the same; the random score counts S > r once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s7rl.envs import make_batched, make_env
from s7rl.envs.engines.key_to_door import KeyToDoor

ID = "s7rl/KeyToDoor-v0"
LEFT, RIGHT = range(2)


def hidden(env: Any) -> dict[str, int]:
    names = ("steps", "x", "has_key", "key", "door", "apple", "good")
    return dict(zip(names, env.unwrapped.get_state().tolist(), strict=True))


def seed_where(kwargs: dict[str, Any], **wanted: int) -> int:
    env = make_env(ID, kwargs)
    for seed in range(500):
        env.reset(seed=seed)
        if wanted.items() <= hidden(env).items():
            return seed
    raise AssertionError("one of 500 seeds begins like this")


@pytest.mark.parametrize("takes_key", [True, False])
def test_an_episode_is_the_one_written_down_by_hand(takes_key: bool) -> None:
    kwargs = {"distractor_length": 3, "apple_reward": 0.25, "room_radius": 2, "match_color": False}
    env = make_env(ID, kwargs)
    assert env.reset(seed=seed_where(kwargs, key=RIGHT, door=LEFT))[0] == 1
    moves = [LEFT, RIGHT, RIGHT, RIGHT] if takes_key else [LEFT, RIGHT, RIGHT, LEFT]
    for step, (action, x) in enumerate(zip(moves, [-1, 0, 1, 0], strict=True), start=1):
        observation, reward, terminated, _, _ = env.step(action)
        assert (reward, terminated) == (0, False)
        # The fourth step ends the phase, whether it reaches the key or not.
        assert hidden(env)["x"] == x
        assert observation == 1 if step < 4 else observation in (3, 4)
    assert hidden(env)["has_key"] == takes_key
    for step in range(3):
        apple, good = hidden(env)["apple"], hidden(env)["good"]
        assert observation == 3 + apple
        action = 1 - apple if step == 1 else apple
        observation, reward, terminated, _, _ = env.step(action)
        assert (reward, terminated) == (0.5 * good * (step != 1), False)
    assert observation == 5  # the door is on the left
    assert env.step(LEFT) == (5, 0, False, False, {})
    assert env.step(RIGHT) == (5, 0, False, False, {})
    assert env.step(LEFT) == (5, 0, False, False, {})
    assert env.step(LEFT) == (5, float(takes_key), True, False, {"is_success": takes_key})


def test_the_key_is_taken_on_touch_and_then_gone_and_walls_stop_the_agent() -> None:
    kwargs = {"distractor_length": 1, "room_radius": 3, "match_color": False}
    env = make_env(ID, kwargs)
    env.reset(seed=seed_where(kwargs, key=LEFT, door=RIGHT))
    assert [env.step(LEFT)[0] for _ in range(4)] == [0, 0, 2, 2]
    assert hidden(env)["x"] == -3
    assert env.step(RIGHT)[0] == 2
    assert env.step(RIGHT)[0] in (3, 4)
    assert env.step(LEFT)[0] == 6
    # The last room has six steps and a wall on the left; nothing is taken or opened there.
    steps = [env.step(LEFT) for _ in range(6)]
    assert [hidden(env)["x"], [step[1] for step in steps]] == [-3, [0] * 6]
    assert [step[2] for step in steps] == [False] * 5 + [True]
    assert steps[-1][4] == {"is_success": False}


def test_only_the_door_of_the_keys_color_opens() -> None:
    kwargs = {"distractor_length": 0, "match_color": True, "room_radius": 1}
    env = make_env(ID, kwargs)
    kinds = set()
    for seed in range(60):
        for right in (True, False):
            symbol, _ = env.reset(seed=seed)
            color, side, door = symbol >> 1, symbol & 1, hidden(env)["door"]
            assert side == hidden(env)["key"]
            assert env.step(side)[0] == 4
            doors = env.step(RIGHT)[0]
            # The door that opens is where the first color's is, or opposite to it if the key has the second color.
            assert doors == 7 + (door ^ color)
            action = door if right else 1 - door
            assert env.step(action) == (doors, float(right), True, False, {"is_success": right})
            kinds.add((int(symbol), int(doors)))
    assert len(kinds) == 8


class Twin:
    """The rules once more, for one game, in plain Python."""

    def __init__(self, radius: int, length: int, colors: bool, key: int, door: int, color: int) -> None:
        self.radius, self.length, self.colors = radius, length, colors
        self.key, self.door, self.color = key, door, color
        self.room, self.left, self.x, self.has_key = "key", 2 * radius, 0, False

    def step(self, action: int, apple: int, good: int) -> tuple[Fraction, bool]:
        """Return the reward in doors, apples paying 1/10 on average, and whether the episode is over."""
        self.left -= 1
        reward, over = Fraction(0), False
        if self.room == "apples":
            reward = Fraction(good, 5) if action == apple else reward
        else:
            self.x = max(-self.radius, min(self.radius, self.x + (1 if action == RIGHT else -1)))
            side = {-self.radius: LEFT, self.radius: RIGHT}.get(self.x)
            if self.room == "key":
                self.has_key = self.has_key or side == self.key
            elif side is not None and (self.colors or side == self.door):
                over = True
                reward = Fraction(self.has_key and side == self.door)
        if self.left == 0 and self.room == "key" and self.length:
            self.room, self.left, self.x = "apples", self.length, 0
        elif self.left == 0 and self.room in ("key", "apples"):
            self.room, self.left, self.x = "door", 2 * self.radius, 0
        elif self.left == 0:
            over = True
        return reward, over

    def symbol(self, apple: int) -> int:
        empty = 4 if self.colors else 2
        if self.room == "key":
            return empty if self.has_key else 2 * self.color + self.key
        if self.room == "apples":
            return empty + 1 + apple
        return empty + 3 + (self.door if self.color == 0 else 1 - self.door)


@given(
    radius=st.integers(1, 3),
    length=st.integers(0, 4),
    colors=st.booleans(),
    seed=st.integers(0, 2**31),
    actions=st.lists(st.sampled_from([LEFT, RIGHT, "key", "door", "apple"]), min_size=16, max_size=16),
)
def test_every_step_is_that_of_a_twin_in_plain_python(
    radius: int, length: int, colors: bool, seed: int, actions: list[Any]
) -> None:
    env = make_env(ID, {"room_radius": radius, "distractor_length": length, "match_color": colors})
    observation, _ = env.reset(seed=seed)
    state = hidden(env)
    twin = Twin(radius, length, colors, state["key"], state["door"], int(observation) >> 1)
    for action in actions:
        state = hidden(env)
        chosen = state[action] if isinstance(action, str) else action
        expected, over = twin.step(chosen, state["apple"], state["good"])
        observation, reward, terminated, truncated, _ = env.step(chosen)
        assert reward == pytest.approx(float(expected))
        assert (terminated, truncated) == (over, False)
        if over:
            break
        assert observation == twin.symbol(hidden(env)["apple"])
        assert (hidden(env)["x"], hidden(env)["has_key"]) == (twin.x, twin.has_key)


def mean_return(radius: int, length: int, colors: bool, policy: Sequence[int]) -> Fraction:
    """Return the mean return of a deterministic memoryless agent, over all keys, doors and, one by one, apples."""
    total, count = Fraction(0), 0
    for key, door, color in itertools.product((0, 1), (0, 1), (0, 1) if colors else (0,)):
        twin = Twin(radius, length, colors, key, door, color)
        over, count = False, count + 1
        while not over:
            # What comes after an apple does not depend on it: its mean is enough.
            kinds = list(itertools.product((0, 1), (0, 1))) if twin.room == "apples" else [(0, 0)]
            eaten = [Fraction(good, 5) * (policy[twin.symbol(apple)] == apple) for apple, good in kinds]
            action = policy[twin.symbol(0)]
            total += sum(eaten, Fraction(0)) / len(kinds) if twin.room == "apples" else 0
            reward, over = twin.step(action, 1 - action, 0)
            total += reward
    return total / count


@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize(("radius", "length"), [(1, 0), (1, 2), (2, 1)])
def test_no_deterministic_memoryless_policy_beats_the_score_in_the_facts(
    radius: int, length: int, colors: bool
) -> None:
    facts = KeyToDoor.facts(room_radius=radius, distractor_length=length, match_color=colors)
    policies = itertools.product((LEFT, RIGHT), repeat=9 if colors else 7)
    best = max(mean_return(radius, length, colors, policy) for policy in policies)
    assert float(best) == pytest.approx(facts.memoryless_return)
    assert facts.memoryless_return == pytest.approx((0.5 if colors else 1) + 0.1 * length)
    assert facts.optimal_return == pytest.approx(1 + 0.1 * length)


def totals(kwargs: dict[str, Any], act: Any, num_envs: int = 4000) -> tuple[NDArray[np.float64], int]:
    """Return the return of each row's first episode, and the steps of the longest."""
    envs = make_batched(ID, num_envs, kwargs)
    observations, _ = envs.reset(seed=0)
    total, running, steps = np.zeros(num_envs), np.ones(num_envs, dtype=np.bool_), 0
    while running.any():
        actions = act(observations, envs.get_state())  # type: ignore[attr-defined]
        observations, rewards, terminated, _, _ = envs.step(actions)
        total += rewards * running
        running &= ~terminated
        steps += 1
    return total, steps


@pytest.mark.parametrize("kwargs", [{}, {"match_color": False, "room_radius": 4}, {"distractor_length": 0}])
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(kwargs: dict[str, Any]) -> None:
    facts = KeyToDoor.facts(**kwargs)
    radius, length = kwargs.get("room_radius", 2), kwargs.get("distractor_length", 100)
    worth = np.zeros(4000)

    def oracle(_: Any, states: NDArray[np.int64]) -> NDArray[np.int64]:
        steps, _, _, key, door, apple, good = states.T
        among_apples = (steps >= 2 * radius) & (steps < 2 * radius + length)
        worth[among_apples] += 0.2 * good[among_apples]
        actions: NDArray[np.int64] = np.where(steps < 2 * radius, key, np.where(among_apples, apple, door))
        return actions

    total, steps = totals(kwargs, oracle)
    assert facts.episode_length == steps + radius  # all enter the door after half of the last phase
    np.testing.assert_allclose(total, 1 + worth)
    assert total.mean() == pytest.approx(facts.optimal_return, abs=4 * 0.1 * np.sqrt(length / 4000) + 1e-9)


@pytest.mark.parametrize("kwargs", [{"match_color": False}, {"room_radius": 1, "distractor_length": 5}])
def test_random_actions_score_what_the_facts_say_and_the_longest_episodes_last_as_long(kwargs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    total, steps = totals(kwargs, lambda observations, _: rng.integers(2, size=observations.shape))
    facts = KeyToDoor.facts(**kwargs)
    assert total.mean() == pytest.approx(facts.random_return, abs=4 * total.std() / np.sqrt(4000))
    # With two doors a step to the side ends the last room of radius 1.
    assert facts.episode_length == steps + ("room_radius" in kwargs)


@pytest.mark.parametrize("radius", [1, 2, 3, 4])
def test_the_random_score_is_the_mean_over_all_walks_in_both_rooms(radius: int) -> None:
    for colors in (False, True):
        facts = KeyToDoor.facts(room_radius=radius, distractor_length=0, match_color=colors)
        taken = entered = 0
        for walk in itertools.product((LEFT, RIGHT), repeat=2 * radius):
            first = Twin(radius, 0, colors, RIGHT, RIGHT, 0)
            for action in walk:
                first.step(action, 0, 0)
            taken += first.has_key
            last = Twin(radius, 0, colors, RIGHT, RIGHT, 0)
            last.room, last.has_key = "door", True
            for action in walk:
                reward, over = last.step(action, 0, 0)
                entered += int(reward)
                if over:
                    break
        assert facts.random_return == pytest.approx(taken * entered / 4 ** (2 * radius))


def test_apples_keys_doors_and_colors_are_independent_and_uniform() -> None:
    envs = make_batched(ID, 4000, {"distractor_length": 2, "match_color": True, "room_radius": 1})
    symbols, _ = envs.reset(seed=0)
    kinds = symbols.astype(np.int64)
    for action in (0, 0, 0):
        states = envs.get_state()  # type: ignore[attr-defined]
        steps, _, _, _, door, apple, good = states.T
        kinds = kinds * 2 + door if steps[0] == 0 else kinds * 4 + apple * 2 + good
        envs.step(np.full(4000, action))
    counts = np.bincount(kinds, minlength=128)
    # 4 symbols, 2 doors, and two apples of 4 kinds: 128 cells of 31.25; chi squared has standard deviation 15.9.
    assert len(counts) == 128
    assert ((counts - 31.25) ** 2 / 31.25).sum() < 127 + 4 * 15.9


def test_the_ansi_picture_shows_what_is_in_the_room() -> None:
    kwargs = {"distractor_length": 1, "match_color": True}
    env = make_env(ID, kwargs, render_mode="ansi")
    symbol, _ = env.reset(seed=seed_where(kwargs, key=RIGHT, door=LEFT))
    assert env.render() == f"..A.{'Kk'[symbol >> 1]}\n"
    for _ in range(2):
        env.step(RIGHT)
    assert env.render() == "....A\n"
    for _ in range(2):
        env.step(RIGHT)
    assert env.render() == ("..Aa.\n" if hidden(env)["apple"] == RIGHT else ".aA..\n")
    env.step(LEFT)
    assert env.render() == ("D.A.d\n" if symbol < 2 else "d.A.D\n")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"distractor_length": -1}, r"distractor_length \(-1\) must be at least 0; pass 0 or more\."),
        ({"room_radius": 0}, r"room_radius \(0\) must be at least 1; pass 1 or more\."),
        ({"apple_reward": -0.5}, r"apple_reward is -0\.5, but it is the mean reward of an apple: pass a number from 0"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(ID, kwargs)
