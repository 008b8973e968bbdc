"""MemoryLength and MemorySize by hand, by an oracle, and by every memoryless policy.

Mutations that were tried, each of which fails a test: the bits are shown twice; the question comes a step early; the
query is always the first bit; bit 0 is shown as 1; the reward is given at every step; the time is 1 - t / (length + 1);
a wrong answer pays 0.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from s7rl.envs import make_batched, make_env
from s7rl.envs.engines.bsuite import MemoryLength, MemorySize

LENGTH, SIZE = "s7rl/MemoryLength-v0", "s7rl/MemorySize-v0"


@pytest.mark.parametrize("answer_is_right", [True, False])
def test_an_episode_of_one_bit_is_the_one_written_down_by_hand(answer_is_right: bool) -> None:
    env = make_env(LENGTH, {"length": 3})
    observation, _ = env.reset(seed=0)
    bits = set()
    for _ in range(20):
        bit = int(observation[1] == 1)
        bits.add(bit)
        assert observation.tolist() == [0, 2 * bit - 1]
        steps = [env.step(action) for action in (1 - bit, bit, 1 - bit, bit if answer_is_right else 1 - bit)]
        assert [step[0].tolist() for step in steps] == [[0, 0], [0, 0], [1, 0], [0, 0]]
        assert [step[1] for step in steps] == [0, 0, 0, 1 if answer_is_right else -1]
        assert [step[2] for step in steps] == [False, False, False, True]
        assert not any(step[3] for step in steps)
        assert [step[4] for step in steps] == [{}, {}, {}, {"is_success": answer_is_right}]
        observation, _ = env.reset()
    assert bits == {0, 1}


def test_the_time_if_wanted_runs_from_1_at_the_bit_to_0_at_the_question() -> None:
    env = make_env(SIZE, {"num_bits": 2, "length": 4, "show_time": True})
    first, _ = env.reset(seed=0)
    observations = [first] + [env.step(0)[0] for _ in range(5)]
    assert [observation[0] for observation in observations] == [1, 0.75, 0.5, 0.25, 0, 0]
    assert [np.abs(observation[3:]).tolist() for observation in observations] == [[1, 1]] + [[0, 0]] * 5
    assert [observation[1:3].sum() for observation in observations] == [0, 0, 0, 0, 1, 0]


@settings(max_examples=40)
@given(num_bits=st.integers(1, 6), length=st.integers(1, 5), show_time=st.booleans(), seed=st.integers(0, 2**31))
def test_an_agent_that_writes_down_what_it_sees_knows_every_answer(
    num_bits: int, length: int, show_time: bool, seed: int
) -> None:
    facts = MemorySize.facts(num_bits=num_bits, length=length, show_time=show_time)
    env = make_env(SIZE, {"num_bits": num_bits, "length": length, "show_time": show_time})
    for episode_seed in (seed, None, None):
        observation, _ = env.reset(seed=episode_seed)
        bits = observation[show_time + num_bits :]
        total, steps, terminated = 0.0, 0, False
        while not terminated:
            assert env.observation_space.contains(observation)
            query = observation[show_time : show_time + num_bits]
            observation, reward, terminated, _, _ = env.step(int(bits @ query > 0))
            total, steps = total + float(reward), steps + 1
        assert (total, steps) == (facts.optimal_return, facts.episode_length)


@pytest.mark.parametrize(
    ("env_id", "kwargs", "facts"),
    [
        (LENGTH, {}, MemoryLength.facts()),
        (LENGTH, {"length": 1, "show_time": True}, MemoryLength.facts(length=1, show_time=True)),
        (SIZE, {}, MemorySize.facts()),
        (SIZE, {"num_bits": 40, "length": 7}, MemorySize.facts(num_bits=40, length=7)),
    ],
)
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(env_id: str, kwargs: dict[str, Any], facts: Any) -> None:
    envs = make_batched(env_id, 16, kwargs)
    envs.reset(seed=0)
    total = np.zeros(16)
    for step in range(1, facts.episode_length + 1):
        _, rewards, terminated, _, infos = envs.step(envs.get_state()[:, 0])  # type: ignore[attr-defined]
        total += rewards
        assert terminated.tolist() == [step == facts.episode_length] * 16
    assert total.tolist() == [facts.optimal_return] * 16
    assert infos["is_success"].all()


def test_rows_out_of_step_are_asked_and_paid_one_by_one() -> None:
    envs = make_batched(LENGTH, 2, {"length": 2})
    envs.reset(seed=0)
    envs.step(np.zeros(2, dtype=np.int64))
    envs.reset(options={"reset_mask": np.array([True, False])})
    for asked in ([0, 1], [1, 0]):
        observations, rewards, terminated, _, _ = envs.step(envs.get_state()[:, 0])  # type: ignore[attr-defined]
        assert observations[:, 0].tolist() == asked
        # The second row is asked at the first of these steps and paid at the next.
        assert rewards.tolist() == [0, asked[0]]
        assert terminated.tolist() == [False, bool(asked[0])]


def rows_of_each_state(num_bits: int) -> list[int]:
    """Return one seed for each of the equally likely hidden states: bits and query."""
    env, seeds = make_env(SIZE, {"num_bits": num_bits}), {}
    for seed in range(500):
        env.reset(seed=seed)
        seeds[tuple(env.unwrapped.get_state()[2:].tolist())] = seed  # type: ignore[attr-defined]
    assert len(seeds) == num_bits * 2**num_bits
    return list(seeds.values())


@pytest.mark.parametrize("show_time", [False, True])
def test_no_memoryless_policy_gets_more_than_0_and_random_answers_get_as_much(show_time: bool) -> None:
    # Two bits and two steps: all that can be seen are four pairs of bits, a wait, and two questions.
    seeds = rows_of_each_state(2)
    envs = make_batched(SIZE, len(seeds), {"num_bits": 2, "show_time": show_time})
    first, _ = envs.reset(seed=seeds)  # type: ignore[arg-type]
    observations = [first]
    for _ in range(2):
        observations.append(envs.step(np.zeros(len(seeds), dtype=np.int64))[0])
    seen, symbols = np.unique(np.concatenate(observations), axis=0, return_inverse=True)
    assert len(seen) == 7
    scores = []
    for policy in itertools.product(range(2), repeat=7):
        envs.reset(seed=seeds)  # type: ignore[arg-type]
        scores.append(returns(envs, np.array(policy)[symbols.reshape(3, -1)]).mean())
    facts = MemorySize.facts(num_bits=2, show_time=show_time)
    assert max(scores) == facts.memoryless_return == 0
    # A uniformly random agent is the mean of all of them.
    assert np.mean(scores) == facts.random_return == 0


def returns(envs: Any, actions: NDArray[np.int64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.sum([envs.step(row)[1] for row in actions], axis=0)
    return total


def test_bits_and_questions_are_independent_and_uniform() -> None:
    envs = make_batched(SIZE, 4000, {"num_bits": 4})
    envs.reset(seed=0)
    states = envs.get_state()  # type: ignore[attr-defined]
    kinds = states[:, 2] * 16 + states[:, 3:] @ [8, 4, 2, 1]
    counts = np.bincount(kinds, minlength=64)
    # 62.5 expected of each; chi squared with 63 degrees of freedom has mean 63 and standard deviation 11.2.
    assert ((counts - 62.5) ** 2 / 62.5).sum() < 63 + 4 * 11.2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"length": 0}, r"length \(0\) must be at least 1; pass 1 or more\."),
        ({"num_bits": 0}, r"num_bits \(0\) must be at least 1; pass 1 or more\."),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(SIZE, kwargs)
