"""From the runs of an experiment to the numbers of its report: scores, comparisons, learning curves, steps and seconds.

Scores are those of the evaluation at the end of each run, never of its best moment.  What is taken over tasks is taken
over those whose random and optimal score is known, and over agents that have finished a run on each of them.  Agents
are compared on tasks where all runs of both had the same conditions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import trim_mean

from s7rl.experiments.grid import CONTROLS
from s7rl.experiments.report.comparisons import Comparison, adjusted
from s7rl.experiments.report.data import Conditions, Record, Run
from s7rl.experiments.statistics import (
    Estimate,
    Profile,
    interquartile_mean,
    interquartile_mean_difference,
    least_p_value,
    normalized,
    performance_profile,
    probability_of_improvement,
    rank_test,
)

POINTS = 200
"""Of a curve."""


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A row of the grid."""

    name: str
    """In the grid."""
    has_memory: bool
    """Whether it carries anything from one step to the next."""
    preset: str
    """The network that it starts from, a name of `s7rl list agents`."""

    @property
    def is_control(self) -> bool:
        """Whether it is there to be compared with: without memory, or with the last observations."""
        return self.preset in CONTROLS


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The training return of several seeds, at the same steps: between the first and the last that all of them have."""

    steps: Float[np.ndarray, " points"]
    """Environment steps."""
    middle: Float[np.ndarray, " points"]
    """Interquartile mean over the seeds; with three it is the mean."""
    low: Float[np.ndarray, " points"]
    """The lowest seed."""
    high: Float[np.ndarray, " points"]
    """The highest seed."""


class Comparisons(NamedTuple):
    """All that a report may claim something of."""

    agents: list[Comparison]
    """Agents, controls aside, with each other: by the probability of improvement, over the tasks that they share."""
    memory: list[Comparison]
    """Agents with memory with the one without: by the return above it, on each task."""


@dataclass(frozen=True)
class Analysis:
    """The numbers of a report. Mappings have only what there are finished runs for."""

    record: Record
    """Where they come from."""

    @cached_property
    def tasks(self) -> list[str]:
        """Those with a finished run, in the order of the grid."""
        return [task for task in self.record.grid.tasks if any(run.cell.task == task for run in self.record.runs)]

    @cached_property
    def agents(self) -> list[Agent]:
        """Those with a finished run, in the order of the grid."""
        found = []
        for name in self.record.grid.agents:
            runs = [run for run in self.record.runs if run.cell.agent == name]
            if runs:
                settings = runs[0].settings
                found.append(Agent(name=name, has_memory=settings.has_memory, preset=settings.agent))
        return found

    @cached_property
    def names(self) -> list[str]:
        """Of the agents."""
        return [agent.name for agent in self.agents]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Task and agent of all finished runs, in the order of the grid."""
        return [(task, agent) for task in self.tasks for agent in self.names if self.record.of(task, agent)]

    @cached_property
    def scores(self) -> Mapping[tuple[str, str], Float[np.ndarray, " seeds"]]:
        """Mean return of the evaluation of each run, by task and agent."""
        return {pair: np.array([run.score for run in self.record.of(*pair)]) for pair in self.pairs}

    @cached_property
    def estimates(self) -> Mapping[tuple[str, str], Estimate]:
        """Interquartile mean of the scores over seeds, by task and agent."""
        return {pair: interquartile_mean([scores]) for pair, scores in self.scores.items()}

    @cached_property
    def success(self) -> Mapping[tuple[str, str], Estimate]:
        """Interquartile mean of the success rates over seeds, by task and agent, where the task tells it of each."""
        rates = {pair: [run.success_rate for run in self.record.of(*pair)] for pair in self.pairs}
        known = {pair: [rate for rate in its if rate is not None] for pair, its in rates.items()}
        whole = {pair: its for pair, its in known.items() if len(its) == len(rates[pair])}
        return {pair: interquartile_mean([np.array(its)]) for pair, its in whole.items()}

    @cached_property
    def conditions(self) -> Mapping[tuple[str, str], frozenset[Conditions]]:
        """Of the runs, by task and agent: one, unless seeds were resumed with more steps, or evaluated otherwise."""
        return {pair: frozenset(run.conditions for run in self.record.of(*pair)) for pair in self.pairs}

    def shared_tasks(self, ours: str, theirs: str) -> list[str]:
        """Those that both agents have run, all seeds under the same conditions."""
        every = {task: self.conditions.get((task, ours), frozenset()) for task in self.tasks}
        return [task for task, its in every.items() if len(its) == 1 and its == self.conditions.get((task, theirs))]

    @cached_property
    def scaled_tasks(self) -> list[str]:
        """Those whose scores can be normalised."""
        return [task for task in self.tasks if self.record.yardsticks[task].scale is not None]

    @cached_property
    def normalized_scores(self) -> Mapping[str, list[Float[np.ndarray, " seeds"]]]:
        """By agent, one array for each of the tasks that have a scale; agents that lack one of them are left out."""
        return {
            agent: [self._normalized(task, agent) for task in self.scaled_tasks]
            for agent in self.names
            if self.scaled_tasks and all((task, agent) in self.scores for task in self.scaled_tasks)
        }

    def _normalized(self, task: str, agent: str) -> Float[np.ndarray, " seeds"]:
        random, optimal = self.record.yardsticks[task].scale or (0.0, 1.0)
        return normalized(self.scores[task, agent], random=random, optimal=optimal)

    @cached_property
    def overall(self) -> Mapping[str, Estimate]:
        """Interquartile mean of the normalised scores of an agent over all tasks and seeds."""
        return {agent: interquartile_mean(scores) for agent, scores in self.normalized_scores.items()}

    @cached_property
    def overall_is_alike(self) -> bool:
        """Whether all that is taken over tasks had, on each of them, the same conditions."""
        agents = list(self.overall)
        return all(set(self.scaled_tasks) <= set(self.shared_tasks(agents[0], agent)) for agent in agents)

    @cached_property
    def profiles(self) -> Mapping[str, Profile]:
        """Share of an agent's runs above each normalised score."""
        every = [score for scores in self.normalized_scores.values() for task in scores for score in task]
        thresholds = np.linspace(min(0.0, *every), max(1.0, *every), POINTS) if every else np.zeros(0)
        return {agent: performance_profile(scores, thresholds) for agent, scores in self.normalized_scores.items()}

    @cached_property
    def improvement(self) -> Mapping[tuple[str, str], Estimate]:
        """Probability that a run of one agent has a higher score than one of another, mean over tasks they share."""
        found: dict[tuple[str, str], Estimate] = {}
        for ours, theirs in combinations(self.names, 2):
            if tasks := self.shared_tasks(ours, theirs):
                ahead = probability_of_improvement(self._scores_on(tasks, ours), self._scores_on(tasks, theirs))
                found[ours, theirs] = ahead
                found[theirs, ours] = Estimate(1 - ahead.value, 1 - ahead.high, 1 - ahead.low)
        return found

    def _scores_on(self, tasks: Sequence[str], agent: str) -> list[Float[np.ndarray, " _"]]:
        return [self.scores[task, agent] for task in tasks]

    @cached_property
    def without_memory(self) -> str | None:
        """The agent that the others are compared with to see their memory; None where the grid has none."""
        return next((agent.name for agent in self.agents if not agent.has_memory), None)

    @cached_property
    def gaps(self) -> Mapping[tuple[str, str], Estimate]:
        """By task and agent with memory: how much more return it gets than the agent without, in the task's units.

        Only where both had the same conditions.
        """
        base = self.without_memory
        if base is None:
            return {}
        memory = {agent.name for agent in self.agents if agent.has_memory}
        return {
            (task, agent): interquartile_mean_difference([self.scores[task, agent]], [self.scores[task, base]])
            for task, agent in self.pairs
            if agent in memory and task in self.shared_tasks(agent, base)
        }

    @cached_property
    def comparisons(self) -> Comparisons:
        """With p values that are adjusted for all of them."""
        ours = [agent.name for agent in self.agents if not agent.is_control]
        agents = [
            self._comparison(first, second, self.shared_tasks(first, second), self.improvement[first, second], 0.5)
            for first, second in combinations(ours, 2)
            if (first, second) in self.improvement
        ]
        base = self.without_memory or ""
        memory = [self._comparison(agent, base, [task], gap, 0.0) for (task, agent), gap in self.gaps.items()]
        every = adjusted([*agents, *memory])
        return Comparisons(every[: len(agents)], every[len(agents) :])

    def _comparison(self, ours: str, theirs: str, tasks: Sequence[str], estimate: Estimate, none: float) -> Comparison:
        scores = self._scores_on(tasks, ours), self._scores_on(tasks, theirs)
        return Comparison(
            ours=ours,
            theirs=theirs,
            tasks=tuple(tasks),
            estimate=estimate,
            none=none,
            p_value=rank_test(*scores),
            least_p_value=least_p_value(*scores),
        )

    @cached_property
    def curves(self) -> Mapping[tuple[str, str], Curve]:
        """Of the training return, by task and agent."""
        found = {pair: curve(self.record.of(*pair)) for pair in self.pairs}
        return {pair: its for pair, its in found.items() if its is not None}

    @cached_property
    def thresholds(self) -> Mapping[str, float]:
        """By task, the training return that counts as having learned, where the scores are known."""
        found = {task: self.record.yardsticks[task].threshold for task in self.tasks}
        return {task: its for task, its in found.items() if its is not None}

    @cached_property
    def steps_to_threshold(self) -> Mapping[tuple[str, str], list[float | None]]:
        """By task and agent, for each seed: the steps after which it had learned; None where it never had."""
        return {
            (task, agent): [steps_to(self.thresholds[task], run) for run in self.record.of(task, agent)]
            for task, agent in self.pairs
            if task in self.thresholds
        }


