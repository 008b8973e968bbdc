"""`s7rl evaluate --env` and `--env-kwargs`: an agent in another environment than that of its training.

Mutations seen to fail: --env-kwargs in place of all that the run had; the run's own environment played in spite of
--env; its batched engine asked for there, too; advice about the training; statistics loaded before the shapes of
observations are compared; what cannot be made blamed on the file.
"""

import json
from pathlib import Path

import pytest

from s7rl.experiments.agent_config import EvaluateConfig
from s7rl.experiments.cli import main
from s7rl.experiments.run_folder import open_run_folder
from s7rl.experiments.trained_agent import open_agent

TINY = ["--n-envs", "8", "--n-steps", "32", "--d-model", "16", "--d-state", "16", "--eval-episodes", "0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one rollout, in a corridor of five."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "--env-kwargs", "corridor_length=5", *TINY, "--steps", "256", "--out", str(folder)]) == 0
    return folder


def test_an_agent_plays_in_another_environment(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run), "--episodes", "20", "--actions", "deterministic"]
    capsys.readouterr()
    for name, options in {
        "longer": ["--env-kwargs", "corridor_length=9"],
        "by name": ["--env", "s7rl/TMazePassive-v0"],
    }.items():
        assert main([*words, *options, "--out", str(tmp_path / name)]) == 0
    said = capsys.readouterr().out
    assert "TMazePassive-v0 corridor_length=9" in said
    assert "memory yet" not in said
    longer, named = (json.loads((tmp_path / name).read_text()) for name in ("longer", "by name"))
    assert all(10 <= length <= 20 for length in longer["lengths"])
    assert (longer["env_id"], longer["env_kwargs"]) == ("s7rl/TMazePassive-v0", {"corridor_length": 9})
    # Named anew it has its own defaults, and nothing of the training's.
    assert named["env_kwargs"] == {}
    assert min(named["lengths"]) > 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--env CartPole-v1", "{checkpoint} cannot be used: Observation spaces do not match: the agent was trained on"),
        ("--env NoSuch-v0", "--env NoSuch-v0 cannot be used: unknown environment 'NoSuch-v0' (see"),
        (
            "--env CartPole-v1 --env-kwargs length=3",
            "--env CartPole-v1 --env-kwargs length=3 cannot be used: unknown keyword argument 'length'",
        ),
        ("--env-kwargs length=3", "--env-kwargs length=3 cannot be used: unknown keyword argument 'length'"),
    ],
)
def test_what_it_cannot_play_is_said_of_what_was_asked_for(
    options: str, said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(run), "--episodes", "2", *options.split()]) == 2
    assert capsys.readouterr().err.startswith("s7rl evaluate: " + said.format(checkpoint=run / "latest.zip"))


@pytest.mark.parametrize("env", ["CartPole-v1", "s7rl/RepeatPrevious-v0"])
def test_other_observations_are_not_taken_for_other_statistics(
    env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "normalized"
    assert main(["train", "s7rl/CartPolePositionOnly-v0", *TINY, "--steps", "256", "--out", str(folder)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--episodes", "2", "--env", env]) == 2
    assert "cannot be used: Observation spaces do not match: " in capsys.readouterr().err


def test_arguments_of_the_environment_join_those_of_the_training(run: Path) -> None:
    agent = open_agent(EvaluateConfig(run=str(run)), env_kwargs=("max_episode_steps=7",))
    assert agent.settings.env_kwargs == {"corridor_length": 5, "max_episode_steps": 7}


def test_another_environment_needs_no_batched_engine(run: Path) -> None:
    assert open_run_folder(str(run)).settings().workers == "batched"
    assert open_agent(EvaluateConfig(run=str(run)), "CartPole-v1").settings.workers == "auto"
