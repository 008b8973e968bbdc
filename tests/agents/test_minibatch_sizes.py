"""How a rollout is cut: by hand, and against a search over all sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s7rl.agents.minibatch_sizes import cut_rollout

# Mutations that fail these tests: a minibatch of one step allowed; sequence_length not tried against n_steps; the
# second nearest value left out; a minibatch shorter than a row that does not divide it allowed; batch_size None taken
# as 1,024 steps.


def fitting(n_envs: int, n_steps: int, sequence_length: int | None) -> set[int]:
    """All batch sizes that can be cut, found by trying each."""
    total = n_envs * n_steps
    length = sequence_length or n_steps
    sizes = {size for size in range(2, total + 1) if size % length == 0 and total % size == 0}
    if sequence_length is None:
        sizes |= {size for size in range(2, n_steps) if n_steps % size == 0}
    return sizes


@given(
    n_envs=st.integers(1, 12),
    n_steps=st.integers(2, 24),
    batch_size=st.integers(1, 300),
    sequence_length=st.none() | st.integers(1, 30),
)
def test_what_fits_is_cut_and_what_does_not_is_refused_with_the_nearest_that_does(
    n_envs: int, n_steps: int, batch_size: int, sequence_length: int | None
) -> None:
    right, wrong = "batch_size", batch_size
    valid = fitting(n_envs, n_steps, sequence_length)
    if sequence_length is not None and n_steps % sequence_length:
        right, wrong = "sequence_length", sequence_length
        valid = {length for length in range(1, n_steps + 1) if n_steps % length == 0}
    elif batch_size in valid:
        length, sequences = cut_rollout(n_envs, n_steps, batch_size, sequence_length)
        assert length * sequences == batch_size
        assert length == (sequence_length or min(n_steps, batch_size))
        assert n_steps % length == 0
        assert n_envs * n_steps // length % sequences == 0
        return
    with pytest.raises(ValueError, match=rf"^{right} is {wrong}, [^\n]+$") as caught:
        cut_rollout(n_envs, n_steps, batch_size, sequence_length)
    named = [int(word) for word in str(caught.value).rsplit(":", 1)[1].replace(".", "").split() if word.isdigit()]
    assert sorted(abs(size - wrong) for size in named) == sorted(abs(size - wrong) for size in valid)[:2]
    assert set(named) <= valid


@pytest.mark.parametrize(("n_envs", "n_steps", "sequences"), [(16, 256, 8), (16, 4096, 1), (6, 512, 3), (1, 64, 1)])
def test_without_a_batch_size_a_minibatch_is_about_2048_steps_of_whole_rows(
    n_envs: int, n_steps: int, sequences: int
) -> None:
    assert cut_rollout(n_envs, n_steps) == (n_steps, sequences)


def test_rows_are_cut_into_sequences_where_a_minibatch_is_smaller_or_the_user_says_so() -> None:
    assert cut_rollout(4, 512, 128) == (128, 1)
    assert cut_rollout(4, 512, 128, 32) == (32, 4)
    assert cut_rollout(3, 128, 192, 64) == (64, 3)
    assert cut_rollout(16, 4096, None, 256) == (256, 8)


@pytest.mark.parametrize("n_steps", [0, -3])
def test_a_rollout_of_no_steps_is_refused(n_steps: int) -> None:
    with pytest.raises(ValueError, match=rf"^n_steps is {n_steps}, [^\n]+$"):
        cut_rollout(4, n_steps)


def test_a_single_step_has_no_spread() -> None:
    with pytest.raises(ValueError, match=r"^n_steps is 1 with one environment, [^\n]+$"):
        cut_rollout(1, 1)


def test_a_huge_rollout_is_planned_at_once() -> None:
    assert cut_rollout(8, 10**9, 10**9) == (10**9, 1)
