"""Whatever a trial draws is a valid request, for every core, and nothing is searched that was given.

Mutations seen to fail: a window of 0; a ring that ends before it begins; no step size for minGRU's gates, or no horizon
for the LSTM; horizons that do not follow from the task, or end below 2; four digits; a number below 1 that is not
rounded; options of the core searched although they were given, or are the agent's, or lost; the number of environments
or further options left out of the preset; a 0 taken for nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from s7rl import core_names, core_options, make_core
from s7rl.envs import find_task
from s7rl.experiments.config import FurtherOptions, NetworkOptions, PPOOptions, TrainConfig
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.settings import settings_for
from s7rl.experiments.tuning.search_spaces import COMMON, options_of, space_of, space_of_core, with_options

optuna = pytest.importorskip("optuna")
TMAZE = find_task("s7rl/TMazePassive-v0", {"corridor_length": 99})


def drawn(space: dict[str, Any], trials: int) -> list[dict[str, Any]]:
    """What so many trials draw at random, with every end of every dimension among it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    draws = []
    for _ in range(trials):
        trial = study.ask()
        draws.append({name: ask(trial, name) for name, ask in space.items()})
    ends = [{name: limits(distribution)[end] for name, distribution in trial.distributions.items()} for end in (0, 1)]
    return draws + [{name: ask(optuna.trial.FixedTrial(end), name) for name, ask in space.items()} for end in ends]


def limits(distribution: Any) -> tuple[Any, Any]:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return distribution.choices[0], distribution.choices[-1]
    return distribution.low, distribution.high


@pytest.mark.parametrize("core", core_names())
def test_whatever_is_drawn_for_a_core_makes_settings_and_a_core(core: str) -> None:
    request = TrainConfig(agent=core, steps=1000)
    space = space_of(TMAZE, request)
    assert set(space) == {*COMMON, *space_of_core(core, 100)}
    for options in drawn(space, 20):
        settings = settings_for(TMAZE, AGENTS[core], with_options(request, options))
        for name, value in options.items():
            assert {**settings.core_kwargs, **vars(settings)}[name] == value, name
        states = {"d_state": settings.d_state} if AGENTS[core].has_modes else {}
        make_core(core, d_model=settings.d_model, n_blocks=settings.n_blocks, **states, **settings.core_kwargs)


@pytest.mark.parametrize("core", core_names())
def test_what_is_searched_of_a_core_are_its_own_options(core: str) -> None:
    space = space_of_core(core, 100)
    assert set(space) <= {*core_options(core), "dynamics_lr_factor"}
    assert ("dynamics_lr_factor" in space) == bool(make_core(core).dynamics_parameters())
    assert ("horizon" in space) == AGENTS[core].has_horizon
    assert ("d_state" in space) == AGENTS[core].has_modes


def test_numbers_have_three_digits_counted_from_1_where_they_are_near_it() -> None:
    asked = {"gamma": COMMON["gamma"], "learning_rate": COMMON["learning_rate"], **space_of_core("s7", 100)}
    params = {"1 - gamma": 0.00272345, "learning_rate": 0.00123456, "horizon / reach": 12.3456}
    rest = {"d_state": 64, "dynamics_lr_factor": 1.0, "rotation": 0.5, "selectivity": "diagonal", "input_scale": 0}
    trial = optuna.trial.FixedTrial({**params, **rest, "token_shift": 0.0123456})
    options = {name: ask(trial, name) for name, ask in asked.items()}
    assert (options["gamma"], options["learning_rate"]) == (0.99728, 0.00123)
    assert (options["horizon"], options["token_shift"]) == ((2.0, 1230.0), 0.0123)


def test_a_horizon_follows_from_the_task_and_is_never_below_its_beginning() -> None:
    for reach, longest in ((100, 1000.0), (1, 10.0)):
        trial = optuna.trial.FixedTrial({"horizon / reach": 10.0})
        assert space_of_core("lstm", reach)["horizon"](trial, "horizon") == (2.0, longest)
    trial = optuna.trial.FixedTrial({"horizon / reach": 1.0})
    assert space_of_core("lstm", 1)["horizon"](trial, "horizon") == (2.0, 4.0)


def test_what_is_given_is_not_searched_and_stands_in_the_preset() -> None:
    request = TrainConfig(
        n_envs=8,
        ppo=PPOOptions(gamma=0.0),
        network=NetworkOptions(d_model=16, core_kwargs=("rotation=0.25",)),
        further=FurtherOptions(burn_in=4),
    )
    space = space_of(TMAZE, request)
    assert not {"gamma", "d_model", "rotation"} & set(space)
    assert {"learning_rate", "n_blocks", "token_shift"} <= set(space)
    assert set(space) - set(space_of(TMAZE, replace(request, agent="s7-long"))) == {"token_shift", "input_scale"}
    chosen = with_options(request, {"learning_rate": 0.5, "token_shift": 0.5, "d_state": 8})
    assert options_of(chosen) == {
        "learning_rate": 0.5,
        "gamma": 0.0,
        "burn_in": 4,
        "d_model": 16,
        "d_state": 8,
        "n_envs": 8,
        "core_kwargs": {"rotation": 0.25, "token_shift": 0.5},
    }
    assert options_of(replace(request, n_envs=None, ppo=PPOOptions(), network=NetworkOptions())) == {"burn_in": 4}
