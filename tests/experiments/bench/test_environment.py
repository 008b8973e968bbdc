"""A variable of the environment that is set for a while."""

import os

import pytest

from s7rl.experiments.bench.environment import environment_variable

NAME = "S7RL_TEST_VARIABLE"


@pytest.mark.parametrize("before", [None, "", "old"])
def test_a_variable_is_left_as_it_was_found_after_an_error_too(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv(NAME, raising=False)
    else:
        monkeypatch.setenv(NAME, before)
    seen = []

    def fail() -> None:
        with environment_variable(NAME, "new"):
            seen.append(os.environ[NAME])
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert seen == ["new"]
    assert os.environ.get(NAME) == before
