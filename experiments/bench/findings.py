"""What the figures of `s7rl bench cores` say, in a few lines; nothing is said that was not measured.

The cores named here are those that S7 is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from s7rl.experiments.bench.measuring import Spread, Times, ratio
from s7rl.experiments.bench.models import FULL_ATTENTION, MATCHINGS, REFERENCE, Contender
from s7rl.experiments.bench.tables import between_quartiles
from s7rl.experiments.wording import number

TIME_INVARIANT = ("s5", "s4d")
"""State space models whose dynamics do not depend on the input."""
GATED = ("torch.nn.LSTM", "torch.nn.GRU", "lstm", "gru")
"""Recurrent networks that everybody knows, bare and in the same block as S7."""
USUAL_LENGTH = 1024

Figures = Mapping[tuple[Contender, int], Times]
"""Seconds of a training step by contender and length; those of one length were taken in the same rounds."""


def findings(every: Sequence[Contender], lengths: Sequence[int], figures: Figures) -> Iterator[str]:
    """What dynamics that depend on the input cost, where attention becomes slower, how S7 compares and grows.

    Args:
        every: all contenders.
        lengths: all lengths, ascending.
        figures: what was measured.

    Yields:
        Lines; ratios with their quartiles in brackets, over the rounds.
    """
    usual = min(lengths, key=lambda length: abs(length - USUAL_LENGTH))
    for matching, words in MATCHINGS.items():
        its = {contender.name: contender for contender in every if matching in contender.matchings}
        seven = its[REFERENCE]
        for name in TIME_INVARIANT:
            yield from _costs(its, name, sorted({usual, lengths[-1]}), figures, words)
        for name in FULL_ATTENTION:
            if name not in its:
                yield f"S7 against {name}, {words}: not measured, {name} is not among the cores"
            else:
                yield _crossing(seven, its[name], lengths, figures, words)
        for name in GATED:
            if name in its:
                yield from _costs(its, name, [usual], figures, words)
    yield _growth(its[REFERENCE], usual, lengths[-1], figures)


def _costs(
    its: Mapping[str, Contender], name: str, lengths: Sequence[int], figures: Figures, words: str
) -> Iterator[str]:
    if name not in its:
        yield f"S7 against {name}, {words}: not measured, {name} is not among the cores"
        return
    for length in lengths:
        where = f"T = {length:,}, {words}"
        ours, theirs = figures.get((its[REFERENCE], length)), figures.get((its[name], length))
        if ours is None or theirs is None:
            yield f"S7 against {name}, {where}: not measured, a cell was left out"
        else:
            yield f"S7 takes {between_quartiles(ratio(ours, theirs))} times as long as {name} at {where}"


def _crossing(seven: Contender, other: Contender, lengths: Sequence[int], figures: Figures, words: str) -> str:
    """From which length on the other is slower than S7 at every length where both were measured."""
    both = [length for length in lengths if (seven, length) in figures and (other, length) in figures]
    name = f"{other.name} with full attention"
    if not both:
        return f"{name}, {words}: not measured"
    times = {length: ratio(figures[other, length], figures[seven, length]) for length in both}
    slower: list[int] = []
    for length in reversed(both):
        if times[length].median <= 1:
            break
        slower.insert(0, length)
    beyond = f"; beyond T = {both[-1]:,} not measured" if both[-1] < lengths[-1] else ""
    if not slower:
        last = between_quartiles(times[both[-1]])
        return f"{name} is not slower than S7 at T = {both[-1]:,}, {words}: it takes {last} times as long{beyond}"
    last = f"{between_quartiles(times[slower[-1]])} times as long at T = {slower[-1]:,}"
    return f"{name} is slower than S7 from T = {slower[0]:,} on, {words}: {last}{beyond}"


def _growth(seven: Contender, usual: int, longest: int, figures: Figures) -> str:
    if longest == usual or (seven, usual) not in figures or (seven, longest) not in figures:
        return f"S7's time per step over the length: not measured beyond T = {usual:,}"
    short, long = (Spread.of(figures[seven, length]).scaled(1 / length) for length in (usual, longest))
    # Not taken in the same rounds, so that the quartiles are the widest that the two allow.
    middle, low, high = long.median / short.median, long.lower / short.upper, long.upper / short.lower
    grown = f"{number(middle)} ({number(low)} to {number(high)})"
    return f"S7's time per step at T = {longest:,} is {grown} times that at T = {usual:,}"
