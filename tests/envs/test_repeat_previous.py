"""RepeatPrevious against POPGym's own class, by hand, and by an oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s7rl.envs import find_task, make_batched, make_env

ID = "s7rl/RepeatPrevious-v0"


@settings(max_examples=15)
@given(num_decks=st.integers(1, 2), k=st.integers(1, 51), seed=st.integers(0, 2**31))
def test_cards_rewards_and_ends_are_popgyms_for_equal_seeds(num_decks: int, k: int, seed: int) -> None:
    popgym = pytest.importorskip("popgym.envs.repeat_previous")
    reference = popgym.RepeatPrevious(num_decks=num_decks, k=k)
    env = make_env(ID, {"num_decks": num_decks, "k": k})
    rng = np.random.default_rng(seed)
    for episode_seed in (seed, None):
        assert env.reset(seed=episode_seed)[0] == reference.reset(seed=episode_seed)[0]
        over = False
        while not over:
            # The oracle's answer half of the time, or both rewards would not be seen.
            due = int(env.unwrapped.get_state()[0])  # type: ignore[attr-defined]
            action = due if rng.random() < 0.5 else int(rng.integers(4))
            observation, reward, terminated, truncated, _ = env.step(action)
            expected = reference.step(action)
            assert (observation, terminated, truncated) == (expected[0], expected[2], expected[3])
            assert reward == pytest.approx(expected[1], abs=1e-15)
            over = terminated


def run(kwargs: dict[str, Any], answer: Any, num_envs: int = 64) -> tuple[float, float, int]:
    """Return the mean return, the success rate and the length of one episode in every row."""
    envs = make_batched(ID, num_envs, kwargs)
    observations, _ = envs.reset(seed=0)
    returns, steps = np.zeros(num_envs), 0
    while True:
        observations, rewards, terminated, _, infos = envs.step(answer(envs.get_state(), observations))  # type: ignore[attr-defined]
        returns, steps = returns + rewards, steps + 1
        if terminated.any():
            assert terminated.all()
            return float(returns.mean()), float(infos["is_success"].mean()), steps


@pytest.mark.parametrize("kwargs", [{}, {"num_decks": 1, "k": 1}, {"num_decks": 1, "k": 51}, {"num_decks": 3, "k": 64}])
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(kwargs: dict[str, Any]) -> None:
    task = find_task(ID, kwargs)
    mean, success, steps = run(kwargs, lambda states, _: states[:, 0])
    assert mean == pytest.approx(task.optimal_return)
    assert (success, steps) == (1.0, task.episode_length)


def test_memoryless_and_random_answers_score_what_the_registry_says() -> None:
    task = find_task(ID)
    rng = np.random.default_rng(0)
    other_suit, success, _ = run({}, lambda _, observations: (observations + 1) % 4, num_envs=4000)
    guesses, _, _ = run({}, lambda _, observations: rng.integers(4, size=observations.shape), num_envs=4000)
    # One standard error is 0.0017; the bound is four of them, and the seeds are fixed.
    assert other_suit == pytest.approx(task.memoryless_return, abs=0.007)
    assert guesses == pytest.approx(task.random_return, abs=0.007)
    assert success == 0.0


def test_with_k_1_the_present_card_is_asked_for_and_no_memory_is_needed() -> None:
    assert find_task(ID, {"k": 1}).memoryless_return == 1.0
    assert run({"k": 1}, lambda _, observations: observations)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("wrong", "success"), [(0, 1.0), (3, 1.0), (4, 0.0)])
def test_success_is_a_return_of_at_least_nine_tenths(wrong: int, success: float) -> None:
    # 72 answers are scored: 3 wrong ones leave 66/72 = 0.917, 4 leave 0.889.
    def answer(states: Any, _: Any) -> Any:
        return np.where(states[:, 1] < 32 + wrong, (states[:, 0] + 1) % 4, states[:, 0])

    mean, rate, _ = run({}, answer)
    assert mean == pytest.approx(1 - 2 * wrong / 72)
    assert rate == success


def test_a_lag_longer_than_the_deck_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k \(52\) must be smaller than the 52 cards of num_decks=1; pass k <= 51"):
        make_env(ID, {"num_decks": 1, "k": 52})
