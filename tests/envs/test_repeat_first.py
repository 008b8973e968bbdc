"""RepeatFirst against POPGym's own class, by an oracle, and against every memoryless policy.

Mutations that were tried: answers compared with the present card or the second one; rewards divided by N; one step
more; success from 0.8 on; POPGym's deck dealt from the other end; the wrong
probability in ``facts``.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s7rl.envs import make_env
from s7rl.envs.engines.repeat_first import RepeatFirst
from tests.envs.one_episode import from_table, guess, oracle, play

ID = "s7rl/RepeatFirst-v0"


@settings(max_examples=10)
@given(num_decks=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_cards_rewards_and_ends_are_popgyms_for_equal_seeds(num_decks: int, seed: int) -> None:
    popgym = pytest.importorskip("popgym.envs.repeat_first")
    reference = popgym.RepeatFirst(num_decks=num_decks)
    env = make_env(ID, {"num_decks": num_decks})
    rng = np.random.default_rng(seed)
    for episode_seed in (seed, None):
        first = env.reset(seed=episode_seed)[0]
        assert first == reference.reset(seed=episode_seed)[0]
        over = False
        while not over:
            # The right answer half of the time, or both rewards would not be seen.
            action = int(first) if rng.random() < 0.5 else int(rng.integers(4))
            observation, reward, terminated, truncated, _ = env.step(action)
            expected = reference.step(action)
            assert (observation, terminated, truncated) == (expected[0], expected[2], expected[3])
            assert reward == pytest.approx(expected[1], abs=1e-15)
            over = terminated


@pytest.mark.parametrize("difficulty", ["Easy", "Medium", "Hard"])
def test_popgyms_difficulties_are_1_8_and_16_decks(difficulty: str) -> None:
    popgym = pytest.importorskip("popgym.envs.repeat_first")
    reference = getattr(popgym, f"RepeatFirst{difficulty}")()
    decks = {"Easy": 1, "Medium": 8, "Hard": 16}[difficulty]
    assert RepeatFirst.facts(num_decks=decks).episode_length == reference.max_episode_length


@pytest.mark.parametrize("kwargs", [{}, {"num_decks": 1}, {"num_decks": 16}])
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(kwargs: dict[str, Any]) -> None:
    facts = RepeatFirst.facts(**kwargs)
    episode = play(ID, kwargs, oracle, range(8))
    assert episode.returns == pytest.approx(np.full(8, facts.optimal_return))
    assert episode.success.all()
    assert len(episode.observations) == facts.episode_length
    np.testing.assert_array_equal(episode.states[..., 0], episode.observations[[0]].repeat(len(episode.states), axis=0))
    np.testing.assert_array_equal(episode.states[..., 2], episode.observations)


def exact_return(table: tuple[int, ...], num_cards: int) -> Fraction:
    """Return a memoryless policy's mean return, from the chances of each pair (first card, present card)."""
    per_suit = num_cards // 4
    right = Fraction(0)
    for first, present in itertools.product(range(4), repeat=2):
        pairs = per_suit * (per_suit - (first == present))
        chance = Fraction(pairs, num_cards * (num_cards - 1))  # at each step but the first
        right += (table[present] == first) * ((num_cards - 2) * chance + Fraction(first == present, 4))
    return 2 * right / (num_cards - 1) - 1


@pytest.mark.parametrize("num_decks", [1, 2, 8])
def test_no_memoryless_policy_beats_naming_the_present_suit(num_decks: int) -> None:
    facts = RepeatFirst.facts(num_decks=num_decks)
    scores = {table: exact_return(table, 52 * num_decks) for table in itertools.product(range(4), repeat=4)}
    best = max(scores, key=scores.__getitem__)
    assert best == (0, 1, 2, 3)
    assert float(scores[best]) == pytest.approx(facts.memoryless_return, abs=1e-12)


def test_the_score_with_one_deck_is_that_worked_out_by_hand() -> None:
    # 1 + 50 * 12 / 51 of 51 answers are right.
    assert RepeatFirst.facts(num_decks=1).memoryless_return == pytest.approx(2 * (651 / 51) / 51 - 1, abs=1e-12)


@pytest.mark.parametrize("table", [(0, 1, 2, 3), (1, 2, 3, 0), (0, 0, 0, 0), (0, 1, 0, 2)])
def test_memoryless_policies_score_in_play_what_the_chances_of_pairs_say(table: tuple[int, ...]) -> None:
    episode = play(ID, {"num_decks": 1}, from_table(table), range(8000))
    # Six standard errors; the seeds are fixed.
    error = episode.returns.std() / np.sqrt(8000)
    assert abs(episode.returns.mean() - float(exact_return(table, 52))) < 6 * error + 1e-12
    assert error < 0.01


def test_random_answers_score_what_the_facts_say() -> None:
    episode = play(ID, {"num_decks": 1}, guess(4, seed=0), range(4000))
    error = episode.returns.std() / np.sqrt(4000)
    assert abs(episode.returns.mean() - RepeatFirst.facts(num_decks=1).random_return) < 4 * error
    assert error < 0.003


@pytest.mark.parametrize(("wrong", "success"), [(0, True), (2, True), (3, False)])
def test_success_is_a_return_of_at_least_nine_tenths(wrong: int, success: bool) -> None:
    # Of 51 answers 2 wrong ones leave 47/51 = 0.92, and 3 leave 45/51 = 0.88.
    episode = play(ID, {"num_decks": 1}, lambda s, _: (s[:, 0] + (s[:, 1] <= wrong)) % 4, range(3))
    assert episode.returns == pytest.approx(np.full(3, 1 - 2 * wrong / 51))
    assert (episode.success == success).all()


def test_a_game_without_cards_is_refused() -> None:
    with pytest.raises(ValueError, match=r"num_decks \(0\) must be at least 1"):
        make_env(ID, {"num_decks": 0})
