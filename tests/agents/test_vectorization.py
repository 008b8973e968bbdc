"""One environment many times over: the same, however it is stepped, and stepped in the way that pays.

Mutations seen to fail: workers not seeded; the user's own ids not registered in workers; the trial that leaves the
global generators where it took them, or its environment open; what "auto" came to not kept; processes taken for any
gain; cores not divided among ranks; a ValueError of a worker's constructor left a WorkerError; the state of workers not
put back; the wrappers left out of one of the three ways, or of the question whether there is an engine; torch imported
in a worker with its state, or with a question of ``VecMonitor``; a trial always in this process, or never; one that
dies in it left to the loop (hangs), or one that raises not; no look at whether it pickles; no reset of its own, or no
name for what is asked; a rule for an argument left out.
"""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecNormalize

from s7rl.agents import BatchedVecEnv, RecurrentPPO, WorkerError, WorkerVecEnv, make_vec, vectorization
from s7rl.agents.vectorization import (
    Choice,
    available_cores,
    choose_workers,
    chosen_workers,
    in_processes,
    processes_pay,
)
from s7rl.envs import has_batched_engine
from tests.agents.troubled import Pixels, Troubled

KINDS: dict[str, type[Any]] = {"batched": BatchedVecEnv, "loop": DummyVecEnv, "processes": WorkerVecEnv}


class Drawing(Troubled):
    """Draws from the global generators, and keeps count of those that were made and closed."""

    made = closed = 0

    def __init__(self, trouble: str = "none", where: str = "step", at: int = 5) -> None:
        super().__init__(trouble, where, at)
        type(self).made += 1

    def step(self, action: Any) -> Any:
        np.random.random()  # noqa: NPY002
        random.random()
        return super().step(action)

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    kinds: dict[str, Any] = {"Troubled": Troubled, "Drawing": Drawing, "Pixels": Pixels}
    for name, kind in kinds.items():
        gym.register(f"tests/{name}-v0", kind)
    gym.register("tests/Pair-v0", "tests.agents.troubled:make_pair")


def trajectory(env: VecEnv, actions: Any) -> list[Any]:
    """Everything that the environments say, in flat arrays."""
    said: list[Any] = [env.reset()]
    for action in actions:
        observations, rewards, dones, infos = env.step(action)
        last = [info.get("terminal_observation") for info in infos]
        cut = [info.get("TimeLimit.truncated", False) for info in infos]
        said += [observations, rewards, dones, last, cut]
    return said


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "wrappers"),
    [
        ("s7rl/TMazePassive-v0", {"corridor_length": 3}, ("DelayedReward(steps=2)", "PreviousActionReward")),
        ("s7rl/TMazePassive-v0", {"corridor_length": 3}, ()),
        ("CartPole-v1", None, ("PositionOnly", "Flicker(probability=0.3)")),
        ("tests/Pixels-v0", None, ()),
        ("tests/Pair-v0", None, ()),
    ],
)
@settings(max_examples=2, phases=[Phase.generate])  # Shrinking starts processes for a minute.
@given(seed=st.integers(0, 2**31), choices=st.integers(0, 2**31))
def test_the_same_seeds_give_the_same_trajectories_however_they_are_stepped(
    env_id: str, env_kwargs: dict[str, Any] | None, wrappers: tuple[str, ...], seed: int, choices: int
) -> None:
    ways = [workers for workers in KINDS if workers != "batched" or has_batched_engine(env_id, env_kwargs, wrappers)]
    assert len(ways) == (3 if env_id.startswith("s7rl/") else 2)
    seen: list[Any] = []
    for workers in ways:
        env = make_vec(env_id, 3, seed, env_kwargs, workers=workers, wrappers=wrappers)
        assert isinstance(env, VecMonitor)
        assert isinstance(env.venv, KINDS[workers])
        count = getattr(env.action_space, "n", 2)
        seen.append(trajectory(env, np.random.default_rng(choices).integers(0, count, (40, 3))))
        env.close()
    assert any(done.any() for done in seen[0][3::5])
    for other in seen[1:]:
        assert_same(seen[0], other)


@pytest.mark.parametrize(
    ("seconds", "alongside", "pay"),
    # 40 us to send and receive, and a step's share of the cores; at least 1.2 times as fast.
    [(119e-6, 2, False), (121e-6, 2, True), (56e-6, 8, False), (57e-6, 8, True), (1.0, 1, False), (5e-6, 64, False)],
)
def test_processes_pay_where_a_step_costs_much_more_than_asking_for_it(
    seconds: float, alongside: int, pay: bool
) -> None:
    assert processes_pay(seconds, alongside) is pay


def on_cores(monkeypatch: pytest.MonkeyPatch, cores: int, seconds: float | None = None) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    if seconds is not None:
        monkeypatch.setattr(vectorization, "_seconds_per_step", lambda *asked: seconds)


