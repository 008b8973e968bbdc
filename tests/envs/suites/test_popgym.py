"""POPGym through ``make_env``: all 48 ids, and the scores that follow from counting cards.

Mutations tried, each of which fails a test here: ``adapt`` without the previous action; N instead of N - 2 later steps
in RepeatFirst's score; -1/2 for Autoencode's; 78/169 for HigherLower's; an episode length that is one off; mazelib not
asked for.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from s7rl.envs import find_task, make_env
from s7rl.envs.suites.popgym import adapt, describe, ids
from tests.envs.suites.rollouts import check_training, error_without

pytestmark = pytest.mark.filterwarnings("ignore:Maze environments have been shown")  # what a Labyrinth says of itself

IDS = ids()
PREVIOUS_ACTION = ("Battleship", "Concentration", "Labyrinth", "MineSweeper", "MultiarmedBandit")


def test_there_are_48_ids_and_popgym_registers_exactly_these() -> None:
    make_env(IDS[0])
    assert len(IDS) == 48
    assert set(IDS) == {env_id for env_id in gym.registry if env_id.startswith("popgym-")}


@pytest.mark.parametrize("env_id", IDS)
def test_the_previous_action_is_seen_exactly_where_the_game_needs_it(env_id: str) -> None:
    env = make_env(env_id)
    needs = any(name in env_id for name in PREVIOUS_ACTION)
    assert needs == env.unwrapped.obs_requires_prev_action  # type: ignore[attr-defined]
    shown, _ = env.reset(seed=0)
    if needs:
        action = env.action_space.sample()
        encoded = spaces.flatten(env.action_space, action)
        own = spaces.flatdim(env.unwrapped.observation_space)
        np.testing.assert_array_equal(shown[own:], [0] * len(encoded) + [1])
        np.testing.assert_array_equal(env.step(action)[0][own:], [*encoded, 0])
    elif "Autoencode" not in env_id:
        assert env.observation_space == env.unwrapped.observation_space
    assert not isinstance(env.observation_space, spaces.Tuple)


@pytest.mark.parametrize("env_id", [env_id for env_id in IDS if "Labyrinth" not in env_id and "Easy" in env_id])
def test_no_episode_is_longer_than_the_table_says(env_id: str) -> None:
    env, longest = make_env(env_id), 0
    env.action_space.seed(0)
    for seed in range(3):
        env.reset(seed=seed)
        length, over = 0, False
        while not over:
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            length, over = length + 1, terminated or truncated
        longest = max(longest, length)
    limit = find_task(env_id).episode_length
    assert limit is not None
    # Poles fall and mines explode; all other games have one length.
    early = any(name in env_id for name in ("CartPole", "Cartpole", "MineSweeper"))
    assert longest <= limit if early else longest == limit


def mean_return(env_id: str, policy: Any, episodes: int) -> tuple[float, float]:
    """Mean return and standard error of a policy that sees POPGym's own observation."""
    env = gym.make(env_id, disable_env_checker=True)
    returns = []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy(observation))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns)), float(np.std(returns, ddof=1) / np.sqrt(episodes))


@pytest.mark.parametrize(
    ("env_id", "policy"),
    [
        ("popgym-RepeatFirstEasy-v0", lambda suit: suit),
        ("popgym-AutoencodeEasy-v0", lambda observation: observation[1]),
        ("popgym-HigherLowerEasy-v0", lambda rank: int(rank > 6)),  # action 0 guesses "higher"
        ("popgym-HigherLowerHard-v0", lambda rank: int(rank > 6)),
    ],
)
def test_the_best_memoryless_policy_gets_the_return_that_counting_cards_gives(env_id: str, policy: Any) -> None:
    make_env(env_id)
    facts = describe(env_id, {})
    assert facts is not None
    assert facts.memoryless_return is not None
    mean, error = mean_return(env_id, policy, 600)
    assert error < 0.008
    assert mean == pytest.approx(facts.memoryless_return, abs=3 * error)


@pytest.mark.parametrize("card", range(4))
def test_naming_one_suit_throughout_is_worse_in_autoencode_and_repeat_first(card: int) -> None:
    """By the return that is exact for it: -1/2 in both games, whatever the suit."""
    for env_id in ("popgym-AutoencodeEasy-v0", "popgym-RepeatFirstEasy-v0"):
        facts = describe(env_id, {})
        assert facts is not None
        assert facts.memoryless_return is not None
        mean, error = mean_return(env_id, lambda observation: card, 200)
        assert mean == pytest.approx(-0.5, abs=4 * error + 1e-9)
        assert facts.memoryless_return > -0.5


def test_an_oracle_that_remembers_gets_the_optimum() -> None:
    for env_id, oracle in (("popgym-RepeatFirstEasy-v0", _RepeatFirst()), ("popgym-AutoencodeEasy-v0", _Autoencode())):
        mean, error = mean_return(env_id, oracle, 5)
        assert mean == pytest.approx(1.0) == find_task(env_id).optimal_return
        assert error == pytest.approx(0.0)


class _RepeatFirst:
    """Counts the 51 steps of an episode and repeats the first observation of each."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, suit: int) -> int:
        self.seen = [*self.seen, suit] if len(self.seen) < 51 else [suit]
        return self.seen[0]


class _Autoencode:
    """A stack: the last card comes with the flag "play" already (0), the others with "watch" (1)."""

    def __init__(self) -> None:
        self.cards: list[int] = []

    def __call__(self, observation: tuple[int, int]) -> int:
        playing, suit = observation[0] == 0, observation[1]
        if len(self.cards) < 52 and not (playing and self.finished):
            self.cards.append(suit)
        if not playing:
            self.finished = False
            return 0
        self.finished = True
        return self.cards.pop()

    finished = False


@pytest.mark.parametrize(
    ("env_id", "policy"),
    [
        ("popgym-RepeatFirstEasy-v0", "MlpPolicy"),
        ("popgym-ConcentrationEasy-v0", "MlpPolicy"),
        ("popgym-AutoencodeEasy-v0", "MultiInputPolicy"),
        ("popgym-BattleshipEasy-v0", "MlpPolicy"),
        ("popgym-MineSweeperEasy-v0", "MlpPolicy"),
        ("popgym-NoisyPositionOnlyPendulumEasy-v0", "MlpPolicy"),
    ],
)
def test_every_kind_of_spaces_is_trained_on(env_id: str, policy: str) -> None:
    check_training(env_id, policy)


@pytest.mark.parametrize("package", ["popgym", "mazelib"])
def test_a_missing_package_is_an_error_of_one_line_with_the_command_that_installs_it(package: str) -> None:
    message = error_without(package, "popgym-LabyrinthEscapeEasy-v0")
    assert message == (
        f"ValueError popgym-LabyrinthEscapeEasy-v0 needs {package}, which is not installed: pip install 's7rl[popgym]'"
    )


@pytest.mark.parametrize("env_id", ["popgym-CountRecallEasy-v0", "popgym-MultiarmedBanditEasy-v0"])
def test_an_info_is_not_handed_out_twice(env_id: str) -> None:
    """Stable-Baselines3 writes an episode's return into the last info: it must not come back."""
    env = make_env(env_id)
    env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(env.action_space.sample())
        assert "episode" not in info
        info["episode"] = 1


def test_other_environments_are_left_alone() -> None:
    env = gym.make("CartPole-v1")
    assert adapt(env) is env
    assert describe("popgym-Chess-v0", {}) is None
