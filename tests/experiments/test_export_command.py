"""`s7rl export`, the folder that it writes to be shared, and the agents that come along.

Mutations seen to fail: a header that is no YAML where there is no score; an agent missing that the tests name;
a module run that lies in an agent's folder, as the module itself, in a package, of a wrapper, or found in the working
directory; one refused that lies beside it.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from s7rl.agents import RecurrentPPO, load_normalization, make_vec
from s7rl.agents.normalization import running_statistics
from s7rl.experiments import agent_folders
from s7rl.experiments.agent_config import EvaluateConfig
from s7rl.experiments.agent_folders import PRETRAINED, pretrained_agents
from s7rl.experiments.cli import main
from s7rl.experiments.errors import UsageError
from s7rl.experiments.trained_agent import open_agent

pytestmark = [
    pytest.mark.usefixtures("as_users_run_it"),
    pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning"),
]
TINY = ["--n-envs", "4", "--n-steps", "32", "--d-model", "8", "--d-state", "8", "--eval-episodes", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one rollout, its observations scaled."""
    folder: Path = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "s7rl/CartPolePositionOnly-v0", *TINY, "--steps", "128", "--out", str(folder)]
    assert main(words) == 0
    return folder


@pytest.fixture
def shared(run: Path, tmp_path: Path) -> Path:
    """The folder to share."""
    assert main(["export", str(run), "--format", "folder", "--out", str(tmp_path / "my-agent")]) == 0
    return tmp_path / "my-agent"


def test_a_shared_folder_holds_the_agent_and_no_moments_of_its_optimiser(run: Path, shared: Path) -> None:
    assert {path.name for path in shared.iterdir()} == {
        "README.md",
        "config.json",
        "run.json",
        "evaluation.json",
        "policy.safetensors",
        "normalization.safetensors",
    }
    trained, loaded = RecurrentPPO.load(run / "latest.zip"), RecurrentPPO.load(shared)
    for (name, wanted), found in zip(
        trained.policy.state_dict().items(), loaded.policy.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0, msg=name)
    assert loaded.num_timesteps == 128
    assert not loaded.policy.optimizer.state_dict()["state"]
    loaded.set_env(make_vec("s7rl/CartPolePositionOnly-v0", 4, 0))
    loaded.learn(128)  # it goes on learning
    scaled: Any = load_normalization(shared, make_vec("s7rl/CartPolePositionOnly-v0", 1, 0))
    of_run: Any = load_normalization(run / "latest.zip", make_vec("s7rl/CartPolePositionOnly-v0", 1, 0))
    for name, statistics in running_statistics(of_run).items():
        np.testing.assert_array_equal(running_statistics(scaled)[name].mean, statistics.mean)
        np.testing.assert_array_equal(running_statistics(scaled)[name].var, statistics.var)


