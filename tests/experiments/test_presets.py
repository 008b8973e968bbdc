"""Every named agent, and the settings of every suite, learn: for a hundred steps, on tasks of their kind.

Mutations seen to fail: an agent's options of the core left out, or put over those that are given; a trace decay or a
clipping of gradients that is no suite's; every network of 64 features; annealing the other way round;
rewards scaled where observations are; gSDE whatever the suite, the actions or the user say; each scale a VecNormalize.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
import torch
from stable_baselines3.common.vec_env import VecNormalize

from s7rl import make_core
from s7rl.agents import RecurrentPPO, VecScale
from s7rl.envs import Task, find_task
from s7rl.experiments.building import build, make_environments
from s7rl.experiments.config import NetworkOptions, PPOOptions, TrainConfig
from s7rl.experiments.presets import AGENTS, SUITES
from s7rl.experiments.settings import RunSettings, settings_for

TASKS = {
    "memory": "s7rl/TMazePassive-v0",
    "minigrid": "MiniGrid-MemoryS7-v0",
    "popgym": "popgym-RepeatFirstEasy-v0",
    "control": "s7rl/CartPolePositionOnly-v0",
    "mujoco": "s7rl/HopperPositionOnly-v0",
    "atari": "s7rl/MsPacmanFlickering-v0",
    "vision": "s7rl/MsPacmanFlickering-v0",  # pictures too, and installed with the tools of developers
    "gymnasium": "FrozenLake-v1",
}


def learned(settings: RunSettings) -> tuple[RecurrentPPO, bool, bool]:
    """An agent that has learned what the settings say, and whether observations and rewards were scaled for it."""
    model, vec_env = build(settings)
    with closing(vec_env):
        before = [parameter.detach().clone() for parameter in model.policy.parameters()]
        model.learn(settings.steps)
        after = list(model.policy.parameters())
        scaled = vec_env if isinstance(vec_env, VecNormalize) else None
    assert model.num_timesteps == settings.steps
    assert all(bool(torch.isfinite(parameter).all()) for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    return model, bool(scaled and scaled.norm_obs), bool(scaled and scaled.norm_reward)


def settings_of(task: Task, agent: str = "s7") -> RunSettings:
    request = TrainConfig(agent=agent, steps=128, n_envs=4, threads=1, workers="loop", ppo=PPOOptions(n_steps=16))
    return settings_for(task, AGENTS[agent], request)


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_learns_with_a_core_of_its_size(name: str) -> None:
    agent = AGENTS[name]
    model, _, _ = learned(settings_of(find_task(TASKS["memory"], {"corridor_length": 5}), name))
    states = {"d_state": agent.d_state} if agent.has_modes else {}
    core = make_core(agent.core, d_model=agent.d_model, n_blocks=agent.n_blocks, **states, **agent.core_kwargs)
    assert model.policy.initial_state(4).shape == (4, core.state_size)


@pytest.mark.parametrize("name", SUITES)
def test_the_settings_of_every_suite_reach_the_trainer_and_it_learns(name: str) -> None:
    suite = SUITES[name]
    model, observations, rewards = learned(settings_of(replace(find_task(TASKS[name]), suite=name)))
    for option in ("n_epochs", "gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm"):
        assert getattr(model, option) == getattr(suite, option), option
    assert model.clip_range(1.0) == suite.clip_range
    assert model.lr_schedule(1.0) == suite.learning_rate
    assert (model.lr_schedule(0.5) < suite.learning_rate) == suite.anneal
    assert rewards == suite.normalize_rewards
    # What a T-maze and FrozenLake show are symbols, and symbols are not scaled.
    assert observations == (bool(suite.normalize_observations) and name not in ("memory", "gymnasium"))


def test_rewards_stay_as_they_are_where_the_user_says_so() -> None:
    # Seen to fail it: norm_reward=True wherever environments are normalised.
    options = PPOOptions(n_steps=16, normalize_rewards=False)
    request = TrainConfig(steps=128, n_envs=4, threads=1, workers="loop", ppo=options)
    _, observations, rewards = learned(settings_for(find_task(TASKS["minigrid"]), AGENTS["s7"], request))
    assert observations
    assert not rewards


def test_numbers_of_memory_are_divided_by_their_size_and_others_as_the_user_says() -> None:
    needle = settings_of(find_task("s7rl/Needle-v0", {"length": 5}))
    kinds = []
    for asked in (needle, replace(needle, normalize_observations=True), settings_of(find_task(TASKS["control"]))):
        vec_env = make_environments(asked)
        with closing(vec_env):
            kinds.append(type(vec_env))
    assert kinds == [VecScale, VecNormalize, VecNormalize]


def test_box_actions_explore_as_the_suite_or_the_user_says() -> None:
    car, pole = find_task("s7rl/MountainCarContinuousPositionOnly-v0"), find_task(TASKS["control"])
    refused = replace(settings_of(car), ppo_kwargs={"use_sde": False})
    elsewhere = settings_of(replace(car, suite="mujoco"))
    models = [learned(its)[0] for its in (settings_of(car), settings_of(pole), refused, elsewhere)]
    assert [model.use_sde for model in models] == [True, False, False, False]
    assert models[0].sde_sample_freq == SUITES["control"].sde_sample_freq


def test_the_sizes_of_s7_differ_in_what_they_say() -> None:
    assert AGENTS["s7-base"] == replace(AGENTS["s7"], summary=AGENTS["s7-base"].summary)
    corridor = find_task(TASKS["memory"], {"corridor_length": 99})
    sizes = {name: settings_of(corridor, name) for name in ("s7-small", "s7-base")}
    shapes = {name: (run.d_model, run.d_state, run.n_blocks) for name, run in sizes.items()}
    assert shapes == {"s7-small": (32, 64, 1), "s7-base": (64, 128, 1)}
    # The cue lies 100 steps back.
    assert {run.core_kwargs["horizon"] for run in sizes.values()} == {(2.0, 1000.0)}


def test_what_the_user_says_goes_over_an_agents_options_of_the_core() -> None:
    corridor, agent = find_task(TASKS["memory"], {"corridor_length": 99}), AGENTS["s7-long"]
    request = TrainConfig(agent="s7-long", network=NetworkOptions(core_kwargs=("rotation=0.25",)))
    expected = {"horizon": (2.0, 1000.0), **agent.core_kwargs, "rotation": 0.25}
    assert settings_for(corridor, agent, request).core_kwargs == expected
