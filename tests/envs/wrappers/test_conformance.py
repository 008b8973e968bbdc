"""What holds for every wrapper: Gymnasium's and SB3's checkers, specifications, pickling, examples, seeds.

Mutations tried, each of which fails a test here: a constructor that does not record its arguments; a space that is not
declared; an observation handed out twice; a generator that a second ``reset(seed=...)`` does not renew; an example with
another number.
"""

from __future__ import annotations

import doctest
import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import s7rl.envs
from s7rl.envs.wrappers.by_name import WRAPPERS, parse_wrapper, wrap
from tests.envs.wrappers.babbler import assert_same

CASES = {
    "CartPole-v1": [
        *("MaskObservation(hide=['cart_velocity'])", "PositionOnly", "VelocityOnly", "Flicker(probability=0.3)"),
        *(
            "NoisyObservation(standard_deviation=0.1)",
            "DelayedReward(steps=3)",
            "DelayedReward",
            "PreviousActionReward",
        ),
        *("TimeoutAsTruncation(max_episode_steps=500)", "FlattenNested", "HistoryWrapper(length=4)"),
    ],
    "Pendulum-v1": [
        *("MaskObservation(keep=[1])", "PositionOnly", "VelocityOnly", "Flicker", "PreviousActionReward(start=False)"),
        *("NoisyObservation(standard_deviation=[0, 0.1, 1])", "DelayedReward(steps=10)"),
    ],
    "Hopper-v5": ["PositionOnly", "VelocityOnly", "NoisyObservation(standard_deviation=0.1)", "PreviousActionReward"],
    "s7rl/TMazePassive-v0": ["PreviousActionReward", "DelayedReward"],
    "s7rl/RepeatPrevious-v0": [
        *("PreviousActionReward(reward=False)", "FlattenObservation", "HistoryWrapper(length=3)"),
    ],
    "s7rl/CartPolePositionOnly-v0": ["MaskObservation(keep=[1])", "Flicker"],
}
PAIRS = [(env_id, text) for env_id, texts in CASES.items() for text in texts]
every_pair = pytest.mark.parametrize(("env_id", "text"), PAIRS)
MODULES = ("by_name", "delayed_reward", "flatten", "history", "masking", "noise", "previous_action", "timeout")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves a log file where it runs."""
    monkeypatch.chdir(tmp_path)


def made(env_id: str, text: str) -> gym.Env[Any, Any]:
    """The environment in the wrapper, made as from a registration."""
    name, kwargs = parse_wrapper(text)
    cls: Any = WRAPPERS[name].single
    spec = gym.spec(env_id)
    return gym.make(
        EnvSpec(
            id=f"{spec.name}Wrapped-v0",
            entry_point=spec.entry_point,
            kwargs=spec.kwargs,
            max_episode_steps=spec.max_episode_steps,
            additional_wrappers=(cls.wrapper_spec(**kwargs),),
        )
    )


def play(env: gym.Env[Any, Any], seed: int | None, steps: int = 60) -> list[Any]:
    env.action_space.seed(0)
    record: list[Any] = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        record += [observation, float(reward), terminated, truncated]
        if terminated or truncated:
            record.append(env.reset()[0])
    return record


def test_every_wrapper_is_among_the_cases() -> None:
    assert {parse_wrapper(text)[0] for _, text in PAIRS} == set(WRAPPERS)


@every_pair
def test_gymnasiums_and_sb3s_checkers_find_nothing(env_id: str, text: str) -> None:
    with warnings.catch_warnings():
        # These are about Gymnasium's own environments: infinite bounds, actions beyond 1.
        for known in (".*infinity.*", ".*we recommend"):
            warnings.filterwarnings("ignore", known)
        check_env(wrap(gym.make(env_id), [text]), skip_render_check=True)
        check_env_for_sb3(wrap(gym.make(env_id), [text]), skip_render_check=True)


@every_pair
def test_a_specification_makes_the_same_environment_again(env_id: str, text: str) -> None:
    env = made(env_id, text)
    assert env.spec is not None
    assert len(env.spec.additional_wrappers) == 1
    assert isinstance(env.spec.additional_wrappers[0], WrapperSpec)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    for left, right in zip(play(env, 3), play(again, 3), strict=True):
        assert_same(left, right)
    # Wrapped by hand, the specification is the same.
    name, kwargs = parse_wrapper(text)
    by_hand = wrap(gym.make(env_id), [text]).spec
    assert by_hand is not None
    recorded = by_hand.additional_wrappers[-1]
    assert recorded.name == name
    assert kwargs.items() <= (recorded.kwargs or {}).items()


@every_pair
def test_a_seed_repeats_and_a_pickled_environment_goes_on_as_the_original(env_id: str, text: str) -> None:
    env = wrap(gym.make(env_id), [text])
    first = play(env, 5)
    for left, right in zip(first, play(env, 5), strict=True):
        assert_same(left, right)
    other = pickle.loads(pickle.dumps(env))
    if env_id.startswith("Hopper"):
        play(env, 6)  # Gymnasium pickles MuJoCo's arguments, not its state
        seed: int | None = 6
    else:
        seed = None
    for left, right in zip(play(env, seed), play(other, seed), strict=True):
        assert_same(left, right)


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_true(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"s7rl.envs.wrappers.{module}"), raise_on_error=False)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_tuple_is_flattened_by_the_class_that_does_it_already() -> None:
    assert WRAPPERS["FlattenNested"].single is s7rl.envs.FlattenNested
