"""Tapes: what a row gets depends on its own generator and requests.

Mutations that were tried: numbers not counted as used, one generator for all rows, ``restart`` that keeps the block,
``integers`` that rounds, a new block although the request fits.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s7rl.envs.random_tape import RandomTape

BLOCK = 8


def seeded(num_rows: int, distribution: str = "uniform") -> RandomTape:
    tape = RandomTape(num_rows, distribution, BLOCK)  # type: ignore[arg-type]
    for row in range(num_rows):
        tape.restart(row, np.random.default_rng(row))
    return tape


def slow_take(generator: np.random.Generator, counts: list[int]) -> list[list[float]]:
    """Cut blocks of a generator's numbers into requests; a request that does not fit begins a new block."""
    block: list[float] = []
    taken = []
    for count in counts:
        if count > len(block):
            block = generator.random(BLOCK).tolist()
        taken.append(block[:count])
        block = block[count:]
    return taken


@given(requests=st.lists(st.tuples(st.sets(st.integers(0, 3), min_size=1), st.integers(1, BLOCK)), max_size=12))
def test_a_row_gets_its_generators_numbers_whatever_the_others_take(requests: list[tuple[set[int], int]]) -> None:
    tape = seeded(4)
    got: list[list[list[float]]] = [[] for _ in range(4)]
    for rows, count in requests:
        numbers = tape.take(np.array(sorted(rows)), count)
        for row, its_numbers in zip(sorted(rows), numbers.tolist(), strict=True):
            got[row].append(its_numbers)
    for row in range(4):
        counts = [count for rows, count in requests if row in rows]
        assert got[row] == slow_take(np.random.default_rng(row), counts)


def test_a_restart_forgets_the_numbers_that_were_drawn_ahead() -> None:
    tape = seeded(1)
    first = tape.take(np.array([0]), 3)
    tape.restart(0, np.random.default_rng(0))
    np.testing.assert_array_equal(tape.take(np.array([0]), 3), first)


def test_integers_are_uniform_below_their_bound() -> None:
    tape = seeded(1)
    drawn = np.concatenate([tape.integers(np.array([0]), 3, BLOCK)[0] for _ in range(500)])
    assert sorted(set(drawn.tolist())) == [0, 1, 2]
    # The standard error of a share is 0.0075.
    np.testing.assert_allclose(np.bincount(drawn) / drawn.size, 1 / 3, atol=0.03)


def test_normal_numbers_have_mean_0_and_variance_1() -> None:
    tape = seeded(2, "normal")
    drawn = np.concatenate([tape.take(np.array([0, 1]), BLOCK).ravel() for _ in range(500)])
    assert drawn.mean() == pytest.approx(0, abs=0.04)
    assert drawn.var() == pytest.approx(1, abs=0.06)


def test_what_was_taken_is_not_changed_by_later_requests() -> None:
    tape = seeded(2)
    first = tape.take(np.array([0, 1]), BLOCK)
    copy = first.copy()
    for _ in range(3):
        tape.take(np.array([0, 1]), BLOCK)
    np.testing.assert_array_equal(first, copy)
