"""Scores of MiniGrid's Memory environments with the 7x7 view, known without importing MiniGrid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class MemoryScores(NamedTuple):
    """Mean returns of a maze with MiniGrid's limit of 5 size^2 steps and its 7x7 view."""

    size: int
    """Cells along a side."""
    random_length: bool
    """Whether the hallway's length changes between episodes."""
    optimal: float
    """Of the best agent; exact (``minigrid_memory_scores.best_steps``)."""
    memoryless: float | None
    """Of the best agent without memory."""
    random: float
    """Of uniformly random actions; exact (``minigrid_memory_scores.random_return``)."""


# Without memory: exact from S11 on, where the length is fixed (a guess, see ``minigrid_memory_scores``).  For S7, S9
# and MiniGrid's two with a random length, the best that a search over stochastic policies found: where the hallway is
# short, one view has the cue and the objects.  Not known for the other random lengths; a guess is worth 0.498 to 0.5.
MEMORY_SCORES: Mapping[str, MemoryScores] = {
    "S7": MemoryScores(7, False, 0.978, 0.905, 0.1614),
    "S9": MemoryScores(9, False, 0.9841, 0.931, 0.181),
    "S11": MemoryScores(11, False, 0.9859, 0.4952, 0.1917),
    "S13": MemoryScores(13, False, 0.9875, 0.496, 0.1983),
    "S15": MemoryScores(15, False, 0.9887, 0.4966, 0.2029),
    "S17": MemoryScores(17, False, 0.9895, 0.497, 0.2063),
    "S21": MemoryScores(21, False, 0.9909, 0.4977, 0.211),
    "S31": MemoryScores(31, False, 0.9931, 0.4985, 0.2174),
    "S41": MemoryScores(41, False, 0.9945, 0.4988, 0.2209),
    "S51": MemoryScores(51, False, 0.9954, 0.4991, 0.2231),
    "S61": MemoryScores(61, False, 0.9961, 0.4992, 0.2247),
    "S71": MemoryScores(71, False, 0.9966, 0.4993, 0.2259),
    "S81": MemoryScores(81, False, 0.997, 0.4994, 0.2268),
    "S91": MemoryScores(91, False, 0.9973, 0.4995, 0.2276),
    "S101": MemoryScores(101, False, 0.9975, 0.4995, 0.2282),
    "S13Random": MemoryScores(13, True, 0.9907, 0.677, 0.2379),
    "S17Random": MemoryScores(17, True, 0.9932, 0.622, 0.2683),
    "S21Random": MemoryScores(21, True, 0.9945, None, 0.2894),
    "S31Random": MemoryScores(31, True, 0.9962, None, 0.3203),
    "S41Random": MemoryScores(41, True, 0.9971, None, 0.3366),
    "S101Random": MemoryScores(101, True, 0.9987, None, 0.3664),
}
"""By what stands between ``MiniGrid-Memory`` and ``-v0``."""
