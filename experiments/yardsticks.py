"""Mean returns to compare a run with, as far as its task is known, and the one from which on it has learned."""

from __future__ import annotations

import json
from dataclasses import dataclass

from s7rl.experiments.errors import TrainingError
from s7rl.experiments.probing import task_of_run
from s7rl.experiments.settings import RunSettings

THRESHOLD = 0.9
"""Share of the way from what can be had without memory to the optimum that counts as having learned."""
_found: dict[str, Yardsticks] = {}


@dataclass(frozen=True, kw_only=True)
class Yardsticks:
    """Mean returns to compare with; None is what is not known."""

    random: float | None = None
    """Of uniformly random actions."""
    memoryless: float | None = None
    """Of the best agent without memory."""
    optimal: float | None = None
    """Of the best agent."""

    @property
    def scale(self) -> tuple[float, float] | None:
        """The returns that are 0 and 1 after normalisation; None where one is not known."""
        if self.random is None or self.optimal is None or not self.optimal > self.random:
            return None
        return self.random, self.optimal

    @property
    def threshold(self) -> float | None:
        """The return ``THRESHOLD`` of the way to the optimum, from the best without memory where that is known."""
        if self.scale is None:
            return None
        base, optimal = self.scale
        if self.memoryless is not None and base < self.memoryless < optimal:
            base = self.memoryless
        return base + THRESHOLD * (optimal - base)


def yardsticks_of(settings: RunSettings) -> Yardsticks:
    """What is known of the environment of a run; found out once for each, since it may have to be made."""
    environment = (settings.env_id, settings.env_kwargs, settings.wrappers)
    key = json.dumps(environment)
    if key not in _found:
        try:
            task = task_of_run(*environment, settings.worker_timeout)
            _found[key] = Yardsticks(
                random=task.random_return, memoryless=task.memoryless_return, optimal=task.optimal_return
            )
        except (ValueError, TypeError, ImportError, TrainingError):
            _found[key] = Yardsticks()  # of a package that is not installed here, for example
    return _found[key]
