"""Presets in files: what is written is read as words of the command line, and what is given beside them wins.

Mutations seen to fail: a table before other options; the pairs of a table without their names; a preset in a preset
let through; a date; texts written as JSON writes them; the preset's words behind those beside it; nothing between a
list and the environment; an error that does not name the file; a preset of `s7rl tune` not read.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s7rl.experiments.cli import main
from s7rl.experiments.command_line import parse
from s7rl.experiments.config import NetworkOptions, PPOOptions, TrainConfig, TuneConfig
from s7rl.experiments.preset_files import preset_words, write_preset
from s7rl.experiments.toml_files import read_toml

OPTIONS = {
    "core_kwargs": {"horizon": [2.0, 50.0], "selectivity": "low_rank", "learn_angles": True},
    "agent": "s7-small",
    "learning_rate": 1e-05,
    "gamma": 0.75,
    "n_epochs": 7,
    "anneal": False,
    "wrappers": ["Flicker(probability=0.5)", "PreviousActionReward"],
}


@pytest.fixture
def preset(tmp_path: Path) -> str:
    write_preset(tmp_path / "best.toml", OPTIONS, "a comment")
    return str(tmp_path / "best.toml")


def test_what_is_written_is_what_is_asked_for(preset: str) -> None:
    assert Path(preset).read_text().startswith("# a comment\n")
    assert parse(["train", "CartPole-v1", "--preset", preset]) == TrainConfig(
        env="CartPole-v1",
        preset=preset,
        agent="s7-small",
        wrappers=("Flicker(probability=0.5)", "PreviousActionReward"),
        ppo=PPOOptions(learning_rate=1e-05, gamma=0.75, n_epochs=7, anneal=False),
        network=NetworkOptions(core_kwargs=("horizon=[2.0, 50.0]", "selectivity=low_rank", "learn_angles=True")),
    )


@pytest.mark.parametrize(
    "words",
    [
        "--preset FILE --agent gru --gamma 0.5 CartPole-v1",
        "--agent gru --gamma 0.5 CartPole-v1 --preset FILE",
    ],
)
def test_what_is_given_beside_it_wins_wherever_it_stands(words: str, preset: str) -> None:
    request = parse(["train", *words.replace("FILE", preset).split()])
    assert isinstance(request, TrainConfig)
    assert (request.env, request.agent, request.ppo.gamma, request.ppo.n_epochs) == (
        "CartPole-v1",
        "gru",
        0.5,
        7,
    )


def test_pairs_that_are_given_beside_it_win_one_by_one(preset: str) -> None:
    # Seen to fail it: what is given in place of the whole table; the preset's pairs behind the given ones, or for an
    # agent whose core does not take them.
    request = parse(["train", "CartPole-v1", "--preset", preset, "--core-kwargs", "selectivity=none", "rotation=0"])
    assert isinstance(request, TrainConfig)
    assert request.network.core_kwargs == (
        "horizon=[2.0, 50.0]",
        "learn_angles=True",
        "selectivity=none",
        "rotation=0",
    )
    request = parse(["train", "CartPole-v1", "--preset", preset, "--agent", "stack", "--core-kwargs", "n_frames=8"])
    assert isinstance(request, TrainConfig)
    assert request.network.core_kwargs == ("n_frames=8",)


def test_an_environment_is_no_part_of_a_list_before_it(tmp_path: Path) -> None:
    write_preset(tmp_path / "lists.toml", {"env_kwargs": {"corridor_length": 5}}, "")
    request = parse(["tune", "s7rl/TMazePassive-v0", "--preset", str(tmp_path / "lists.toml")])
    assert isinstance(request, TuneConfig)
    assert (request.env, request.env_kwargs) == ("s7rl/TMazePassive-v0", ("corridor_length=5",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agent = ", "is not TOML: "),
        (
            "learning_rat = 1",
            "there is no option --learning-rat; did you mean --learning-rate? (see `s7rl tra",
        ),
        ("n_epochs = 1.5", "'1.5' is not a whole number"),
        ('out = "x"', "out is of one run, not of a preset: give it on the command line"),
        ('preset = "x"', "preset is of one run, not of a preset: give it on the command line"),
        ("steps = 2020-01-01", "steps = 2020-01-01 is no value of an option: give a text or a number"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_file(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "preset.toml"
    file.write_text(text)
    assert main(["train", "--preset", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"s7rl train: --preset {file}")
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--preset", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err.endswith("none.toml cannot be read: No such file or directory\n")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_as_it_was_written(text: str) -> None:
    with TemporaryDirectory() as folder:
        write_preset(Path(folder) / "best.toml", {"core_kwargs": {"name": text}, "agent": text}, "")
        assert read_toml(Path(folder) / "best.toml", "") == {"core_kwargs": {"name": text}, "agent": text}


def test_words_keep_the_order_of_the_file(preset: str) -> None:
    assert preset_words(Path(preset))[:4] == ["--agent", "s7-small", "--learning-rate", "1e-05"]
