"""What the figures of `s7rl bench train` say, in a few lines; nothing is said that was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from s7rl.experiments.bench.measuring import Spread, Times, ratio
from s7rl.experiments.bench.models import REFERENCE
from s7rl.experiments.bench.tables import between_quartiles
from s7rl.experiments.bench.trainers import PRODUCTS, SB3, SB3_CONTRIB, SHARED, Run

WHOLE, ROLLOUT, TRAINING = "whole", "rollout", "training"
"""What is measured: both together, or one of them alone."""
WHO = {
    SB3: "SB3's PPO",
    SB3_CONTRIB: "sb3-contrib's RecurrentPPO",
    SHARED: "sb3-contrib's RecurrentPPO with one LSTM and no hidden layers",
}
Figures = Mapping[tuple[Run, str], Times]
"""Seconds by run and what was measured; those of one setting were taken in the same rounds."""


def findings(name: str, runs: Sequence[Run], figures: Figures, peaks: Mapping[Run, int]) -> Iterator[str]:
    """How S7 compares with other trainers, with its own matrix products, and with itself over the length.

    Args:
        name: of the setting.
        runs: all who took turns in it, S7 as it comes first.
        figures: the times that were measured.
        peaks: the peaks of the memory, bytes.

    Yields:
        Lines; medians over the rounds, with quartiles in brackets; ratios are taken within each round.
    """
    first = runs[0]
    sevens = [run for run in runs if run.trainer.name == REFERENCE]
    for other in runs[1:]:
        if other.trainer.name in WHO:
            yield from (_faster(name, seven, other, figures) for seven in sevens)
        elif other.trainer.name == PRODUCTS:
            yield _bound(name, runs, other, figures)
        elif other.setting != first.setting and other.setting.steps == first.setting.steps:
            yield from _growth(name, first, other, figures)
    measured = [run for run in runs if run in peaks]
    if len({run.setting.steps for run in measured}) > 2:
        yield _memory(name, measured, peaks)


def _faster(name: str, seven: Run, other: Run, figures: Figures) -> str:
    ours, theirs, who = figures.get((seven, WHOLE)), figures.get((other, WHOLE)), WHO[other.trainer.name]
    if ours is None or theirs is None:
        return f"{name}: {seven.trainer} against {who}: not measured, one was left out"
    return f"{name}: {seven.trainer} makes {between_quartiles(ratio(theirs, ours))} times the steps a second of {who}"


def _bound(name: str, runs: Sequence[Run], products: Run, figures: Figures) -> str:
    """The share of what would be possible if everything but the products took no time."""
    seven = next(
        run for run in runs if run.trainer.name == REFERENCE and run.trainer.d_state == products.trainer.d_state
    )
    times = figures.get((seven, WHOLE))
    if times is None:
        return f"{name}: {seven.trainer}: not measured, it was left out"
    rate = between_quartiles(Spread.of(seven.setting.steps / times))
    share = between_quartiles(ratio(figures[products, WHOLE], times))
    return f"{name}: {seven.trainer} makes {rate} steps a second, {share} of what its matrix products alone would allow"


def _growth(name: str, shortest: Run, longer: Run, figures: Figures) -> Iterator[str]:
    """Both take the same number of steps, so that the ratio of times is that of times per step."""
    here, there = f"T = {longer.setting.n_steps:,}", f"T = {shortest.setting.n_steps:,}"
    for measured in (TRAINING, WHOLE):
        short, long = figures.get((shortest, measured)), figures.get((longer, measured))
        if short is None or long is None:
            yield f"{name}: S7's time per step, {measured}: not measured at {here}"
        else:
            times = between_quartiles(ratio(long, short))
            yield f"{name}: S7's time per step, {measured}, is at {here} {times} times that at {there}"


def _memory(name: str, runs: Sequence[Run], peaks: Mapping[Run, int]) -> str:
    """A line through the peaks, and how far they lie from it."""
    steps, megabytes = np.array([(run.setting.steps, peaks[run] / 1e6) for run in runs]).T
    per_step, at_none = np.polyfit(steps, megabytes, 1)
    off = np.abs(megabytes - per_step * steps - at_none).max()
    return (
        f"{name}: S7's peak is {at_none:,.1f} MB and {per_step * 1e3:,.2f} kB for each step of a rollout, whose "
        f"quarter is a minibatch; up to {steps.max():,.0f} steps no peak is further than {off:,.1f} MB from that"
    )