def median_steps(reached: Sequence[float | None]) -> float:
    """The median of what runs needed; infinite where half of them or more never learned."""
    return statistics.median(math.inf if steps is None else steps for steps in reached)


def steps_to(threshold: float, run: Run) -> float | None:
    """The steps in the first line of a run's log whose mean training return reaches a threshold; None: no line's."""
    reached = np.flatnonzero(run.returns >= threshold)
    return float(run.steps[reached[0]]) if len(reached) else None


def curve(runs: Sequence[Run]) -> Curve | None:
    """The training return of several runs, interpolated between the lines of their logs; None where they share none.

    A run that may stop when it has learned enough keeps its last return beyond its end.
    """
    known = [(run.steps[np.isfinite(run.returns)], run.returns[np.isfinite(run.returns)]) for run in runs]
    if any(not len(steps) for steps, _ in known):
        return None
    may_stop = all(run.settings.stop_return is not None for run in runs)
    begin, end = max(steps[0] for steps, _ in known), (max if may_stop else min)(steps[-1] for steps, _ in known)
    if not begin < end:
        return None
    grid = np.linspace(begin, end, POINTS)
    seeds = np.stack([np.interp(grid, *its) for its in known])
    middle = trim_mean(seeds, 0.25, axis=0)
    return Curve(steps=grid, middle=middle, low=seeds.min(axis=0), high=seeds.max(axis=0))
