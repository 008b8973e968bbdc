"""The scale and the threshold that follow from the returns that are known of a task.

Mutations that were seen to fail these tests: a scale of no length; the threshold from random actions where memoryless
is known.
"""

import pytest

from s7rl.experiments.yardsticks import Yardsticks


def test_there_is_a_scale_only_between_two_known_returns_that_differ() -> None:
    assert Yardsticks(random=0.0, optimal=1.0).scale == (0.0, 1.0)
    assert Yardsticks(random=0.0).scale is None
    assert Yardsticks(optimal=1.0).scale is None
    assert Yardsticks(random=1.0, optimal=1.0).scale is None


def test_a_task_is_learned_nine_tenths_of_the_way_from_what_needs_no_memory() -> None:
    assert Yardsticks(random=-1.0, memoryless=0.5, optimal=1.0).threshold == pytest.approx(0.95)
    assert Yardsticks(random=-1.0, optimal=1.0).threshold == pytest.approx(0.8)
    # Where memory is of no use the way from there has no length.
    assert Yardsticks(random=-1.0, memoryless=1.0, optimal=1.0).threshold == pytest.approx(0.8)
    assert Yardsticks(memoryless=0.0, optimal=1.0).threshold is None
