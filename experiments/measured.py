"""What `s7rl bench envs` measured on one machine and `s7rl list envs` shows: a table that comes with the package.

experiments/results/bench/README.md has the command that makes it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, kw_only=True)
class MeasuredEnv:
    """An environment that was measured."""

    observations: str
    """Its observation space in short."""
    actions: str
    """Its action space."""
    n_envs: int
    """How many stood side by side."""
    steps_per_second: float
    """Steps of all of them together, on one core: a median."""


def measured_envs() -> Mapping[str, MeasuredEnv]:
    """What was measured, by id; an environment that was left out is not among them."""
    text = (files("s7rl.experiments") / "results" / "bench" / "envs.csv").read_text(encoding="utf-8")
    return {
        row["env"]: MeasuredEnv(
            observations=row["observations"],
            actions=row["actions"],
            n_envs=int(row["n_envs"]),
            steps_per_second=float(row["steps_per_second_median"]),
        )
        for row in csv.DictReader(text.splitlines())
        if not row["left_out"]
    }
