"""How words become values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s7rl.experiments.arguments import read_assignments, real_number, whole_number, write_assignments
from s7rl.experiments.errors import UsageError


@pytest.mark.parametrize(("word", "value"), [("7", 7), ("-3", -3), ("1e6", 10**6), ("2_000", 2000), ("5.0", 5)])
def test_whole_numbers_come_in_several_spellings(word: str, value: int) -> None:
    number = whole_number(word)
    assert number == value
    assert isinstance(number, int)


def test_large_whole_numbers_keep_every_digit() -> None:
    assert whole_number("9007199254740993") == 2**53 + 1


@pytest.mark.parametrize("word", ["x", "1.5", "", "nan", "inf"])
def test_what_is_not_a_whole_number_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"^'{word}' is not a whole number$"):
        whole_number(word)


@pytest.mark.parametrize("word", ["x", "nan", "inf", "-inf", ""])
def test_what_is_not_a_finite_number_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"^'{word}' is not a number$"):
        real_number(word)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500", 500),
        ("0.5", 0.5),
        ("true", True),
        ("False", False),
        ("none-of-these", "none-of-these"),
        ("2,500", (2, 500)),
        ("[2, 500]", (2, 500)),
        ("'7'", "7"),
        ("a=b", "a=b"),
    ],
)
def test_values_are_literals_where_they_can_be(text: str, value: Any) -> None:
    read = read_assignments("--env-kwargs", [f"name={text}"])
    assert read == {"name": value}
    assert type(read["name"]) is type(value)


@pytest.mark.parametrize("word", ["corridor_length", "=3", "corridor length=3", "corridor_length="])
def test_what_is_not_an_assignment_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=f"--env-kwargs '{word}' is not name=value"):
        read_assignments("--env-kwargs", [word])


def test_a_name_comes_once() -> None:
    with pytest.raises(UsageError, match="--env-kwargs names 'a' twice"):
        read_assignments("--env-kwargs", ["a=1", "a=2"])


@given(
    st.dictionaries(
        st.from_regex("[a-z_]{1,8}", fullmatch=True),
        st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_written_assignments_are_read_as_they_were(values: dict[str, Any]) -> None:
    words = write_assignments(values).split(" ") if values else []
    assert read_assignments("--env-kwargs", words) == values
