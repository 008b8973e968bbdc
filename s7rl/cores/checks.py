"""Checks of the options that several cores share, so that the same mistake reads the same everywhere."""

import math


def check_sizes(**sizes: object) -> None:
    """Check that each is a whole number of at least 1.

    Raises:
        ValueError: if one is not.
    """
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}, but it is a size: pass a positive whole number.")


def check_span(name: str, span: object, *, above: float, below: float = math.inf, meaning: str) -> None:
    """Check that it is two numbers in order, strictly between the bounds.

    Raises:
        TypeError: if it is not two numbers.
        ValueError: if they are out of order or out of bounds.
    """
    if not isinstance(span, (tuple, list)) or len(span) != 2 or not all(isinstance(x, (int, float)) for x in span):
        raise TypeError(f"{name} is {span!r}, but it is {meaning}: pass two numbers.")
    if not above < span[0] <= span[1] < below:
        bounds = f"above {above:g}" + ("" if below == math.inf else f" and below {below:g}")
        raise ValueError(f"{name} is {span!r}, but it is {meaning}: pass two numbers {bounds}, the smaller first.")
