"""Numbers that say what is remembered, as pure functions of arrays.

T counts the steps that were kept, B the episodes, S the numbers of the memory, K the columns of the hidden state; what
lies behind an episode's end is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

MOST_CLASSES = 16
"""A column with more values than these is a quantity, not a choice."""
FEWEST_EPISODES = 10
"""On each side of the split; of fewer nothing is read."""
PENALTY = 0.1
"""Of the ridge regression, per episode, in units of the scaled numbers' variance."""
PRECISION = 0.01
"""What is kept more faintly than this, in standard deviations of each number over the episodes, is not counted."""


class Band(NamedTuple):
    """A quantity over time: what is between the tenths at either end, and its mean."""

    mean: Float[np.ndarray, " T"]
    low: Float[np.ndarray, " T"]
    high: Float[np.ndarray, " T"]


class Probe(NamedTuple):
    """How well one column of the hidden state can be read from the memory, by steps."""

    column: int
    """Which, from 0."""
    is_choice: bool
    """Whether the score is the share of right answers; otherwise it is R^2, the share of the variance explained."""
    score: Float[np.ndarray, " T"]
    """On episodes that were not fitted; NaN where the column does not vary, or too few episodes go on."""
    chance: Float[np.ndarray, " T"]
    """What the best constant answer gets there."""


def band(values: Float[np.ndarray, "T M"]) -> Band:
    """Mean, 10th and 90th percentile of each row, without what is NaN; NaN where nothing is left."""
    left = np.isfinite(values).any(axis=1)
    found = np.full((3, len(values)), np.nan)
    found[0, left] = np.nanmean(values[left], axis=1)
    found[1:, left] = np.nanpercentile(values[left], [10, 90], axis=1)
    return Band(*found)


def state_norms(states: Float[np.ndarray, "T B S"]) -> Float[np.ndarray, "T B"]:
    """Euclidean length of the memory's state."""
    norms: NDArray[np.float64] = np.linalg.norm(states.astype(np.float64), axis=-1)
    return norms


def mean_by_lag(gradients: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, " lags"]:
    """Mean over episodes of any lengths, each scaled to the sum 1 and so a share; where one has no such lag it has 0.

    An episode without any gradient has no part in it; NaN if none has any.
    """
    longest = max(len(gradient) for gradient in gradients)
    shares = [np.pad(g / g.sum(), (0, longest - len(g))) for g in gradients if g.sum() > 0]
    return np.mean(shares, axis=0) if shares else np.full(longest, np.nan)


def reach(shares: Float[np.ndarray, " lags"], part: float = 0.5) -> int:
    """The lag up to which this part of all gradient lies."""
    return int(np.searchsorted(np.cumsum(shares), part * shares.sum() * (1 - 1e-9)))


def probe(
    states: Float[np.ndarray, "T B S"], hidden: Float[np.ndarray, "T B K"], *, generator: np.random.Generator
) -> list[Probe]:
    """Reads each column of the hidden state from the memory by ridge regression, at every step anew.

    Every other episode is fitted, the rest tested.  A column of whole numbers with few values is a choice: its values
    are one-hot, and the largest output is the answer.  Before that, each number of the memory is divided by its
    standard deviation over all steps and episodes, and noise of standard deviation ``PRECISION`` is added: in exact
    numbers even a trace that has faded to the last digit could be read.

    Args:
        states: the memory.
        hidden: the hidden state at the same steps.
        generator: of the noise.

    Returns:
        One for each column that varies between episodes.
    """
    with np.errstate(invalid="ignore"):
        scale = np.nanstd(states.astype(np.float64), axis=(0, 1)) if states.shape[2] else np.zeros(0)
    scaled = states / np.where(scale > 0, scale, 1.0)
    scaled += PRECISION * generator.standard_normal(scaled.shape)
    choices = [_choices(hidden[..., column]) for column in range(hidden.shape[2])]
    # [T, K, 2]
    read = np.array(
        [
            _read(scaled[t, running], hidden[t, running], choices)
            for t, running in enumerate(np.isfinite(hidden).all(axis=2))
        ]
    )
    return [
        Probe(column, kinds is not None, *read[:, column].T)
        for column, kinds in enumerate(choices)
        if np.isfinite(read[:, column]).any()
    ]


def _choices(values: Float[np.ndarray, "T B"]) -> Float[np.ndarray, " C"] | None:
    """The values of a column that is a choice; None for a quantity."""
    found = np.unique(values[np.isfinite(values)])
    return found if len(found) <= MOST_CLASSES and (found == np.rint(found)).all() else None


def _read(
    x: Float[np.ndarray, "B S"], y: Float[np.ndarray, "B K"], choices: Sequence[Float[np.ndarray, " _"] | None]
) -> Float[np.ndarray, "K 2"]:
    """Score and chance of every column at one step."""
    result = np.full((len(choices), 2), np.nan)
    if len(y) < 2 * FEWEST_EPISODES:
        return result
    fitted, tested = y[::2], y[1::2]
    targets = [
        fitted[:, [column]] if values is None else (fitted[:, [column]] == values).astype(np.float64)
        for column, values in enumerate(choices)
    ]
    ends = np.cumsum([target.shape[1] for target in targets])
    answers = np.split(ridge(x[::2], np.hstack(targets), x[1::2]), ends[:-1], axis=1)
    for column, (values, answer) in enumerate(zip(choices, answers, strict=True)):
        true = tested[:, column]
        if np.ptp(fitted[:, column]) == 0 or np.ptp(true) == 0:
            continue
        if values is None:
            result[column] = 1 - np.mean((answer[:, 0] - true) ** 2) / np.var(true), 0.0
        else:
            most_frequent = np.unique(true, return_counts=True)[1].max()
            result[column] = np.mean(values[answer.argmax(axis=1)] == true), most_frequent / len(true)
    return result


def ridge(
    x: Float[np.ndarray, "B S"], y: Float[np.ndarray, "B C"], new: Float[np.ndarray, "M S"]
) -> Float[np.ndarray, "M C"]:
    r"""Answers of a ridge regression with intercept, fitted to (x, y), at other points.

    .. math:: \hat y(x') = \bar y + (x' - \bar x)^\top X^\top (X X^\top + \lambda I)^{-1} (Y - \bar y),
        \qquad \lambda = B \cdot \mathrm{PENALTY}
    """
    centre, mean = x.mean(axis=0), y.mean(axis=0)
    centred = x - centre
    # By episodes, not by numbers of the memory, of which there may be thousands.
    gram = centred @ centred.T + len(x) * PENALTY * np.eye(len(x))
    answers: NDArray[np.float64] = mean + (new - centre) @ (centred.T @ np.linalg.solve(gram, y - mean))
    return answers
