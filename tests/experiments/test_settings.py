"""What a run's settings follow from: hand-computed values for tasks of every size."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s7rl import core_names, core_options, make_core
from s7rl.envs import Task
from s7rl.experiments.config import NetworkOptions, PPOOptions, TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.presets import AGENTS, SUITES
from s7rl.experiments.settings import RunSettings, settings_for


def task(
    *, env_id: str = "some/Task-v0", suite: str = "memory", episode_length: int | None, memory_span: int | None
) -> Task:
    """A task by the facts that settings follow from."""
    return Task(
        env_id=env_id,
        suite=suite,
        summary="",
        episode_length=episode_length,
        memory_span=memory_span,
        optimal_return=None,
        memoryless_return=None,
        random_return=None,
        steps=400_000,
    )


def corridor(length: int, suite: str = "memory") -> Task:
    return task(suite=suite, episode_length=2 * length + 2, memory_span=length)


def settings(facts: Task | None = None, **request: Any) -> RunSettings:
    config = TrainConfig(**request)
    return settings_for(facts or corridor(100), AGENTS[config.agent], config)


@pytest.mark.parametrize(
    ("length", "n_envs", "n_steps", "rows"),
    [
        # n_steps: the power of two from 2 (length + 1), or above 2,048 the multiple of that; from 32 envs to 8, until
        # 2**13 steps are left; rows: 2,048 steps, or 4,096 in 4.
        (5, 32, 256, 8),
        (50, 32, 256, 8),
        (127, 32, 256, 8),
        (128, 16, 512, 4),
        (500, 8, 1024, 4),
        (1000, 8, 2048, 2),
        (2047, 8, 4096, 1),
        (2048, 8, 6144, 1),
        (5000, 8, 10_240, 1),
        (10_000, 8, 20_480, 1),
        (100_000, 8, 65_536, 1),
    ],
)
def test_the_rollout_spans_two_memories_where_the_limits_allow(
    length: int, n_envs: int, n_steps: int, rows: int
) -> None:
    derived = settings(corridor(length))
    assert (derived.n_envs, derived.n_steps, derived.batch_size) == (n_envs, n_steps, rows * n_steps)


@pytest.mark.parametrize(("length", "n_envs", "n_steps"), [(4000, 32, 8192), (5000, 16, 10_240), (10_000, 16, 20_480)])
def test_other_suites_have_rollouts_of_2_to_the_18_steps_and_16_environments(
    length: int, n_envs: int, n_steps: int
) -> None:
    # Seen to fail it: the limits of the suite memory in all suites; 2**17 steps.
    derived = settings(corridor(length, "minigrid"))
    assert (derived.n_envs, derived.n_steps) == (n_envs, n_steps)


def test_the_memory_span_counts_and_not_the_longest_possible_episode() -> None:
    derived = settings(task(suite="minigrid", episode_length=605, memory_span=22))
    assert (derived.n_envs, derived.n_steps, derived.batch_size) == (32, 256, 2048)
    assert derived.core_kwargs["horizon"] == (2.0, 230.0)


def test_without_a_known_span_the_rollout_spans_two_episodes() -> None:
    derived = settings(task(suite="gymnasium", episode_length=200, memory_span=None))
    assert (derived.n_steps, derived.reach_needed) == (512, 200)


def test_without_any_knowledge_the_suite_decides() -> None:
    derived = settings(task(suite="gymnasium", episode_length=None, memory_span=None))
    assert (derived.n_envs, derived.n_steps, derived.batch_size) == (16, 128, 2048)
    assert derived.core_kwargs["horizon"] == (2.0, 1000.0)
    assert not derived.gradient_falls_short


def test_control_learns_from_short_rollouts_and_scales_what_it_sees() -> None:
    derived = settings(task(suite="control", episode_length=500, memory_span=10))
    assert (derived.n_envs, derived.n_steps, derived.batch_size, derived.n_epochs) == (8, 128, 1024, 10)
    assert derived.normalize_observations
    assert derived.normalize_rewards


def test_symbols_are_not_scaled_and_the_user_decides_about_the_rest() -> None:
    # Seen to fail it: symbols scaled; numbers of the suite memory not, or otherwise than the user says.
    assert settings().normalize_observations == "scale"
    symbols = replace(corridor(100), shows_numbers=False)
    for asked in (None, True, "scale", False):
        given = PPOOptions(normalize_observations=asked)
        assert settings(symbols, ppo=given).normalize_observations is False
        assert settings(ppo=given).normalize_observations == ("scale" if asked is None else asked)


def test_modes_are_for_cores_that_have_them() -> None:
    with pytest.raises(UsageError, match="--d-state 8 is for state space models, agent gru is none: leave it out"):
        settings(agent="gru", network=NetworkOptions(d_state=8))


def test_modes_need_no_horizon() -> None:
    assert settings(agent="lru", network=NetworkOptions(d_state=8)).d_state == 8
    assert settings(agent="mamba").d_state == 16


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_is_said_to_take_what_its_core_takes(name: str) -> None:
    agent = AGENTS[name]
    assert agent.has_modes == ("d_state" in core_options(agent.core))
    assert agent.has_horizon == ("horizon" in core_options(agent.core))
    assert agent.has_memory == (make_core(agent.core).state_size > 0)


def test_there_is_an_agent_for_every_core() -> None:
    assert {agent.core for agent in AGENTS.values()} == set(core_names())


def test_only_cores_with_horizons_get_them() -> None:
    assert settings(corridor(100), agent="s7").core_kwargs == {"horizon": (2.0, 1010.0)}
    assert settings(corridor(100), agent="gru").core_kwargs == {}
    assert settings(corridor(100), agent="lru").core_kwargs == {}


def test_what_the_user_gives_wins_over_what_follows() -> None:
    given_options = PPOOptions(
        learning_rate=0.5, n_steps=64, batch_size=128, n_epochs=2, gamma=0.5, gae_lambda=0.25, clip_range=0.125,
        ent_coef=0.75, vf_coef=2.0, max_grad_norm=3.0, dynamics_lr_factor=0.5, anneal=False,
        normalize_observations=True, normalize_rewards=False,
    )  # fmt: skip
    network = NetworkOptions(d_model=7, d_state=9, n_blocks=3, core_kwargs=("horizon=3,5", "rotation=0.25"))
    derived = settings(n_envs=4, steps=10, seed=3, threads=2, ppo=given_options, network=network)
    for name in vars(given_options):
        assert getattr(derived, name) == getattr(given_options, name), name
    assert (derived.d_model, derived.d_state, derived.n_blocks) == (7, 9, 3)
    assert (derived.n_envs, derived.steps, derived.seed, derived.threads) == (4, 10, 3, 2)
    assert derived.core_kwargs == {"horizon": (3, 5), "rotation": 0.25}


def test_zero_is_a_value_and_not_a_missing_one() -> None:
    derived = settings(corridor(100, "minigrid"), ppo=PPOOptions(ent_coef=0.0, gamma=0.0))
    assert (derived.ent_coef, derived.gamma) == (0.0, 0.0)


def test_the_user_is_told_when_the_gradient_cannot_reach_the_cue() -> None:
    assert not settings(corridor(100), ppo=PPOOptions(n_steps=101)).gradient_falls_short
    assert settings(corridor(100), ppo=PPOOptions(n_steps=100)).gradient_falls_short
    assert settings(corridor(100_000)).gradient_falls_short


def test_evaluation_seeds_are_none_that_training_used() -> None:
    assert settings(seed=0).evaluation_seed == 10_000
    assert settings(seed=9_990, n_envs=32).evaluation_seed == 10_022


@given(
    span=st.none() | st.integers(0, 10**6),
    length=st.none() | st.integers(1, 10**6),
    suite=st.sampled_from(sorted(SUITES)),
    n_envs=st.none() | st.integers(1, 100),
    n_steps=st.none() | st.integers(2, 10**5),
)
def test_derived_settings_always_fit_each_other(
    span: int | None, length: int | None, suite: str, n_envs: int | None, n_steps: int | None
) -> None:
    derived = settings(
        task(suite=suite, episode_length=length, memory_span=span), n_envs=n_envs, ppo=PPOOptions(n_steps=n_steps)
    )
    rows, rest = divmod(derived.batch_size, derived.n_steps)
    assert rest == 0
    assert derived.n_envs % rows == 0
    if n_envs is None and n_steps is None:
        assert derived.n_steps & (derived.n_steps - 1) == 0 or derived.n_steps % 2048 == 0
        assert derived.n_steps < max(4096, 2 * (derived.reach_needed or 0) + 2048)
        limits = SUITES[suite]
        assert derived.n_envs >= min(limits.n_envs, limits.min_n_envs)
        assert derived.n_envs * derived.n_steps <= limits.max_rollout_steps or derived.n_envs <= limits.min_n_envs
        assert derived.n_steps >= 2 * (derived.reach_needed or 0) or derived.n_steps == SUITES[suite].max_n_steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batch_size": 100},
            r"--batch-size is 100, but .* --n-steps = 256 .* --n-envs = 32.*: the nearest that fit are 64 and 128\.$",
        ),
        ({"batch_size": 3 * 256}, r"--batch-size is 768, .* 512 and 1024\.$"),
        ({"batch_size": 64 * 256}, r"--batch-size is 16384, .* 4096 and 8192\.$"),
        ({"sequence_length": 100}, r"--sequence-length is 100, .* 64 and 128\.$"),
        ({"steps": 0}, "--steps 0 must be at least 1$"),
        ({"n_envs": 0}, "--n-envs 0 must be at least 1$"),
        ({"n_epochs": 0}, "--n-epochs 0 must be at least 1$"),
        ({"d_model": 0}, "--d-model 0 must be at least 1$"),
        ({"n_steps": 1}, "--n-steps 1 must be at least 2"),
        ({"threads": 0}, "--threads 0 must be at least 1"),
        ({"seed": -1}, "--seed -1 must be at least 0"),
        ({"seed": 2**32 - 32}, "--seed 4294967264 must be at least 0 and below 4294967264"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0 must be above 0$"),
        ({"gamma": 1.5}, "--gamma 1.5 must be from 0 to 1$"),
        ({"gae_lambda": -0.1}, "--gae-lambda -0.1 must be from 0 to 1$"),
        ({"ent_coef": -1.0}, "--ent-coef -1.0 must not be negative$"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_option(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(settings(), **changes)


def test_core_options_must_be_assignments() -> None:
    with pytest.raises(UsageError, match="--core-kwargs 'rotation' is not name=value"):
        settings(network=NetworkOptions(core_kwargs=("rotation",)))


def test_the_step_size_would_reach_zero_one_rollout_after_the_last_update() -> None:
    # Rollouts of 8 x 32 = 256 steps: 12 of them for 3,000 steps, and a thirteenth that does not come.
    derived = settings(steps=3000, n_envs=8, ppo=PPOOptions(n_steps=32))
    assert derived.annealing == 13 * 256 / 3000