def test_auto_takes_the_engine_else_what_a_trial_says(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cores(monkeypatch, 2, 1e-3)
    assert choose_workers("s7rl/TMazePassive-v0", 4) == Choice("batched", "")
    assert choose_workers("CartPole-v1", 4) == Choice("processes", "a step takes 1,000 us, 2 cores")
    timed = Choice("processes", "a step takes 1,000 us, 2 cores")
    assert choose_workers("s7rl/TMazePassive-v0", 4, workers="single") == timed
    flattened = ("FlattenNested",)  # which has no version for many environments
    assert choose_workers("s7rl/TMazePassive-v0", 4, wrappers=flattened) == timed
    assert choose_workers("CartPole-v1", 1) == Choice("loop", "there is one environment")
    on_cores(monkeypatch, 1, 1e-3)
    assert choose_workers("CartPole-v1", 4) == Choice("loop", "there is one core for it")
    on_cores(monkeypatch, 64, 15e-6)
    assert choose_workers("CartPole-v1", 4) == Choice("loop", "a step takes 15 us, 4 cores")
    env = make_vec("CartPole-v1", 2)
    assert str(chosen_workers(VecNormalize(env))) == "loop in this process (a step takes 15 us, 2 cores)"
    env.close()
    assert chosen_workers(DummyVecEnv([Troubled])) is None


def test_ranks_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cores(monkeypatch, 8)
    assert available_cores() == 8
    monkeypatch.setattr(vectorization, "world_size", lambda: 3)
    assert available_cores() == 2
    monkeypatch.setattr(vectorization, "world_size", lambda: 30)
    assert available_cores() == 1


def test_a_trial_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cores(monkeypatch, 2)

    def draws_after_a_trial_of(seconds: float) -> tuple[float, float]:
        monkeypatch.setattr(vectorization, "TRIAL_SECONDS", seconds)
        np.random.seed(3)  # noqa: NPY002
        random.seed(3)
        assert "a step takes" in choose_workers("tests/Drawing-v0", 2, timeout=None).reason
        return np.random.random(), random.random()  # noqa: NPY002

    # Trials of other lengths, as beartype itself draws from `random` here, though as often in both.
    made = Drawing.made
    draws = draws_after_a_trial_of(0.0)
    assert draws_after_a_trial_of(0.01) == draws
    assert draws[0] == np.random.RandomState(3).random_sample()
    assert Drawing.made == made + 2
    assert Drawing.closed == Drawing.made
    failing = choose_workers("tests/Drawing-v0", 2, {"trouble": "raise", "at": 2}, timeout=None)
    assert failing == Choice("loop", "it could not be tried")
    assert Drawing.closed == Drawing.made


@pytest.mark.parametrize(
    ("trouble", "where", "text"),
    [
        ("busy", "constructor", "environment 0 did not answer `make` within 1 s: "),
        ("busy", "reset", "environment 0 (seeded with 0) did not answer `reset` within 1 s: "),
        ("busy", "step", "environment 0 (seeded with 0) did not answer `seconds_per_step` within 1 s: "),
        (
            "exit",
            "reset",
            "the worker of environment 0 (seeded with 0) ended with exit code 7 when it was asked to `re",
        ),
    ],
)
def test_what_hangs_or_dies_in_the_trial_ends_it(
    trouble: str, where: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cores(monkeypatch, 2)

    def made_in_time(env_id: str, n_envs: int, env_kwargs: Any, timeout: float | None, *more: Any) -> WorkerVecEnv:
        # Starting a process may take longer than the trouble is waited for.
        workers = in_processes(env_id, n_envs, env_kwargs, timeout if where == "constructor" else 60.0, *more)
        workers.timeout = timeout
        return workers

    monkeypatch.setattr(vectorization, "in_processes", made_in_time)
    with pytest.raises(WorkerError) as caught:
        make_vec("tests/Troubled-v0", 2, env_kwargs={"trouble": trouble, "where": where, "at": 1}, timeout=1.0)
    assert str(caught.value).startswith(text)


def test_a_trial_of_an_engine_of_ours_starts_no_worker_and_one_of_others_does(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cores(monkeypatch, 2)
    started: list[Any] = []

    def noted(env_id: str, *arguments: Any) -> WorkerVecEnv:
        started.append(env_id)
        return in_processes(env_id, *arguments)

    monkeypatch.setattr(vectorization, "in_processes", noted)
    assert "a step takes" in choose_workers("s7rl/TMazePassive-v0", 2, workers="single").reason
    assert "a step takes" in choose_workers("s7rl/TMazePassive-v0", 2, wrappers=("FlattenNested",)).reason
    assert "a step takes" in choose_workers("tests/Troubled-v0", 2).reason
    assert started == ["s7rl/TMazePassive-v0", "tests/Troubled-v0"]


def test_what_raises_in_a_trial_or_cannot_be_sent_to_a_worker_is_left_to_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_cores(monkeypatch, 2)
    untried = Choice("loop", "it could not be tried")
    for where in ("reset", "step"):
        assert choose_workers("tests/Troubled-v0", 2, {"trouble": "raise", "where": where, "at": 1}) == untried
    assert choose_workers("tests/Troubled-v0", 2, {"trouble": "SystemExit", "at": 1}) == untried
    # A generator does not pickle.
    assert choose_workers("tests/Troubled-v0", 2, {"at": (i for i in range(3))}) == untried


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"workers": "threads"},
            "workers is 'threads', but it says how environments are stepped: pass one of 'auto', ",
        ),
        (
            {"workers": "batched"},
            "workers is 'batched', but CartPole-v1 has no batched engine: pass 'auto', 'loop' or ",
        ),
        (
            {"timeout": -1.0},
            "timeout is -1.0, but it is how many seconds a worker has for an answer: pass a number above",
        ),
        (
            {"env_id": "s7rl/TMazePassive-v0", "workers": "batched", "wrappers": ["FlattenNested"]},
            "s7rl/TMazePassive-v0 with FlattenNested has no batched engine",
        ),
        ({"env_id": "NoSuchTask-v0", "workers": "processes"}, "unknown environment 'NoSuchTask-v0'"),
        ({"env_kwargs": {"length": 3}, "workers": "processes"}, "unknown keyword argument 'length'"),
        (
            {"env_id": "tests/Troubled-v0", "env_kwargs": {"at": "x"}, "workers": "processes"},
            "tests/Troubled-v0 cannot be",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        make_vec(**{"env_id": "CartPole-v1", "n_envs": 2, **arguments})
    assert text in str(caught.value)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("n_envs", ["a", 2.5, None, True, 0, -1]),
        ("seed", ["a", 1.5, True, -1]),
        ("env_kwargs", ["a", 3, {1: 2}]),
        ("wrappers", [3, "Flicker", None, [3]]),
    ],
)
@pytest.mark.parametrize("env_id", ["CartPole-v1", "s7rl/TMazePassive-v0"])
def test_an_argument_of_the_wrong_kind_is_one_line_that_names_it(env_id: str, name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises((TypeError, ValueError), match=rf"^{name} is [^\n]+, but [^\n]+: pass [^\n]+$"):
            make_vec(**{"env_id": env_id, "n_envs": 2, name: value})


def test_workers_play_what_an_id_stands_for_here_also_where_they_know_another(monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = copy.deepcopy(gym.spec("CartPole-v1"))
    shorter.max_episode_steps = 4
    monkeypatch.setitem(gym.registry, "CartPole-v1", shorter)
    env = make_vec("CartPole-v1", 1, 0, workers="processes")
    env.reset()
    assert [bool(env.step(np.array([t % 2]))[2][0]) for t in range(4)] == [False, False, False, True]
    env.close()


def test_what_is_no_id_is_refused_in_one_line() -> None:
    # In a process of its own: here beartype would refuse it first, in many lines.
    code = """
from s7rl.agents import make_vec
from s7rl.envs import make_env
for make in (make_vec, make_env):
    try:
        make(len)
    except TypeError as error:
        print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.count("register it with gymnasium.register.\n") == output.count("\n") == 2


def test_a_worker_that_dies_while_it_makes_its_environment_is_a_worker_error() -> None:
    with pytest.raises(WorkerError, match="ended with exit code 7"):
        make_vec("tests/Troubled-v0", 2, 0, {"trouble": "exit", "where": "constructor"}, workers="processes")


def test_a_run_in_processes_is_resumed_bit_for_bit(tmp_path: Any) -> None:
    def agent(env: VecEnv) -> RecurrentPPO:
        return RecurrentPPO("MultiInputPolicy", env, n_steps=8, batch_size=8, policy_kwargs={"d_model": 8}, seed=0)

    def environments() -> VecEnv:
        return make_vec("tests/Pair-v0", 2, workers="processes")

    straight = agent(environments()).learn(64)
    half = agent(environments()).learn(32)
    half.save(tmp_path / "half", resumable=True)
    rest = RecurrentPPO.resume(tmp_path / "half", environments()).learn(32, reset_num_timesteps=False)
    for a, b in zip(straight.policy.parameters(), rest.policy.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach(), b.detach())
    for model in (straight, half, rest):
        assert model.env is not None
        (imports,) = model.env.env_method("imports", indices=0)
        assert "torch" not in imports  # not even for the state of its environment
        model.env.close()
