"""Control tasks with a part hidden: against Gymnasium's own environments, observation by observation.

Mutations tried, each of which fails a test here: positions and velocities exchanged; a velocity's index off by one;
a time limit of one step less; noise without one of the lander's legs, or drawn once an episode; Box2D not asked for.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from s7rl.envs import find_task, make_env
from s7rl.envs.engines.cartpole import NOISE
from s7rl.envs.suites.control import FULLY_OBSERVABLE, SUITE, SYSTEMS, VIEWS
from tests.envs.suites.rollouts import check_training, error_without

IDS = tuple(SUITE.own)
REFERENCES = {
    "Acrobot": ("Acrobot-v1", "cos1 sin1 cos2 sin2 | v v"),
    "CartPole": ("CartPole-v1", "x | v | angle | v"),
    "LunarLander": ("LunarLander-v3", "x y | v v | angle | v | leg leg"),
    "LunarLanderContinuous": ("LunarLanderContinuous-v3", "x y | v v | angle | v | leg leg"),
    "MountainCar": ("MountainCar-v0", "x | v"),
    "MountainCarContinuous": ("MountainCarContinuous-v0", "x | v"),
    "Pendulum": ("Pendulum-v1", "cos sin | v"),
}


def velocities(name: str) -> list[bool]:
    """Which entries of Gymnasium's observation are velocities, by its documentation."""
    return [word == "v" for word in REFERENCES[name][1].replace("|", " ").split()]


def test_there_are_three_views_of_seven_systems() -> None:
    assert set(IDS) == {f"s7rl/{name}{view}-v0" for name in REFERENCES for view in VIEWS}
    assert len(IDS) == 21


@pytest.mark.parametrize("view", ["PositionOnly", "VelocityOnly"])
@pytest.mark.parametrize("name", REFERENCES)
def test_positions_or_velocities_are_seen_and_all_else_is_gymnasiums(name: str, view: str) -> None:
    env, reference = make_env(f"s7rl/{name}{view}-v0"), gym.make(REFERENCES[name][0])
    seen = np.array(velocities(name)) == (view == "VelocityOnly")
    space = reference.observation_space
    assert isinstance(space, spaces.Box)
    assert env.observation_space == spaces.Box(space.low[seen], space.high[seen])
    assert env.action_space == reference.action_space
    (observation, _), (full, _) = env.reset(seed=5), reference.reset(seed=5)
    reference.action_space.seed(0)
    for _ in range(200):
        np.testing.assert_allclose(observation, full[seen], rtol=1e-5, atol=1e-6)
        action = reference.action_space.sample()
        observation, *rest, info = env.step(action)
        full, *expected, reference_info = reference.step(action)
        assert rest == pytest.approx(expected)
        if rest[1] or rest[2]:
            break
        assert info == reference_info
    ended = ({"is_success": False} if rest[1] or rest[2] else {}) if name == "CartPole" else reference_info
    assert info == ended, "no success is invented"


@pytest.mark.parametrize("name", REFERENCES)
def test_the_time_limit_is_gymnasiums(name: str) -> None:
    limit = gym.spec(REFERENCES[name][0]).max_episode_steps
    assert find_task(REFERENCES[name][0]).episode_length == limit
    for view in VIEWS:
        assert find_task(f"s7rl/{name}{view}-v0").episode_length == limit
        if name != "CartPole":
            assert gym.spec(f"s7rl/{name}{view}-v0").max_episode_steps == limit


@pytest.mark.parametrize("name", REFERENCES)
def test_noise_has_the_deviations_that_are_stated_and_the_dynamics_have_none(name: str) -> None:
    env, reference = make_env(f"s7rl/{name}Noisy-v0"), gym.make(REFERENCES[name][0])
    deviations = NOISE if name == "CartPole" else SYSTEMS[name].noise
    errors = []
    reference.action_space.seed(0)
    for seed in range(40):
        (observation, _), (full, _) = env.reset(seed=seed), reference.reset(seed=seed)
        for _ in range(40):
            errors.append(observation - full)
            action = reference.action_space.sample()
            observation, *rest, _ = env.step(action)
            full, *expected, _ = reference.step(action)
            assert rest == pytest.approx(expected)
            if rest[1] or rest[2]:
                break
    assert len(errors) > 600
    # The standard error of a deviation over n numbers is 1/sqrt(2 n): 3 % here.
    np.testing.assert_allclose(np.std(errors, axis=0), deviations, rtol=0.1)
    np.testing.assert_allclose(np.mean(errors, axis=0) / deviations, 0, atol=0.16)


@pytest.mark.parametrize(
    "env_id", ["s7rl/CartPoleNoisy-v0", "s7rl/MountainCarPositionOnly-v0", "s7rl/LunarLanderContinuousVelocityOnly-v0"]
)
def test_every_kind_of_spaces_is_trained_on(env_id: str) -> None:
    check_training(env_id, "MlpPolicy")


@pytest.mark.parametrize("env_id", ["s7rl/LunarLanderPositionOnly-v0", "LunarLander-v3"])
def test_without_box2d_the_lander_is_an_error_of_one_line_and_all_else_works(env_id: str) -> None:
    message = error_without("Box2D", env_id)
    assert message == f"ValueError {env_id} needs Box2D, which is not installed: pip install 's7rl[control]'"
    assert error_without("Box2D", "s7rl/PendulumPositionOnly-v0") == ""


def test_nothing_is_claimed_that_is_not_known() -> None:
    known = {env_id for env_id in IDS if find_task(env_id).optimal_return is not None}
    assert known == {"s7rl/CartPolePositionOnly-v0"}
    assert find_task("CartPole-v1").optimal_return == 500.0
    assert find_task("CartPole-v1").memoryless_return is None
    changed = find_task("CartPole-v1", {"sutton_barto_reward": True})
    assert changed.optimal_return is changed.random_return is None
    assert find_task("CartPole-v1", {"max_episode_steps": 100}).optimal_return is None
    assert find_task("s7rl/PendulumNoisy-v0").random_return == -1231.0
    assert find_task("s7rl/PendulumNoisy-v0", {"g": 5.0}).random_return is None


def test_gymnasiums_own_ids_belong_to_the_suite_and_those_of_others_do_not() -> None:
    for env_id in FULLY_OBSERVABLE:
        task = find_task(env_id)
        assert (task.suite, task.memory_span) == ("control", 0)
    for env_id in ("CartPole-v0", "MountainCarContinuous-v0"):
        assert SUITE.has(env_id)
    for env_id in ("CartPoleSwingUp-v0", "PendulumPixels-v0", "AcrobotPro-v1"):
        assert not SUITE.has(env_id)


@pytest.mark.parametrize("wrapper", ["VelocityOnly", "NoisyObservation(standard_deviation=0.1)", "Flicker"])
def test_what_a_wrapper_hides_takes_a_memory_whose_span_is_not_known(wrapper: str) -> None:
    assert find_task("CartPole-v1", wrappers=[wrapper]).memory_span is None


def test_a_span_that_is_known_stays_in_a_wrapper() -> None:
    assert find_task("s7rl/CartPolePositionOnly-v0", wrappers=["PreviousActionReward"]).memory_span == 10
