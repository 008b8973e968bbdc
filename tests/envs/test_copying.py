"""Copy, SelectiveCopy and Reverse by hand, by an oracle, and against every memoryless policy.

Mutations that were tried: answers in the wrong order; the first answer one step early; rewards where nothing is asked;
no penalty; ``_steps`` or ``_right`` not set to 0 at a reset; the blank and the request exchanged, or no blank in the
delay; tokens of the last episode left where it had them; places not sorted; tokens at places with replacement; success
from 0.8 on; the wrong length in ``facts``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from s7rl.envs import make_batched, make_env
from s7rl.envs.engines.copying import Copy, Reverse, SelectiveCopy
from tests.envs.one_episode import from_table, guess, oracle, play

CLASSES: dict[str, type[Copy] | type[SelectiveCopy] | type[Reverse]] = {
    "s7rl/Copy-v0": Copy,
    "s7rl/SelectiveCopy-v0": SelectiveCopy,
    "s7rl/Reverse-v0": Reverse,
}
# Small enough that every episode and every memoryless policy can be tried.
SMALL: dict[str, dict[str, Any]] = {
    "s7rl/Copy-v0": {"num_tokens": 2, "num_symbols": 2, "delay": 1},
    "s7rl/SelectiveCopy-v0": {"num_tokens": 2, "num_symbols": 2, "length": 3},
    "s7rl/Reverse-v0": {"num_tokens": 2, "num_symbols": 2, "delay": 1},
}
SIZES = [
    *((env_id, {}) for env_id in CLASSES),
    *SMALL.items(),
    ("s7rl/Copy-v0", {"num_tokens": 1, "num_symbols": 5, "delay": 0}),
    ("s7rl/Copy-v0", {"num_tokens": 3, "delay": 3000}),
    ("s7rl/SelectiveCopy-v0", {"num_tokens": 6, "num_symbols": 3, "length": 6}),
    ("s7rl/SelectiveCopy-v0", {"num_tokens": 16, "num_symbols": 16, "length": 4096}),
    ("s7rl/Reverse-v0", {"num_tokens": 52}),
]
every_task = pytest.mark.parametrize("env_id", CLASSES)


def episodes(env_id: str) -> dict[tuple[int, ...], int]:
    """Return what can be shown before the answers in the small task, each with a seed that shows it."""
    kwargs = SMALL[env_id]
    shown = play(env_id, kwargs, oracle, range(2000)).observations[:3]
    found: dict[tuple[int, ...], int] = {}
    for seed, column in enumerate(shown.T.tolist()):
        found.setdefault(tuple(column), seed)
    return found


def test_an_episode_of_copy_is_that_written_down_by_hand() -> None:
    seed = episodes("s7rl/Copy-v0")[0, 1, 2]
    # action, reward, next observation: a blank is 2, 3 asks; actions do not matter before they are asked for.
    walk(make_env("s7rl/Copy-v0", SMALL["s7rl/Copy-v0"]), seed, 0, [(1, 0.0, 1), (0, 0.0, 2), (1, 0.0, 3)])
    walk(make_env("s7rl/Copy-v0", SMALL["s7rl/Copy-v0"]), seed, 0, [(0, 0.0, 1), (0, 0.0, 2), (0, 0.0, 3), (0, 0.5, 3)])
    before = [(0, 0.0, 1), (0, 0.0, 2), (0, 0.0, 3)]
    for answers, rewards in (((0, 1), (0.5, 0.5)), ((1, 0), (-0.5, -0.5)), ((0, 0), (0.5, -0.5))):
        steps = [*before, *((a, r, 3) for a, r in zip(answers, rewards, strict=True))]
        walk(make_env("s7rl/Copy-v0", SMALL["s7rl/Copy-v0"]), seed, 0, steps, ends=True)


def test_an_episode_of_reverse_is_that_written_down_by_hand() -> None:
    seed = episodes("s7rl/Reverse-v0")[0, 1, 2]
    before = [(0, 0.0, 1), (0, 0.0, 2), (0, 0.0, 3)]
    for answers, rewards in (((1, 0), (0.5, 0.5)), ((0, 1), (-0.5, -0.5)), ((1, 1), (0.5, -0.5))):
        steps = [*before, *((a, r, 3) for a, r in zip(answers, rewards, strict=True))]
        walk(make_env("s7rl/Reverse-v0", SMALL["s7rl/Reverse-v0"]), seed, 0, steps, ends=True)


def test_an_episode_of_selective_copy_is_that_written_down_by_hand() -> None:
    env = make_env("s7rl/SelectiveCopy-v0", SMALL["s7rl/SelectiveCopy-v0"])
    found = episodes("s7rl/SelectiveCopy-v0")
    walk(env, found[2, 0, 1], 2, [(1, 0.0, 0), (1, 0.0, 1), (1, 0.0, 3), (0, 0.5, 3), (1, 0.5, 3)], ends=True)
    walk(env, found[1, 2, 0], 1, [(1, 0.0, 2), (1, 0.0, 0), (1, 0.0, 3), (1, 0.5, 3), (1, -0.5, 3)], ends=True)


def walk(
    env: gym.Env[Any, Any], seed: int, first: int, steps: list[tuple[int, float, int]], *, ends: bool = False
) -> None:
    assert env.reset(seed=seed)[0] == first
    for number, (action, reward, observation) in enumerate(steps, start=1):
        over = ends and number == len(steps)
        got = env.step(action)
        assert got[:4] == (observation, reward, over, False)
        assert set(got[4]) == ({"is_success"} if over else set())


@pytest.mark.parametrize(("env_id", "kwargs"), SIZES)
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(env_id: str, kwargs: dict[str, Any]) -> None:
    facts = CLASSES[env_id].facts(**kwargs)
    episode = play(env_id, kwargs, oracle, range(5))
    assert episode.returns == pytest.approx(np.full(5, facts.optimal_return))
    assert episode.success.all()
    assert len(episode.observations) == facts.episode_length


@pytest.mark.parametrize(("env_id", "kwargs"), SIZES)
def test_an_agent_that_writes_down_the_tokens_it_saw_gets_the_optimum(env_id: str, kwargs: dict[str, Any]) -> None:
    env = make_env(env_id, kwargs)
    num_symbols = env.action_space.n  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=7)
    for _ in range(2):
        seen: list[int] = []
        total, over, spans, time = 0.0, False, [0], 0
        times: list[int] = []
        while not over:
            if observation < num_symbols:
                seen.append(int(observation))
                times.append(time)
            asked = observation == num_symbols + 1
            at = -1 if "Reverse" in env_id else 0
            spans += [time - times.pop(at)] if asked else []
            observation, reward, over, _, info = env.step(seen.pop(at) if asked else 0)
            total, time = total + float(reward), time + 1
        assert not seen
        assert total == pytest.approx(1.0)
        assert info["is_success"]
        # What is remembered longest; in SelectiveCopy only if a token comes as early as it can.
        span = CLASSES[env_id].facts(**kwargs).memory_span
        assert span is not None
        assert max(spans) <= span
        assert "Selective" in env_id or max(spans) == span
        observation, _ = env.reset()


@every_task
def test_every_episode_is_equally_likely(env_id: str) -> None:
    num_seeds = 6000
    shown = play(env_id, SMALL[env_id], oracle, range(num_seeds)).observations[:3]
    counts = Counter(tuple(column) for column in shown.T.tolist())
    sequences = list(itertools.product(range(2), repeat=2))
    places = [(0, 1), (0, 2), (1, 2)] if "Selective" in env_id else [(0, 1)]
    expected = set()
    for (a, b), (first, second) in itertools.product(sequences, places):
        symbols = [2, 2, 2]
        symbols[first], symbols[second] = a, b
        expected.add(tuple(symbols))
    assert set(counts) == expected
    chance = 1 / len(expected)
    error = np.sqrt(num_seeds * chance * (1 - chance))
    assert all(abs(count - num_seeds * chance) < 4 * error for count in counts.values())


@every_task
def test_every_memoryless_policy_scores_what_the_facts_say(env_id: str) -> None:
    facts = CLASSES[env_id].facts(**SMALL[env_id])
    seeds = list(episodes(env_id).values())  # one for each of the equally likely episodes
    assert len(seeds) == (12 if "Selective" in env_id else 4)
    scores = [
        play(env_id, SMALL[env_id], from_table(table), seeds).returns.mean()
        for table in itertools.product(range(2), repeat=4)
    ]
    # All are equal, so a mixture of policies scores the same: each reward depends on one action, and no action on it.
    assert scores == pytest.approx([facts.memoryless_return] * 16, abs=1e-12)


@pytest.mark.parametrize(("env_id", "kwargs"), SIZES[:3])
def test_random_answers_score_what_the_facts_say(env_id: str, kwargs: dict[str, Any]) -> None:
    facts = CLASSES[env_id].facts(**kwargs)
    num_symbols = make_env(env_id, kwargs).action_space.n  # type: ignore[attr-defined]
    returns = play(env_id, kwargs, guess(num_symbols, seed=1), range(3000)).returns
    error = returns.std() / np.sqrt(3000)
    assert abs(returns.mean() - facts.random_return) < 4 * error
    assert error < 0.006


def test_the_scores_are_popgyms_autoencode_but_for_the_last_card_that_it_still_shows() -> None:
    popgym = pytest.importorskip("popgym.envs.autoencode")
    reference = popgym.Autoencode(num_decks=1)
    assert Reverse.facts(num_tokens=52).episode_length == reference.max_episode_length + 1
    for step, reward in enumerate([1 / 52, -1 / 52]):
        reference.reset(seed=step)
        cards = reference.get_state()[0]
        while reference.mode != popgym.Mode.PLAY:
            assert reference.step(0)[1] == 0
        theirs = reference.step((cards[0] + step) % 4)[1]  # it deals from the end, and asks for the last dealt first
        envs = make_batched("s7rl/Reverse-v0", 1, {"num_tokens": 52})
        envs.reset(seed=0)
        for _ in range(52):
            assert envs.step(np.array([0]))[1] == 0
        ours = envs.step((envs.get_state()[:, 0] + step) % 4)[1]  # type: ignore[attr-defined]
        assert theirs == pytest.approx(ours[0]) == pytest.approx(reward)


@every_task
@pytest.mark.parametrize(("wrong", "success"), [(0, True), (2, True), (3, False)])
def test_success_is_a_return_of_at_least_nine_tenths(env_id: str, wrong: int, success: bool) -> None:
    # Of 40 answers 2 wrong ones leave 0.9, and 3 leave 0.85.
    kwargs = {"num_tokens": 40, "num_symbols": 4} | ({"length": 60} if "Selective" in env_id else {"delay": 20})
    episode = play(env_id, kwargs, lambda s, _: (s[:, 0] + ((s[:, 1] >= 60) & (s[:, 1] < 60 + wrong))) % 4, range(3))
    assert episode.returns == pytest.approx(np.full(3, 1 - 2 * wrong / 40))
    assert (episode.success == success).all()


@every_task
def test_nothing_of_one_episode_is_carried_into_the_next(env_id: str) -> None:
    envs = make_batched(env_id, 3, SMALL[env_id])
    envs.reset(seed=0)
    for success in (True, False, True):
        total = np.zeros(3)
        for _ in range(5):
            due = envs.get_state()[:, 0]  # type: ignore[attr-defined]
            _, rewards, terminated, _, infos = envs.step(due if success else 1 - due)
            total += rewards
        assert terminated.all()
        assert (infos["is_success"] == success).all()
        np.testing.assert_array_equal(total, 1.0 if success else -1.0)


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        ("s7rl/Copy-v0", {"num_tokens": 0}, r"num_tokens \(0\) must be at least 1"),
        ("s7rl/Copy-v0", {"num_symbols": 1}, r"num_symbols \(1\) must be at least 2"),
        ("s7rl/Copy-v0", {"delay": -1}, r"delay \(-1\) must be at least 0"),
        ("s7rl/Reverse-v0", {"delay": -1}, r"delay \(-1\) must be at least 0"),
        ("s7rl/SelectiveCopy-v0", {"length": 9}, r"length \(9\) must have a place for each of the 10 tokens; pass"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(env_id: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(env_id, kwargs)