def test_its_card_has_the_header_of_the_hub_with_the_score_and_the_command(run: Path, shared: Path) -> None:
    _, header, text = (shared / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(header)
    assert card["library_name"] == "s7rl"
    assert "reinforcement-learning" in card["tags"]
    (model,) = card["model-index"]
    assert model["name"] == "my-agent"
    (result,) = model["results"]
    evaluation = json.loads((run / "evaluation.json").read_text())
    metric, success = result["metrics"]
    assert metric["type"] == "mean_reward"
    assert success["value"] == evaluation["success_rate"]
    assert metric["value"] == f"{evaluation['mean_return']:.3f} +/- {evaluation['standard_error']:.3f}"
    assert result["dataset"]["type"] == "s7rl/CartPolePositionOnly-v0"
    assert f"{evaluation['mean_return']:.3f}" in text
    assert " ".join(json.loads((run / "config.json").read_text())["command"]) in text
    (code,) = text.split("```python\n")[1:]
    script = code.split("```")[0].replace('"my-agent"', repr(str(shared)))
    exec(compile(script, "README.md", "exec"), {})


def test_other_commands_take_it_as_a_run(
    run: Path, shared: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scores = []
    for name in (run, shared):
        out = tmp_path / f"{name.name}.json"
        assert main(["evaluate", str(name), "--episodes", "2", "--actions", "deterministic", "--out", str(out)]) == 0
        scores.append(json.loads(out.read_text())["returns"])
    assert scores[0] == scores[1]
    assert main(["export", str(shared), "--format", "folder", "--out", "again"]) == 0
    again = Path("again")
    for path in shared.iterdir():
        if path.name != "README.md":
            assert path.read_bytes() == (again / path.name).read_bytes()
    capsys.readouterr()
    assert main(["evaluate", str(shared), "--checkpoint", "best"]) == 2
    assert "it holds one agent; leave out --checkpoint" in capsys.readouterr().err


def test_the_card_of_the_best_agent_does_not_claim_the_score_of_the_last(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.copy(copy / "latest.zip", copy / "best.zip")
    out = tmp_path / "best"
    assert main(["export", str(copy), "--format", "folder", "--checkpoint", "best", "--out", str(out)]) == 0
    card = (out / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n", 2)[1])["model-index"][0]["results"] == []
    assert "Not evaluated." in card
    assert not (out / "evaluation.json").exists()


def test_a_file_is_named_after_the_run_and_what_goes_in_and_out_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["export", str(run), "--format", "torchscript"]) == 0
    said = capsys.readouterr().out
    assert "written: run.pt" in said
    assert "in  observation [B, 2] float32" in said
    assert "in  noise [B, 2] float32" in said
    assert "out action [B] int64" in said
    assert "--format pt2" in said
    facts: dict[str, Any] = {"task": "", "noise": ""}
    torch.jit.load("run.pt", _extra_files=facts)
    assert facts == {"task": b"s7rl/CartPolePositionOnly-v0", "noise": b"gumbel"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("RUN --format torchscript --out there.pt", "--out there.pt exists already"),
        ("RUN --format torchscript --out no/agent.pt", "--out no/agent.pt lies in a folder that does not exist"),
        ("RUN --format folder --out folder", "--out folder exists already"),
        ("RUN --format pt2 --out a.pt", "--format is pt2, but --out a.pt is named as a file of torchscript: leave out"),
        ("RUN --format folder --out a.onnx", "--format is folder, but --out a.onnx is named as a file of onnx"),
        ("no-such-run", "RUN no-such-run does not exist"),
        ("pretrained:repeat-previos", "there is no pretrained agent 'repeat-previos'; did you mean repeat-previous?"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    words: str,
    message: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.pt").touch()
    Path("folder").mkdir()
    capsys.readouterr()
    assert main(["export", *[str(run) if word == "RUN" else word for word in words.split()]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_without_onnxscript_the_command_says_what_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", str(run)]) == 2
    error = capsys.readouterr().err
    assert "pip install 's7rl[onnx]', or take a format that needs nothing: torchscript, pt2 or, with" in error
    assert main(["export", str(run), "--out", "other.pt"]) == 0  # by its suffix
    assert torch.jit.load("other.pt")


def test_agents_that_come_along_are_small_and_as_good_as_their_cards_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(pretrained_agents()) >= {"cartpole-position-only", "repeat-previous", "tmaze-500"}
    for name, folder in pretrained_agents().items():
        size = sum(path.stat().st_size for path in folder.path.iterdir())
        assert size < 300_000, f"{name} has {size} bytes"
        card = (folder.path / "README.md").read_text()
        assert f"    {' '.join(folder.command)}\n" in card
    monkeypatch.chdir(tmp_path)
    words = "evaluate pretrained:cartpole-position-only --episodes 5 --actions deterministic --out scores.json"
    assert main(words.split()) == 0
    assert json.loads(Path("scores.json").read_text())["mean_return"] > 450


def test_the_list_of_them_has_their_tasks_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "pretrained", "--text", "repeat"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split("\t") == ["agent", "steps", "return", "success", "its task", "its command"]
    (line,) = lines
    name, _, mean, success, task, command = line.split("\t")
    assert name == "pretrained:repeat-previous"
    assert float(mean) > 0.9
    assert 0 <= float(success) <= 1
    assert task == "s7rl/RepeatPrevious-v0"
    assert command.startswith("s7rl train s7rl/RepeatPrevious-v0")


def test_what_is_made_of_an_agent_that_comes_along_is_written_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in PRETRAINED.rglob("*")}
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "pretrained:cartpole-position-only", "--episodes", "2"]) == 0
    assert Path("cartpole-position-only", "inspection.html").is_file()
    assert main(["export", "pretrained:cartpole-position-only", "--format", "torchscript"]) == 0
    assert Path("cartpole-position-only.pt").is_file()
    assert {path: path.stat().st_mtime_ns for path in PRETRAINED.rglob("*")} == before


def test_a_folder_of_another_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text("{}")
    assert agent_folders.ExportedFolder(tmp_path / "mine").latest == tmp_path / "mine"
    assert main(["export", str(tmp_path / "mine"), "--format", "torchscript"]) == 2
    assert "is not a run folder, its run.json is not of one" in capsys.readouterr().err


def test_an_agent_is_loaded_from_the_working_directory(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails where "." gets a suffix.
    monkeypatch.chdir(shared)
    assert RecurrentPPO.load(".").num_timesteps == 128


@pytest.mark.parametrize(
    ("command", "change", "where", "named"),
    [
        ("watch", {"env_id": "lurking:CartPole-v1"}, "downloads/one", "."),
        ("evaluate", {"env_id": "lurking:CartPole-v1"}, "downloads", "one"),
        ("inspect", {"env_id": "one.lurking:CartPole-v1"}, "downloads", "one"),
        ("watch", {"env_id": "downloads.one.lurking:CartPole-v1"}, ".", "downloads/one"),
        ("watch", {"env_id": "one.odd(:CartPole-v1"}, "downloads", "one"),
        ("watch", {"wrappers": ["lurking:Wrapper(number=1)"]}, "downloads/one", "."),
        ("watch", {"wrappers": [" one.lurking:Plain"]}, "downloads", "one"),
    ],
)
def test_nothing_that_lies_in_an_agents_folder_is_run(
    command: str,
    change: dict[str, Any],
    where: str,
    named: str,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "downloads" / "one"
    shutil.copytree(shared, folder)
    for module in ("lurking.py", "odd(.py"):
        (folder / module).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((folder / "run.json").read_text())
    config["settings"] |= change
    (folder / "run.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path / where)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    assert main([command, named]) == 2
    assert not (tmp_path / "ran").exists()
    (name,) = change["wrappers"] if "wrappers" in change else change.values()
    name = name.strip()
    said = capsys.readouterr().err
    if named == ".":
        return  # Python does not look there at all: there is no such module
    assert said == (
        f"s7rl {command}: {name} is of a module that lies in the agent's own folder {Path(named)}, of which nothing is "
        "run: if you trust it, move the module out of there and into the working directory\n"
    )


def test_nor_is_what_another_environment_names_there(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shared / "lurking.py").write_text("raise AssertionError")
    monkeypatch.setattr(sys, "path", [*sys.path, str(shared)])
    with pytest.raises(UsageError, match="lies in the agent's own folder"):
        open_agent(EvaluateConfig(run=str(shared)), "lurking:CartPole-v1")


def test_a_module_that_is_a_link_lies_in_the_agents_folder_too_and_an_environment_of_python_may(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.py").touch()
    (shared / "linked.py").symlink_to(tmp_path / "elsewhere.py")
    (shared / "venv").mkdir()
    (shared / "venv" / "installed.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(shared), str(shared / "venv")])
    folder = agent_folders.open_agent_folder(str(shared))
    settings = replace(folder.settings(), env_id="linked:Maze-v0")
    with pytest.raises(UsageError, match="lies in the agent's own folder"):
        agent_folders.check_holds_no_code(folder, settings)
    monkeypatch.setattr(sys, "prefix", str(shared / "venv"))
    agent_folders.check_holds_no_code(folder, replace(settings, env_id="installed:Maze-v0"))


def test_code_is_found_in_the_working_directory_but_not_where_that_is_the_agents_folder(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--episodes", "1", "--actions", "deterministic"]
    paths = list(sys.path)
    monkeypatch.setattr(sys, "path", paths)
    monkeypatch.chdir(shared)
    assert main([*words, "."]) == 0
    assert str(shared) not in paths
    config = json.loads((shared / "run.json").read_text())
    config["settings"]["wrappers"] = ["beside_the_agent:Plain"]
    (shared / "run.json").write_text(json.dumps(config))
    monkeypatch.chdir(shared.parent)
    (shared.parent / "beside_the_agent.py").write_text("from gymnasium import Wrapper as Plain")
    assert main([*words, shared.name]) == 0
    assert paths[-1] == str(shared.parent)
