"""Tasks of pure memory: sequences of tokens, some of whose positions ask for an answer that lies further back.

Every batch is a pure function of a generator and two sizes. Time comes first, as everywhere. Tokens are numbered from
0; a target is a class, or ``NOT_ASKED`` where any answer will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Int
from numpy.random import Generator

NOT_ASKED = -1
"""The target of a position that asks for nothing."""

Tokens: TypeAlias = Int[np.ndarray, "T B"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences side by side."""

    tokens: Tokens
    """What is seen."""
    targets: Tokens
    """What is to be answered after it was seen."""


@dataclass(frozen=True, kw_only=True)
class SequenceTask:
    """A task by its name."""

    summary: str
    """What it asks for."""
    vocabulary: int
    """Tokens are smaller than this."""
    classes: int
    """Targets are smaller than this."""
    shortest: int
    """The least length that has room for it."""
    generate: Callable[[Generator, int, int], Batch]
    """A batch from a generator, a length and a number of sequences."""

    @property
    def chance(self) -> float:
        """The accuracy of guessing: all answers are equally likely."""
        return 1.0 / self.classes


NOISE = 0
REMEMBERED = 8
"""Tokens to remember, or pairs."""
VALUES = 8
"""Different tokens to remember, numbered from 1 on."""
GO = VALUES + 1
"""Asks for the next remembered token."""
KEYS = 16
FIRST_KEY = VALUES + 1


def selective_copying(rng: Generator, length: int, batch_size: int) -> Batch:
    """Tokens at random places among noise, to be repeated in order at the end.

    Gu and Dao 2023, "Mamba", arXiv 2312.00752, section 4.1.1, with fewer tokens: 8 of 8 kinds. Without knowing the
    places in advance, a model has to choose by the token what goes into its memory.
    """
    prompt = length - REMEMBERED
    tokens = np.full((length, batch_size), NOISE)
    targets = np.full((length, batch_size), NOT_ASKED)
    remembered = rng.integers(1, VALUES + 1, (REMEMBERED, batch_size))
    places = np.sort(_distinct(rng, prompt, REMEMBERED, batch_size), axis=0)
    np.put_along_axis(tokens, places, remembered, axis=0)
    tokens[prompt:] = GO
    targets[prompt:] = remembered - 1
    return Batch(tokens=tokens, targets=targets)


def associative_recall(rng: Generator, length: int, batch_size: int) -> Batch:
    """Pairs of a key and a value at random places among noise; then each key again, which asks for its value.

    Arora et al. 2023, "Zoology", arXiv 2312.04927: several queries per sequence. An induction head is what a
    Transformer solves it with: find the earlier place of this token, and read what came after it.
    """
    prompt = length - REMEMBERED
    tokens = np.full((length, batch_size), NOISE)
    targets = np.full((length, batch_size), NOT_ASKED)
    keys = FIRST_KEY + _distinct(rng, KEYS, REMEMBERED, batch_size)
    values = rng.integers(1, VALUES + 1, (REMEMBERED, batch_size))
    # Places of pairs with one position less for every pair, then pulled apart: no two overlap.
    places = np.sort(_distinct(rng, prompt - REMEMBERED, REMEMBERED, batch_size), axis=0)
    places += np.arange(REMEMBERED)[:, None]
    np.put_along_axis(tokens, places, keys, axis=0)
    np.put_along_axis(tokens, places + 1, values, axis=0)
    order = _distinct(rng, REMEMBERED, REMEMBERED, batch_size)
    tokens[prompt:] = np.take_along_axis(keys, order, axis=0)
    targets[prompt:] = np.take_along_axis(values, order, axis=0) - 1
    return Batch(tokens=tokens, targets=targets)


def parity(rng: Generator, length: int, batch_size: int) -> Batch:
    """Bits; after each, whether the number of ones so far is odd.

    The smallest task that needs a state which every input may turn over: no weighted sum of the inputs gives it.
    """
    tokens = rng.integers(0, 2, (length, batch_size))
    return Batch(tokens=tokens, targets=tokens.cumsum(axis=0) % 2)


SEQUENCE_TASKS: Mapping[str, SequenceTask] = MappingProxyType(
    {
        "copying": SequenceTask(
            summary="repeat 8 tokens, seen at random places among noise, in order",
            vocabulary=VALUES + 2,
            classes=VALUES,
            shortest=2 * REMEMBERED,
            generate=selective_copying,
        ),
        "recall": SequenceTask(
            summary="8 pairs of key and value among noise, then the keys: say their values",
            vocabulary=FIRST_KEY + KEYS,
            classes=VALUES,
            shortest=3 * REMEMBERED,
            generate=associative_recall,
        ),
        "parity": SequenceTask(
            summary="whether the number of ones so far is odd, after every bit",
            vocabulary=2,
            classes=2,
            shortest=1,
            generate=parity,
        ),
    }
)


def _distinct(rng: Generator, things: int, drawn: int, batch_size: int) -> Tokens:
    """Different numbers below ``things`` in random order, for every sequence: [drawn, B]."""
    return rng.random((things, batch_size)).argsort(axis=0)[:drawn]
