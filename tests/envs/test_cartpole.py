"""Position-only CartPole against Gymnasium's CartPole."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from s7rl.envs import find_task, make_batched, make_env

ID = "s7rl/CartPolePositionOnly-v0"


def upright(state: np.ndarray) -> int:
    """Balance with all four numbers in view: push to where the pole is falling."""
    x, x_dot, theta, theta_dot = state
    return int(theta + 0.5 * theta_dot + 0.05 * x + 0.1 * x_dot > 0)


@pytest.mark.parametrize("skill", [0.0, 1.0])
def test_it_shows_entries_0_and_2_of_gymnasiums_cartpole_and_is_equal_otherwise(skill: float) -> None:
    env, reference = make_env(ID), gym.make("CartPole-v1")
    rng = np.random.default_rng(0)
    lengths = []
    for seed in (3, None, None):
        observation, _ = env.reset(seed=seed)
        full, _ = reference.reset(seed=seed)
        np.testing.assert_array_equal(observation, full[[0, 2]])
        over, length = False, 0
        while not over:
            action = upright(full) if rng.random() < skill else int(rng.integers(2))
            observation, *rest, info = env.step(action)
            full, *expected, _ = reference.step(action)
            # Not to the last bit: the sine of an array may differ from that of a number.
            np.testing.assert_allclose(observation, full[[0, 2]], rtol=1e-5, atol=1e-7)
            assert rest == expected
            over, length = bool(rest[1] or rest[2]), length + 1
        assert info == {"is_success": rest[2] and not rest[1]}
        lengths.append(length)
    assert (lengths == [500] * 3) == (skill == 1.0)


def test_an_oracle_that_sees_the_hidden_state_gets_the_optimum() -> None:
    envs = make_batched(ID, 16)
    envs.reset(seed=0)
    returns = np.zeros(16)
    for _ in range(500):
        states = envs.get_state()[:, :4] / 1e6  # type: ignore[attr-defined]
        _, rewards, terminated, truncated, infos = envs.step(np.array([upright(state) for state in states]))
        returns += rewards
        assert not terminated.any()
    assert truncated.all()
    assert infos["is_success"].all()
    assert (returns == find_task(ID).optimal_return).all()


def test_random_actions_score_what_the_registry_says() -> None:
    envs, rng = make_batched(ID, 2000), np.random.default_rng(0)
    envs.reset(seed=0)
    alive, returns = np.ones(2000, dtype=np.bool_), np.zeros(2000)
    while alive.any():
        _, rewards, terminated, truncated, _ = envs.step(rng.integers(2, size=2000))
        returns += rewards * alive
        alive &= ~(terminated | truncated)
    # One standard error is 0.26.
    assert returns.mean() == pytest.approx(find_task(ID).random_return, abs=1.1)


def test_a_picture_is_drawn() -> None:
    env = make_env(ID, render_mode="rgb_array")
    env.reset(seed=0)
    picture = np.asarray(env.render())
    assert picture.shape == (400, 600, 3)
    assert picture.std() > 0


def test_a_pole_that_falls_at_the_last_moment_is_no_success() -> None:
    env = make_env(ID)
    env.reset(seed=0)
    engine = env.unwrapped._engine  # type: ignore[attr-defined]
    engine._steps[0] = 499
    engine._state[:, 0] = [0.0, 0.0, 0.2, 5.0]  # leans 0.3 rad after the step; the limit is 0.209
    assert env.step(0)[2:] == (True, True, {"is_success": False})
