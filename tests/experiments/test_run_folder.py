"""A run folder is recognised, replaced file by file, and never overwritten; its log is read while it is written.

Mutations seen to fail: settings of an agent that is not known let through, or one that is no name looked up in a dict.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s7rl.envs import find_task
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.run_folder import STEPS, RunFolder, create_run_folder, open_run_folder, write_json
from s7rl.experiments.settings import RunSettings, settings_for


@pytest.fixture
def settings() -> RunSettings:
    return settings_for(find_task("s7rl/TMazePassive-v0"), AGENTS["s7"], TrainConfig(env_kwargs=("corridor_length=7",)))


@pytest.fixture
def folder(settings: RunSettings, tmp_path: Path) -> RunFolder:
    return create_run_folder(settings, ["s7rl", "train"], out=str(tmp_path / "run"), runs="unused")


def test_settings_are_read_back_as_they_were_written(folder: RunFolder, settings: RunSettings) -> None:
    read = open_run_folder(str(folder.path)).settings()
    # JSON has no tuples; everything else is the same.
    assert json.dumps(vars(read)) == json.dumps(vars(settings))


def test_the_config_says_what_made_the_run(folder: RunFolder) -> None:
    config = json.loads(folder.config.read_text())
    assert config["command"] == ["s7rl", "train"]
    assert {"s7rl", "torch", "python"} <= set(config["versions"])
    assert "unknown" not in config["versions"].values()


def test_an_unnamed_run_is_named_after_task_agent_and_seed(settings: RunSettings, tmp_path: Path) -> None:
    made = [create_run_folder(settings, [], out=None, runs=str(tmp_path / "runs")) for _ in range(3)]
    assert len({folder.path for folder in made}) == 3
    assert all(folder.path.name.startswith("TMazePassive-v0-s7-seed0-20") for folder in made)


def test_nothing_that_exists_is_overwritten(folder: RunFolder, settings: RunSettings) -> None:
    before = folder.config.read_bytes()
    with pytest.raises(UsageError, match=r"--out .*run exists already, and nothing is overwritten"):
        create_run_folder(settings, [], out=str(folder.path), runs="unused")
    assert folder.config.read_bytes() == before


def test_a_file_is_whole_or_as_it_was(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder.config.read_bytes()

    def fail(*paths: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("s7rl.files.os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_json(folder.config, {"half": "written"})
    assert folder.config.read_bytes() == before
    assert [path.name for path in folder.path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run folder, it has no config.json"),
        ("{", "cannot be read as JSON"),
        ("[]", "is not a run folder, its config.json is not of one"),
        ('{"format": "other"}', "is not a run folder, its config.json is not of one"),
        ('{"format": "s7rl-run", "format_version": 99}', "has format 99, this s7rl reads 1"),
    ],
)
def test_a_folder_that_is_no_run_folder_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        open_run_folder(str(tmp_path))


def test_a_run_of_before_there_was_an_option_has_its_default(folder: RunFolder, settings: RunSettings) -> None:
    config = json.loads(folder.config.read_text())
    del config["settings"]["stop_return"]
    folder.config.write_text(json.dumps(config))
    assert folder.settings() == replace(settings, stop_return=None)
    del config["settings"]["gamma"]
    folder.config.write_text(json.dumps(config))
    with pytest.raises(UsageError, match="another version"):
        folder.settings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": -1}, r"config\.json cannot be used: --n-steps -1 must be at least 2"),
        ({"surprise": 1}, r"config\.json was written by another version of s7rl"),
        (
            {"agent": "s8"},
            r"config\.json names an agent 's8', which this s7rl does not have: use the s7rl that made it",
        ),
        ({"agent": ["s7"]}, r"config\.json names an agent \['s7'\], which"),
        ({"env_id": None}, r"config\.json names an environment or a wrapper by what is no text"),
        ({"wrappers": [1]}, r"config\.json names an environment or a wrapper by what is no text"),
    ],
)
def test_settings_that_were_tampered_with_are_refused(folder: RunFolder, change: dict[str, Any], message: str) -> None:
    config = json.loads(folder.config.read_text())
    config["settings"] |= change
    folder.config.write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message):
        folder.settings()


@pytest.mark.parametrize(
    ("log", "steps"),
    [
        (None, 0),
        ("", 0),
        (f"time/fps,{STEPS}\n", 0),
        (f"time/fps,{STEPS}\n7,128\n", 128),
        (f'time/fps,"a, b",{STEPS}\n7,,128\n8,"x, y",256\n', 256),
        (f"time/fps,{STEPS}\n7,128\n8,25", 128),
        (f"time/fps,{STEPS}\n7,128\n8", 128),
        (f"time/fps,{STEPS}\n8,25", 0),
        (f"time/fps,{STEPS}\n7,\n", 0),
        ("time/fps,ti", 0),
        (f"{STEPS}\n12.0\n", 12),
        (f"{STEPS}\nabc\n", 0),
    ],
)
def test_steps_are_read_from_a_log_that_is_being_written(folder: RunFolder, log: str | None, steps: int) -> None:
    if log is not None:
        folder.progress.write_text(log)
    assert folder.steps_done == steps
