"""`s7rl list envs`: every suite has settings, and the filters keep what they say.

Mutations that were tried: the filter by suite left out, the one by text case-sensitive.
"""

from __future__ import annotations

import pytest

from s7rl.envs.registry import SUITES as ENVIRONMENTS
from s7rl.experiments.cli import main
from s7rl.experiments.presets import SUITES


def test_every_suite_of_environments_has_settings_to_learn_with() -> None:
    assert {suite.name for suite in ENVIRONMENTS} | {"gymnasium"} == set(SUITES)


def test_the_filters_keep_what_belongs_to_the_suite_and_has_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "envs", "--suite", "memory", "--text", "tmaze"]) == 0
    output = capsys.readouterr().out
    assert "s7rl/TMazePassive-v0" in output
    assert "s7rl/TMazeActive-v0" in output
    assert "s7rl/Needle-v0" not in output
    assert "popgym-RepeatFirst" not in output
    assert "batched" in output


def test_an_agent_is_found_by_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "agents", "--text", "ANCESTOR"]) == 0
    output = capsys.readouterr().out
    assert "s5" in output
    assert "lstm" not in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("envs --suite memry", "there is no suite 'memry'; did you mean memory?"),
        ("agents --suite memory", "leave it out"),
    ],
)
def test_a_wrong_filter_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
