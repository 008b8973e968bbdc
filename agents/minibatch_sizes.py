"""How a rollout is cut into sequences, and how many of them make a minibatch: arithmetic alone."""

import math
from typing import NamedTuple

MINIBATCH_STEPS = 2048
"""Steps of a minibatch where the user names no ``batch_size`` and sequences are short enough."""


class Cut(NamedTuple):
    """How a rollout becomes minibatches."""

    sequence_length: int
    """L, steps of a sequence."""
    sequences: int
    """Sequences in a minibatch."""


def cut_rollout(n_envs: int, n_steps: int, batch_size: int | None = None, sequence_length: int | None = None) -> Cut:
    """Fit sequences and minibatches into a rollout of ``n_envs`` rows of ``n_steps`` steps.

    Sequences are whole rows unless ``sequence_length`` says otherwise or a minibatch is smaller than a row.

    Args:
        n_envs: rows of the rollout.
        n_steps: steps of a row.
        batch_size: steps of a minibatch; None: about ``MINIBATCH_STEPS``.
        sequence_length: steps of a sequence; None: of a row, or of a minibatch if that is smaller.

    Raises:
        ValueError: if they do not divide one another; the message names the nearest values that do.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps is {n_steps}, but a rollout needs at least one step: pass a positive number.")
    if n_envs * n_steps < 2:
        raise ValueError("n_steps is 1 with one environment, but one advantage has no spread: pass n_steps=2.")
    lengths = divisors(n_steps)
    if sequence_length is not None and sequence_length not in lengths:
        raise ValueError(
            f"sequence_length is {sequence_length}, but rows of n_steps = {n_steps} steps are cut into equal "
            f"sequences: the nearest that fit are {_nearest(lengths, sequence_length)}."
        )
    if sequence_length is not None:
        sizes = _batch_sizes(n_envs, n_steps, sequence_length)
        what = f"sequences of {sequence_length} steps out of {n_envs * n_steps}"
    else:
        # Shorter than a row: one sequence each.
        sizes = [length for length in lengths[:-1] if length > 1] + _batch_sizes(n_envs, n_steps, n_steps)
        what = f"rows of n_steps = {n_steps} steps out of n_envs = {n_envs}, or an equal part of one"
    if batch_size is None:
        whole = _batch_sizes(n_envs, n_steps, sequence_length or n_steps)
        batch_size = max((size for size in whole if size <= MINIBATCH_STEPS), default=whole[0])
    if batch_size not in sizes:
        raise ValueError(
            f"batch_size is {batch_size}, but a minibatch is an equal share of all {what}: "
            f"the nearest that fit are {_nearest(sizes, batch_size)}."
        )
    length = sequence_length or min(n_steps, batch_size)
    return Cut(length, batch_size // length)


def _batch_sizes(n_envs: int, n_steps: int, length: int) -> list[int]:
    # The advantages of a single step have no spread to be normalised by.
    return [length * number for number in divisors(n_envs * n_steps // length) if length * number > 1]


def divisors(number: int) -> list[int]:
    """All numbers that divide ``number``, from 1 on."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})


def _nearest(values: list[int], wanted: int) -> str:
    return " and ".join(map(str, sorted(sorted(values, key=lambda value: abs(value - wanted))[:2])))
