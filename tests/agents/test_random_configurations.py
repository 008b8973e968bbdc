"""Any valid configuration can be made, trained, saved and loaded.

Mutations that were seen to fail these tests: actions that do not begin at the space's start; policy_kwargs not saved;
the critic's state cut off by predict; a history one step too short; symbols not counted from their start; masks the
wrong way round.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch

from s7rl.agents import RecurrentPPO
from s7rl.agents.action_masks import get_action_masks
from tests.agents.configurations import draw_configuration


def check(number: int, device: str) -> None:
    """Make the configuration of that number, learn two updates, save, load, and act alike."""
    configuration = draw_configuration(np.random.default_rng(number))
    model = configuration.model(number, device)
    model.learn(2 * model.n_envs * model.n_steps)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = RecurrentPPO.load(file, device=device)

    env = configuration.env(seed=number + 1)
    assert model.env is not None
    venv = RecurrentPPO._wrap_env(env)
    obs: Any = venv.reset()
    states, starts = [None, None], np.ones(configuration.n_envs, dtype=bool)
    for deterministic in (True, False, True):
        masks = get_action_masks(venv) if configuration.masks else None
        chosen = []
        for i, agent in enumerate((model, loaded)):
            torch.manual_seed(number)
            agent.renew_noise(0, configuration.n_envs)
            torch.manual_seed(number)
            actions, states[i] = agent.predict(obs, states[i], starts, deterministic, action_masks=masks)
            chosen.append(actions)
        np.testing.assert_array_equal(chosen[0], chosen[1])
        obs, _, starts, _ = venv.step(chosen[0])


def check_from(first: int, number: int, device: str) -> None:
    for configuration in range(first, first + number):
        try:
            check(configuration, device)
        except Exception as error:
            drawn = draw_configuration(np.random.default_rng(configuration))
            raise AssertionError(f"configuration {configuration}: {drawn}") from error


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("first", range(0, 12, 6))
def test_a_random_configuration_learns_and_is_the_same_after_it_was_saved(first: int, device: str) -> None:
    check_from(first, 6, device)


@pytest.mark.slow
@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("first", range(0, 10_000, 100))
def test_ten_thousand_random_configurations_do_too(first: int) -> None:
    check_from(first, 100, "cpu")
