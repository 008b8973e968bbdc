"""Numbers as a reader of a table wants them."""

import pytest

from s7rl.experiments.bench.tables import number


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
