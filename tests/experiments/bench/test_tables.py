"""Measured times as a reader of a table wants them."""

from s7rl.experiments.bench.measuring import Spread
from s7rl.experiments.bench.tables import in_short, with_spread


def test_a_spread_is_half_the_distance_between_the_quartiles() -> None:
    spread = Spread(median=0.002, lower=0.0019, upper=0.0021, minimum=0.0, maximum=1.0, repeats=9)
    assert with_spread(spread, 1e6) == "2,000 ±5%"


def test_a_reason_in_short_is_what_stands_before_its_colon() -> None:
    assert in_short("over memory: more than 8 GB") == "over memory"
    assert in_short("failed") == "failed"
