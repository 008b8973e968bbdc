"""Numbers as a reader wants them.

Mutations seen to fail: zeros at the end left out; an exponent; a unit chosen before rounding.
"""

import pytest

from s7rl.experiments.wording import compact, number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.00001234, "0.0000123"),
        (0.01, "0.0100"),
        (0.3, "0.300"),
        (0.5, "0.500"),
        (0.99951, "1.00"),
        (1.234, "1.23"),
        (12.0, "12.0"),
        (99.94, "99.9"),
        (99.96, "100"),
        (123.4, "123"),
        (12_345.0, "12,300"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (847.0, "850"),
        (996.0, "1.0k"),
        (1_249.0, "1.2k"),
        (12_345.0, "12k"),
        (123_456.0, "120k"),
        (996_000.0, "1.0M"),
        (4_960_000.0, "5.0M"),
        (12_000_000.0, "12M"),
    ],
)
def test_rates_have_two_digits_and_a_unit(value: float, shown: str) -> None:
    assert compact(value) == shown
