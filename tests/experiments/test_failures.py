"""An environment that fails ends a run with its own traceback, one line, and a checkpoint to go on from.

Mutations seen to fail: an error of a loop or an engine let through; one of ours taken for an environment's; the
traceback not printed; the settings without what "auto" came to; --worker-timeout not handed on; the environments of a
run that failed left open; the one made beforehand always, or never, in a worker; its limit lost; its WorkerError let
through; an error of ours taken for one of a trained agent or its task, or for a want of memory; any spaces good enough
for a trained agent; those that are not left open.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from s7rl.agents import BatchedVecEnv, RecurrentPPO, WorkerVecEnv, make_vec
from s7rl.envs import make_batched
from s7rl.experiments.building import build
from s7rl.experiments.cli import main
from s7rl.experiments.errors import TrainingError, UsageError
from s7rl.experiments.failures import environment_failures
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.run_folder import open_run_folder
from s7rl.experiments.settings import RunSettings

TINY = [
    "--n-envs",
    "2",
    "--n-steps",
    "16",
    "--d-model",
    "8",
    "--d-state",
    "8",
    "--steps",
    "128",
    "--eval-episodes",
    "2",
]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    gym.register("tests/Hopeless-v0", "tests.agents.troubled:Hopeless")
    gym.register("tests/Hapless-v0", "tests.agents.troubled:Troubled", max_episode_steps=3)


@pytest.mark.parametrize(
    ("workers", "text"),
    [
        ("loop", "environment 0 raised ValueError: the door is stuck"),
        ("processes", "environment 0 (seeded with 0) raised ValueError in step 1 of its episode 14: the door is stuck"),
    ],
)
def test_a_run_ends_with_a_traceback_a_line_and_a_checkpoint_to_resume_from(
    workers: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, key = tmp_path / "run", tmp_path / "key"
    words = ["train", "tests/Hopeless-v0", *TINY, "--workers", workers, "--out", str(run)]
    assert main([*words, "--env-kwargs", f"key={key}"]) == 1
    *details, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"s7rl train: {text}")
    assert line.endswith(f" resume {run}")
    assert f"the last checkpoint is {run / 'latest.zip'}" in line
    assert details[0].startswith("Traceback")
    assert details[-2:] == ["ValueError: the door", "is stuck"]
    assert not any(name in "".join(details) for name in ("ppo.py", "dummy_vec_env.py", "worker_process.py"))
    key.touch()
    assert main(["resume", str(run), "--eval-episodes", "2"]) == 0
    assert json.loads((run / "evaluation.json").read_text())["episodes"] == 2


@pytest.mark.parametrize(
    ("trouble", "text"), [("raise", "ValueError: the door is stuck"), ("SystemExit", "SystemExit")]
)
def test_what_fails_at_the_first_reset_leaves_no_checkpoint_to_speak_of(
    trouble: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gym.registry.pop("tests/Locked-v0", None)
    gym.register("tests/Locked-v0", "tests.agents.troubled:Troubled")
    words = ["train", "tests/Locked-v0", *TINY, "--workers", "loop", "--out", str(tmp_path / "run")]
    assert main([*words, "--env-kwargs", f"trouble={trouble}", "where=reset", "at=1"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"s7rl train: environment 0 raised {text}")
    assert re.search(rf"; nothing had been learned yet, to begin: \S+ resume {tmp_path / 'run'}$", line)


def test_the_run_says_and_keeps_what_auto_came_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", *TINY, "--env-kwargs", "corridor_length=3", "--out", str(run)]) == 0
    assert "envs     2 side by side, batched engine\n" in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())["settings"]["workers"] == "batched"


def test_an_evaluation_uses_the_same_workers_and_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []

    def noted(env_id: str, n_envs: int, seed: int, env_kwargs: Any, **options: Any) -> Any:
        seen.append((options["workers"], options["timeout"]))
        return make_vec(env_id, n_envs, seed, env_kwargs, **options)

    monkeypatch.setattr("s7rl.experiments.building.make_vec", noted)
    words = ["train", *TINY, "--env-kwargs", "corridor_length=3", "--workers", "loop", "--worker-timeout", "0"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "1", "--actions", "deterministic"]) == 0
    assert seen == [("loop", None)] * 3


@pytest.mark.parametrize(
    ("trouble", "seconds", "text"),
    [
        ("busy", 1, "environment 0 did not answer `make` within 1 s: give the workers a longer time-out, or none ("),
        ("exit", 100, "the worker of environment 0 ended with exit code 7 when it was asked to `make`"),
    ],
)
def test_the_environment_that_is_made_beforehand_cannot_hang_or_take_the_program_with_it(
    trouble: str, seconds: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", "tests/Hapless-v0", *TINY, "--steps", "32", "--eval-episodes", "0", "--out", str(run)]
    assert main([*words, "--workers", "loop", "--env-kwargs", "trouble=none"]) == 0
    # It has got worse since.
    config = json.loads((run / "config.json").read_text())
    config["settings"]["env_kwargs"] = {"trouble": trouble, "where": "constructor"}
    config["settings"]["worker_timeout"] = seconds
    (run / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    again = ["train", "tests/Hapless-v0", "--env-kwargs", f"trouble={trouble}", "where=constructor"]
    for command in ([*again, "--worker-timeout", str(seconds)], ["resume", str(run)], ["evaluate", str(run)]):
        assert main(command) == 1
        assert capsys.readouterr().err.startswith(f"s7rl {command[0]}: {text}")


def test_no_worker_makes_ours_or_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("s7rl.agents.vectorization.in_processes", fail)
    kwargs = {"trouble": "none"}
    with pytest.raises(AssertionError):
        task_of_run("tests/Hapless-v0", kwargs, (), 1)
    assert task_of_run("tests/Hapless-v0", kwargs, (), 0).episode_length == 3
    assert task_of_run("s7rl/TMazePassive-v0", {"corridor_length": 7}, (), 1).memory_span == 7


def test_a_limit_is_read_in_a_worker_as_well() -> None:
    assert task_of_run("tests/Hapless-v0", {"trouble": "none"}, (), 60).episode_length == 3


def test_an_environment_that_cannot_say_what_it_is_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seen to fail it: the text of what it raised taken for an answer.
    monkeypatch.setattr(WorkerVecEnv, "ask", lambda *question: ["AttributeError: max_steps"])
    task = task_of_run("tests/Hapless-v0", {"trouble": "none"}, (), 60)
    assert (task.episode_length, task.shows_numbers) == (None, None)


def test_a_constructor_that_dies_ends_training_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command makes one before, to see what it is.
    monkeypatch.setenv("S7RL_TROUBLE_ONLY_IN_WORKERS", str(os.getpid()))
    kwargs = {"trouble": "exit", "where": "constructor"}
    gym.register("tests/Stillborn-v0", "tests.agents.troubled:Troubled", kwargs=kwargs)
    run = tmp_path / "run"
    assert main(["train", "tests/Stillborn-v0", *TINY, "--workers", "processes", "--out", str(run)]) == 1
    error = capsys.readouterr().err
    assert error.endswith("ended with exit code 7 when it was asked to `make`\n")
    assert error.count("\n") == 1, "what died left no traceback"
    assert not run.exists()


def test_a_negative_time_out_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--worker-timeout", "-1"]) == 2
    assert "--worker-timeout -1 must not be negative; 0 waits for ever" in capsys.readouterr().err


def test_an_error_in_a_batched_engine_is_the_environments_and_one_elsewhere_is_not() -> None:
    env = BatchedVecEnv(make_batched("s7rl/TMazePassive-v0", 2))
    env.reset()
    with (
        pytest.raises(TrainingError, match=r"^the environment raised \w+: .*; all is lost$") as caught,
        environment_failures(lambda: "all is lost"),
    ):
        env.step(np.array([["up"], ["down"]]))
    assert caught.value.details.startswith("Traceback")
    with pytest.raises(ZeroDivisionError), environment_failures(lambda: "all is lost"):
        _ = 1 / 0


def test_the_environments_of_a_run_that_failed_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def noted(settings: RunSettings) -> Any:
        made.append(build(settings))
        return made[-1]

    monkeypatch.setattr("s7rl.experiments.train.build", noted)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RecurrentPPO, "learn", fail)
    words = ["train", "CartPole-v1", *TINY, "--workers", "processes", "--out", str(tmp_path / "run")]
    with pytest.raises(ZeroDivisionError):
        main(words)
    assert all(process.poll() is not None for process in made[0][1].unwrapped.processes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", *TINY, "--steps", "32", "--eval-episodes", "0", "--env-kwargs", "corridor_length=3"]
    assert main([*words, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    ("command", "part"),
    [("evaluate", "evaluate.evaluate_agent"), ("watch", "watch.moments"), ("inspect", "inspection.command.record")],
)
def test_an_error_of_ours_is_not_said_to_be_one_of_the_agent(
    command: str, part: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ValueError("a mistake in s7rl")

    monkeypatch.setattr(f"s7rl.experiments.{part}", fail)
    with pytest.raises(ValueError, match="a mistake in s7rl"):
        main([command, str(trained)])


class AllowingNothing(gym.Env[Any, Any]):
    """After two steps no action is allowed any more."""

    observation_space = gym.spaces.Discrete(3)
    action_space = gym.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.steps = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return 1, 0.0, self.steps == int(os.environ["STEPS"]), False, {}

    def action_masks(self) -> np.ndarray:
        return np.array([self.steps < 2, False])


def test_what_contradicts_an_environments_masks_while_it_is_played_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(
        gym.registry, "Nothing-v0", gym.envs.registration.EnvSpec("Nothing-v0", lambda **_: AllowingNothing())
    )
    words = ["train", "Nothing-v0", "--n-envs", "2", "--n-steps", "8", "--batch-size", "16", "--steps", "32"]
    words += ["--workers", "loop", "--worker-timeout", "0"]  # to start processes would take most of the time
    monkeypatch.setenv("STEPS", "2")
    assert main([*words, "--eval-episodes", "0", "--out", "run"]) == 0
    monkeypatch.setenv("STEPS", "5")
    for command in (["evaluate", "run"], ["watch", "run"], ["inspect", "run"], words):
        capsys.readouterr()
        assert main(command) == 1
        said = capsys.readouterr().err
        assert re.search(r"^s7rl \w+: action_masks of environment 0 allow no action: allow at least one", said)
        assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["evaluate", "watch", "inspect"])
def test_an_agent_that_was_trained_in_an_environment_of_other_spaces_is_refused_in_one_line(
    command: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[VecEnv] = []
    for kind in (BatchedVecEnv, DummyVecEnv):
        monkeypatch.setattr(kind, "close", lambda env: closed.append(env))
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    config = json.loads((run / "config.json").read_text())
    config["settings"] |= {"env_id": "s7rl/CartPolePositionOnly-v0", "env_kwargs": {}}
    (run / "config.json").write_text(json.dumps(config))
    assert main([command, str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"s7rl {command}: {run / 'latest.zip'} cannot be used: Observation spaces do not match: ")
    assert said.count("\n") == 1
    assert len(closed) == 1


@pytest.mark.parametrize("part", ["RecurrentPPO", "make_vec"])
def test_only_a_want_of_memory_is_said_to_be_one(part: str, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = open_run_folder(str(trained)).settings()
    raised: list[Exception] = []

    def fail(*arguments: Any, **options: Any) -> None:
        raise raised[-1]

    monkeypatch.setattr(f"s7rl.experiments.building.{part}", fail)
    for error in (
        MemoryError("no room"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ):
        raised.append(error)
        with pytest.raises(UsageError) as refusal:
            build(settings)
        assert str(refusal.value) == (
            f"that does not fit this machine's memory ({type(error).__name__}: {error}): give a smaller --n-steps, "
            "--n-envs or --d-model"
        )
    raised.append(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        build(settings)


@pytest.mark.parametrize(
    "said", ["[enforce fail at alloc_cpu.cpp:127] err == 0", "DefaultCPUAllocator: not enough memory"]
)
def test_a_rollout_that_does_not_fit_the_memory_is_one_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("s7rl.agents.rollout_buffer._zeros", fail)
    words = ["train", *TINY, "--env-kwargs", "corridor_length=3", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"s7rl train: that does not fit this machine's memory (RuntimeError: {said}): give a smaller --n-steps, "
        "--n-envs or --d-model\n"
    )
