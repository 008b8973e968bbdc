"""The order of the turns and the statistics, with a clock that is set by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from s7rl.experiments.bench.measuring import (
    MIN_ROUNDS,
    Forecast,
    Spread,
    failure,
    interleave,
    measure,
    ratio,
    too_long,
)


class Workshop:
    """A clock, and things that take a known time on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done: list[str] = []

    def clock(self) -> float:
        return self.now

    def thing(self, name: str, *seconds: float) -> Callable[[], None]:
        """Takes these times, the last one ever after."""
        times = list(seconds)

        def run() -> None:
            self.done.append(name)
            self.now += times.pop(0) if len(times) > 1 else times[0]

        return run


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def test_things_take_turns_after_a_warm_up(workshop: Workshop) -> None:
    things = {"a": workshop.thing("a", 9.0, 1.0, 3.0), "b": workshop.thing("b", 90.0, 10.0, 30.0)}
    times = interleave(things, 2, clock=workshop.clock)
    assert workshop.done == ["a", "b", "a", "b", "a", "b"]
    assert {name: list(seconds) for name, seconds in times.items()} == {"a": [1.0, 3.0], "b": [10.0, 30.0]}


def test_the_statistics_are_those_of_hand_made_numbers() -> None:
    spread = Spread.of(np.array([5.0, 1.0, 2.0, 4.0, 3.0]))
    assert spread == Spread(median=3.0, lower=2.0, upper=4.0, minimum=1.0, maximum=5.0, repeats=5)
    assert spread.relative == pytest.approx(1 / 3)
    assert spread.scaled(10.0) == Spread(median=30.0, lower=20.0, upper=40.0, minimum=10.0, maximum=50.0, repeats=5)
    # Between the second and the third of four numbers, and a quarter of the way from the first to the second.
    assert Spread.of(np.array([0.0, 4.0, 8.0, 100.0])).lower == 3.0
    assert Spread.of(np.array([0.0, 4.0, 8.0, 100.0])).median == 6.0


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine was ten times slower in the second round, for both alike.
    assert ratio(np.array([2.0, 20.0, 2.0]), np.array([1.0, 10.0, 1.0])) == Spread(
        median=2.0, lower=2.0, upper=2.0, minimum=2.0, maximum=2.0, repeats=3
    )


def test_the_slowest_that_fits_says_how_many_rounds_all_have(workshop: Workshop) -> None:
    things = {"fast": workshop.thing("fast", 0.5), "slow": workshop.thing("slow", 100.0, 1.0)}
    measured = measure(things, repeats=50, budget_seconds=7.9, clock=workshop.clock)
    # The first call of the slow one compiles, and does not count.
    assert measured.left_out == {}
    assert {name: len(times) for name, times in measured.times.items()} == {"fast": 7, "slow": 7}
    assert set(measured.times["slow"]) == {1.0}


def test_no_more_rounds_are_made_than_asked_for(workshop: Workshop) -> None:
    measured = measure({"x": workshop.thing("x", 0.5)}, repeats=3, budget_seconds=100.0, clock=workshop.clock)
    assert len(measured.times["x"]) == 3


def test_what_is_over_budget_is_left_out_and_named(workshop: Workshop) -> None:
    things = {"slow": workshop.thing("slow", 2.1), "fast": workshop.thing("fast", 1.0)}
    measured = measure(things, repeats=50, budget_seconds=2.0 * MIN_ROUNDS, clock=workshop.clock)
    assert measured.left_out == {"slow": "over budget: 5 x 2.1 s"}
    assert list(measured.times) == ["fast"]
    assert workshop.done.count("slow") == 2


def test_what_fails_is_left_out_with_its_first_line(workshop: Workshop) -> None:
    def broken() -> None:
        raise RuntimeError("no such kernel\nmore of it")

    measured = measure({"broken": broken}, repeats=5, budget_seconds=9.0, clock=workshop.clock)
    assert measured.times == {}
    assert measured.left_out == {"broken": "failed: no such kernel"}
    assert failure(MemoryError()) == "failed: MemoryError"


def test_the_budget_is_for_the_least_number_of_rounds() -> None:
    assert too_long(2.0, 10.0) is None
    assert too_long(2.01, 10.0) == "over budget: 5 x 2.01 s"


@pytest.mark.parametrize(
    ("seen", "size", "cost"),
    [
        ({}, 100, 0.0),
        ({10: 3.0}, 40, 12.0),  # linear where nothing else is known
        ({10: 1.0, 20: 4.0}, 40, 16.0),  # squares stay squares
        ({10: 1.0, 20: 2.0}, 80, 8.0),
        ({10: 1.0, 20: 100.0}, 40, 400.0),  # nothing grows faster than a square
        ({10: 5.0, 20: 4.0}, 40, 4.0),  # nor shrinks
        ({1: 100.0, 10: 1.0, 20: 2.0}, 40, 4.0),  # the two largest count
        ({10: 0.0, 20: 4.0}, 40, 8.0),
    ],
)
def test_a_forecast_goes_on_as_it_went(seen: dict[int, float], size: int, cost: float) -> None:
    assert Forecast(seen)(size) == pytest.approx(cost)
