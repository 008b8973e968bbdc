"""Wrappers and engines on the command line: trained in, saved, and evaluated in.

Mutations seen to fail: the wrappers left out of the environments, of the settings, of the task; their order turned
round; the optimum of a wrapped task kept; ``--engine`` without effect, or taken where there is none to switch off; a
method of an engine not found in wrappers.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s7rl.agents import BatchedVecEnv
from s7rl.envs import find_task
from s7rl.envs.wrappers.previous_action import PreviousActionRewardVector
from s7rl.experiments.building import make_environments
from s7rl.experiments.cli import main
from s7rl.experiments.command_line import parse
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.plan import plan
from s7rl.experiments.run_folder import open_run_folder

TINY = ["--env-kwargs", "corridor_length=2", "--n-envs", "4", "--n-steps", "32", "--d-model", "8", "--d-state", "8"]
WRAPPERS = ("DelayedReward(steps=2)", "PreviousActionReward(reward=True)")


def test_a_run_learns_is_evaluated_and_goes_on_in_its_wrappers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    words = ["train", *TINY, "--steps", "256", "--eval-episodes", "4", "--out", run, "--wrappers", *WRAPPERS]
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"corridor_length=2 in {', '.join(WRAPPERS)}: observations Box(" in shown
    settings = open_run_folder(run).settings()
    assert settings.wrappers == WRAPPERS
    vec_env = make_environments(settings)
    assert isinstance(vec_env.unwrapped, BatchedVecEnv)
    assert isinstance(vec_env.unwrapped.vector_env, PreviousActionRewardVector)
    assert len(vec_env.env_method("get_state")[0]) == 4  # of the engine inside, one row per environment
    vec_env.close()
    assert main(["resume", run, "--steps", "512", "--eval-episodes", "2"]) == 0
    assert main(["evaluate", run, "--episodes", "3"]) == 0
    assert json.loads(Path(run, "evaluation.json").read_text())["episodes"] == 2


def test_a_wrapped_task_keeps_its_length_and_what_random_actions_get() -> None:
    kwargs = {"corridor_length": 7}
    plain, wrapped = find_task("s7rl/TMazePassive-v0", kwargs), find_task("s7rl/TMazePassive-v0", kwargs, WRAPPERS)
    assert (wrapped.optimal_return, wrapped.memoryless_return, wrapped.wrappers) == (None, None, WRAPPERS)
    assert wrapped.random_return == plain.random_return
    assert (wrapped.episode_length, wrapped.memory_span) == (plain.episode_length, plain.memory_span)
    foreign = find_task("s7rl/TMazePassive-v0", kwargs, ("gymnasium.wrappers:OrderEnforcing",))
    assert (foreign.random_return, foreign.memory_span, foreign.optimal_return) == (None, None, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("CartPole-v1 --wrappers Fliker", "unknown wrapper 'Fliker'"),
        ("CartPole-v1 --wrappers PositionOnly VelocityOnly", "VelocityOnly"),
        ("s7rl/TMazePassive-v0 --wrappers Flicker(probability=2)", "probability"),
        ("CartPole-v1 --engine minigrid", "--engine minigrid is for environments of minigrid, and CartPole-v1 is none"),
        ("MiniGrid-DoorKey-5x5-v0 --engine minigrid", "switches off our engine, and MiniGrid-DoorKey-5x5-v0 has none"),
        ("MiniGrid-MemoryS7-v0 --engine minigrid --workers batched", "--workers batched is our engine, which"),
    ],
)
def test_what_does_not_fit_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "workers"),
    [("", "auto"), ("--engine minigrid", "single"), ("--engine minigrid --workers processes", "processes")],
)
def test_minigrid_itself_plays_where_its_engine_is_asked_for(words: str, workers: str) -> None:
    request = parse(["train", "MiniGrid-MemoryS7-v0", *words.split()])
    assert isinstance(request, TrainConfig)
    assert plan(request)[0].workers == workers
