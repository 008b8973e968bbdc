"""Associative recall by hand, by an oracle, and against every memoryless policy.

Mutations that were tried: the first pair's value for every query; queries in the order of the pairs; keys or queries
drawn with replacement; values taken from the keys' numbers; the delay forgotten or one longer; rewards where nothing
is asked; no penalty; success from 0.8 on; the wrong length in ``facts``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest

from s7rl.envs import make_env
from s7rl.envs.engines.associative_recall import AssociativeRecall
from tests.envs.one_episode import from_table, guess, oracle, play

ID = "s7rl/AssociativeRecall-v0"
# Small enough that every episode and every memoryless policy can be tried; one where not every pair is asked for.
SMALL = {"num_pairs": 2, "num_keys": 2, "num_values": 2, "num_queries": 2}
PARTIAL = {"num_pairs": 2, "num_keys": 3, "num_values": 2, "num_queries": 1, "delay": 2}
SIZES: list[dict[str, Any]] = [
    {},
    SMALL,
    PARTIAL,
    {"num_pairs": 1, "num_keys": 1, "num_values": 3, "num_queries": 1},
    {"num_pairs": 40, "num_keys": 500, "num_values": 4, "num_queries": 30, "delay": 400},
]


def episodes(kwargs: dict[str, int], num_seeds: int = 4000) -> Counter[tuple[int, ...]]:
    return Counter(tuple(column) for column in play(ID, kwargs, oracle, range(num_seeds)).observations.T.tolist())


def seeds_of(kwargs: dict[str, int]) -> dict[tuple[int, ...], int]:
    """Return all episodes there are, each with a seed that shows it."""
    found: dict[tuple[int, ...], int] = {}
    for seed, column in enumerate(play(ID, kwargs, oracle, range(4000)).observations.T.tolist()):
        found.setdefault(tuple(column), seed)
    return found


@pytest.mark.parametrize(("answers", "rewards"), [((1, 0), (0.5, 0.5)), ((0, 1), (-0.5, -0.5)), ((1, 1), (0.5, -0.5))])
def test_an_episode_is_that_written_down_by_hand(answers: tuple[int, ...], rewards: tuple[float, ...]) -> None:
    # Keys are 0 and 1, values 2 and 3, the blank 4: key 1 has value 0 and key 0 value 1; key 0 is asked for first.
    shown = (1, 2, 0, 3, 0, 1)
    env = make_env(ID, SMALL)
    assert env.reset(seed=seeds_of(SMALL)[shown])[0] == shown[0]
    for action, symbol in zip((1, 1, 0, 0), shown[1:], strict=False):
        assert env.step(action) == (symbol, 0.0, False, False, {})
    assert env.step(answers[0]) == (1, rewards[0], False, False, {})
    assert env.step(answers[1]) == (4, rewards[1], True, False, {"is_success": rewards == (0.5, 0.5)})


def test_the_delay_shows_blanks_between_the_last_value_and_the_first_query() -> None:
    # Keys are 0 to 2, values 3 and 4, the blank 5.
    episode = play(ID, PARTIAL, oracle, range(50))
    assert (episode.observations[[0, 2]] < 3).all()
    assert np.isin(episode.observations[[1, 3]], (3, 4)).all()
    assert (episode.observations[[4, 5]] == 5).all()
    assert (episode.observations[6] < 3).all()
    assert len(episode.observations) == 7


@pytest.mark.parametrize("kwargs", SIZES)
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(kwargs: dict[str, Any]) -> None:
    facts = AssociativeRecall.facts(**kwargs)
    episode = play(ID, kwargs, oracle, range(5))
    assert episode.returns == pytest.approx(np.full(5, facts.optimal_return))
    assert episode.success.all()
    assert len(episode.observations) == facts.episode_length


@pytest.mark.parametrize("kwargs", SIZES)
def test_an_agent_that_keeps_a_dictionary_gets_the_optimum(kwargs: dict[str, Any]) -> None:
    env = make_env(ID, kwargs)
    num_keys = kwargs.get("num_keys", 16)
    blank = num_keys + env.action_space.n  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=3)
    for _ in range(3):
        values: dict[int, int] = {}
        asked: set[int] = set()
        key, total, over = -1, 0.0, False
        while not over:
            action = 0
            if observation < num_keys:
                key = int(observation)
                if key in values:
                    assert key not in asked
                    asked.add(key)
                    action = values[key]
            elif observation < blank:
                values[key] = int(observation) - num_keys
            observation, reward, over, _, info = env.step(action)
            total += float(reward)
        assert total == pytest.approx(1.0)
        assert info["is_success"]
        assert len(values) == kwargs.get("num_pairs", 8)
        assert len(asked) == kwargs.get("num_queries", 8)
        observation, _ = env.reset()


@pytest.mark.parametrize(("kwargs", "number"), [(SMALL, 2 * 4 * 2), (PARTIAL, 6 * 4 * 2)])
def test_every_episode_is_equally_likely(kwargs: dict[str, int], number: int) -> None:
    counts = episodes(kwargs, num_seeds=9600)
    assert len(counts) == number
    error = np.sqrt(9600 / number * (1 - 1 / number))
    assert all(abs(count - 9600 / number) < 4 * error for count in counts.values())


@pytest.mark.parametrize("kwargs", [SMALL, PARTIAL])
def test_every_memoryless_policy_scores_what_the_facts_say(kwargs: dict[str, int]) -> None:
    facts = AssociativeRecall.facts(**kwargs)
    seeds = list(seeds_of(kwargs).values())  # one for each of the equally likely episodes
    assert len(seeds) in (16, 48)
    num_symbols = kwargs["num_keys"] + kwargs["num_values"] + 1
    scores = [
        play(ID, kwargs, from_table(table), seeds).returns.mean()
        for table in itertools.product(range(2), repeat=num_symbols)
    ]
    # All are equal, so a mixture of policies scores the same: each reward depends on one action, and no action on it.
    assert scores == pytest.approx([facts.memoryless_return] * 2**num_symbols, abs=1e-12)


def test_random_answers_score_what_the_facts_say() -> None:
    returns = play(ID, {}, guess(8, seed=1), range(3000)).returns
    error = returns.std() / np.sqrt(3000)
    assert abs(returns.mean() - AssociativeRecall.facts().random_return) < 4 * error
    assert error < 0.006


@pytest.mark.parametrize(("wrong", "success"), [(0, True), (1, True), (2, False)])
def test_success_is_a_return_of_at_least_nine_tenths(wrong: int, success: bool) -> None:
    # Of 20 answers 1 wrong one leaves 0.9, and 2 leave 0.8.
    kwargs = {"num_pairs": 20, "num_keys": 20, "num_values": 4, "num_queries": 20}
    episode = play(ID, kwargs, lambda s, _: (s[:, 0] + ((s[:, 1] >= 40) & (s[:, 1] < 40 + wrong))) % 4, range(3))
    assert episode.returns == pytest.approx(np.full(3, 1 - 2 * wrong / 20))
    assert (episode.success == success).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_keys": 7}, r"num_keys \(7\) must be at least num_pairs \(8\), as no key comes twice; pass"),
        ({"num_queries": 9}, r"num_queries \(9\) must be at most num_pairs \(8\), as no key is asked for twice; pass"),
        ({"num_values": 1}, r"num_values \(1\) must be at least 2"),
        ({"delay": -1}, r"delay \(-1\) must be at least 0"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(ID, kwargs)
