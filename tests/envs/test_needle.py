"""The needle by hand, by an oracle, and by the mean over memoryless answers.

Mutations that were tried, each of which fails a test: the cue is shown twice; the question comes a step early; the
window of the cue is one longer, or the whole episode; noise on the cue; noise that stays the same; noise_std squared;
the reward at every step.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from s7rl.envs import make_batched, make_env
from s7rl.envs.engines.needle import Needle

ID = "s7rl/Needle-v0"


def test_an_episode_shows_one_cue_early_and_the_question_last() -> None:
    kwargs = {"length": 40, "num_cues": 3, "noise_dim": 2}
    env = make_env(ID, kwargs)
    observation, _ = env.reset(seed=0)
    cues, times = set(), set()
    for episode in range(60):
        cue, cue_time, time = env.unwrapped.get_state()  # type: ignore[attr-defined]
        assert time == 0
        right = episode % 2 == 0
        for step in range(1, 41):
            expected = [0.0] * 4
            expected[0] = float(step == 40)
            expected[1 + cue] = float(step - 1 == cue_time)
            assert observation[:4].tolist() == expected
            last = step == 40
            action = int(cue if right or not last else (cue + 1) % 3)
            observation, reward, terminated, truncated, info = env.step(action)
            assert (reward, terminated, truncated) == (float(last and right), last, False)
            assert info == ({"is_success": right} if last else {})
        cues.add(int(cue))
        times.add(int(cue_time))
        observation, _ = env.reset()
    assert cues == {0, 1, 2}
    assert times == {0, 1, 2, 3}  # the first tenth


def test_the_shortest_stream_shows_the_cue_and_then_asks() -> None:
    env = make_env(ID, {"length": 2, "noise_dim": 0})
    first, _ = env.reset(seed=0)
    second, reward, terminated, _, _ = env.step(0)
    assert (first[0], first[1:].sum(), reward, terminated) == (0, 1, 0, False)
    assert second.tolist() == [1, 0, 0, 0, 0]
    assert env.step(int(first[1:].argmax()))[1:3] == (1.0, True)


def test_noise_is_independent_normal_and_of_the_given_standard_deviation() -> None:
    envs = make_batched(ID, 50, {"length": 300, "noise_dim": 3, "noise_std": 2.0})
    first, _ = envs.reset(seed=0)
    actions = np.zeros(50, dtype=np.int64)
    noise = np.array([first] + [envs.step(actions)[0] for _ in range(199)])[:, :, 5:] / 2.0
    assert noise.shape == (200, 50, 3)
    # 30,000 numbers: standard errors 0.006, 0.004 and 0.014; the bounds are four of them.
    assert abs(noise.mean()) < 0.024
    assert noise.std() == pytest.approx(1, abs=0.017)
    assert (noise**4).mean() == pytest.approx(3, abs=0.23)
    # Neighbours in time, in rows and in dimensions do not go together.
    for a, b in [(noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])]:
        assert abs((a * b).mean()) < 4 / np.sqrt(a.size)


@pytest.mark.parametrize("kwargs", [{"length": 2}, {"length": 500, "num_cues": 7}, {"length": 100, "noise_std": 0.0}])
def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum(kwargs: dict[str, Any]) -> None:
    facts = Needle.facts(**kwargs)
    envs = make_batched(ID, 8, kwargs)
    envs.reset(seed=0)
    total = np.zeros(8)
    for step in range(1, facts.episode_length + 1):  # type: ignore[operator]
        _, rewards, terminated, _, _ = envs.step(envs.get_state()[:, 0])  # type: ignore[attr-defined]
        total += rewards
        assert terminated.tolist() == [step == facts.episode_length] * 8
    assert total.tolist() == [facts.optimal_return] * 8


@pytest.mark.parametrize("num_cues", [2, 5])
def test_any_answer_without_memory_is_right_once_in_num_cues(num_cues: int) -> None:
    # Without noise all that can be seen are the cues, nothing, and the question; only the answer to it counts.
    facts = Needle.facts(length=4, num_cues=num_cues, noise_dim=0)
    assert facts.memoryless_return == facts.random_return == 1 / num_cues
    env, seeds = make_env(ID, {"length": 4, "num_cues": num_cues, "noise_dim": 0}), {}
    for seed in range(200):
        env.reset(seed=seed)
        seeds[int(env.unwrapped.get_state()[0])] = seed  # type: ignore[attr-defined]
    assert len(seeds) == num_cues
    for nothing, answer in itertools.product(range(num_cues), repeat=2):
        envs = make_batched(ID, num_cues, {"length": 4, "num_cues": num_cues, "noise_dim": 0})
        observations, _ = envs.reset(seed=list(seeds.values()))  # type: ignore[arg-type]
        total = np.zeros(num_cues)
        for _ in range(4):
            observations, rewards, _, _, _ = envs.step(np.where(observations[:, 0] == 1, answer, nothing))
            total += rewards
        assert total.mean() == facts.memoryless_return


def test_answers_that_depend_on_the_noise_are_right_as_often() -> None:
    envs = make_batched(ID, 4000, {"length": 3})
    observations, _ = envs.reset(seed=0)
    for _ in range(3):
        answers = (observations[:, 5] > 0) + 2 * (observations[:, 6] > 0)
        observations, rewards, _, _, _ = envs.step(answers)
    assert rewards.mean() == pytest.approx(0.25, abs=4 * 0.0069)  # four standard errors


def test_cues_and_their_times_are_uniform() -> None:
    envs = make_batched(ID, 4000, {"length": 100, "num_cues": 4})
    envs.reset(seed=0)
    states = envs.get_state()  # type: ignore[attr-defined]
    counts = np.bincount(states[:, 0] * 10 + states[:, 1], minlength=40)
    assert len(counts) == 40
    # 100 expected of each; chi squared with 39 degrees of freedom has standard deviation 8.8.
    assert ((counts - 100) ** 2 / 100).sum() < 39 + 4 * 8.8


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"length": 1}, r"length \(1\) must be at least 2; pass 2 or more\."),
        ({"num_cues": 1}, r"num_cues \(1\) must be at least 2; pass 2 or more\."),
        ({"noise_std": -1.0}, r"noise_std is -1\.0, but it is a standard deviation: pass a number from 0 on\."),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(ID, kwargs)
