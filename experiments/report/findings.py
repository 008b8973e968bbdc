"""What the figures of a report say, in a few sentences; nothing is claimed that an interval leaves open.

A difference is claimed only where its interval leaves out "none" and both sides have ``CLAIM_SEEDS`` seeds on each task
that it is of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from s7rl.experiments.bench.tables import number
from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.statistics import Estimate
from s7rl.experiments.wording import plural

CLAIM_SEEDS = 5
"""A bootstrap of fewer has intervals that are far too narrow: of three seeds a side, drawn from one distribution, it
would call one pair in five different."""
ENOUGH_SEEDS = 10
"""From here on an interval says something of the next seed, too."""

NAMED = 3
"""More than so many of a kind are counted."""


def findings(analysis: Analysis) -> Iterator[str]:
    """The sentences: all tasks together, agents with memory against each other, memory against none, and what is amiss.

    Each has numbers with their 95% intervals in brackets.
    """
    yield from _overall(analysis)
    yield from _comparisons(analysis)
    yield from _memory(analysis)
    yield from _cautions(analysis)


def _overall(analysis: Analysis) -> Iterator[str]:
    if analysis.overall:
        ranked = sorted(analysis.overall, key=lambda agent: -analysis.overall[agent].value)
        its = listed([f"{agent} {shown(analysis.overall[agent])}" for agent in ranked])
        tasks = analysis.scaled_tasks
        over = f"Over {plural(len(tasks), 'task')}" if len(tasks) > 1 else f"On {tasks[0]}"
        yield f"{over}, with 0 for random actions and 1 for the optimum: {its}."


def _comparisons(analysis: Analysis) -> Iterator[str]:
    ours = [agent.name for agent in analysis.agents if not agent.is_control]
    ahead: dict[str, list[str]] = {agent: [] for agent in ours}
    undecided = []
    for (first, second), estimate in analysis.improvement.items():
        if first not in ours or second not in ours:
            continue
        enough = _enough(analysis, [first, second], analysis.tasks)
        if enough and estimate.low > 0.5:
            ahead[first].append(f"{second} with probability {shown(estimate)}")
        elif ours.index(first) < ours.index(second) and not (enough and estimate.high < 0.5):
            undecided.append(f"{first} and {second} ({first} is ahead with probability {shown(estimate)})")
    for agent, beaten in ahead.items():
        if beaten:
            yield f"On the same task, a run of {agent} beats one of {listed(beaten)}."
    if undecided:
        yield f"Undecided, by these runs: {listed(undecided)}."


def _memory(analysis: Analysis) -> Iterator[str]:
    base = analysis.without_memory
    if base is None:
        yield "No agent without memory has finished a run, so what memory is worth is not known here."
        return
    controls = {agent.name for agent in analysis.agents if agent.is_control}
    for task in analysis.tasks:
        gaps = {agent: gap for (its, agent), gap in analysis.gaps.items() if its == task}
        more, less, open_ = [], [], []
        for agent, gap in gaps.items():
            who = f"{agent} (the last observations only)" if agent in controls else agent
            enough = _enough(analysis, [agent, base], [task])
            if enough and gap.low > 0:
                more.append(f"{who} gets {shown(gap)} more")
            elif enough and gap.high < 0:
                less.append(f"{who} gets {shown(Estimate(-gap.value, -gap.high, -gap.low))} less")
            else:
                open_.append(f"{who} ({shown(gap)})")
        if more or less:
            yield f"{task}: compared with {base}, which has no memory, {listed([*more, *less])}."
        if open_:
            yield f"{task}: no difference is shown between {base} and {listed(open_)}."


def _cautions(analysis: Analysis) -> Iterator[str]:
    missing = [task for task in analysis.tasks if task not in analysis.scaled_tasks]
    if missing:
        yield (
            f"The random or the optimal score of {listed(missing)} is not known: returns are shown as they are there, "
            "and left out of what is taken over tasks."
        )
    if not any(agent.preset == "stack" for agent in analysis.agents):
        yield "No agent that sees the last observations has finished a run, so what short memory is worth is not known."
    left_out = [agent for agent in analysis.names if analysis.scaled_tasks and agent not in analysis.overall]
    if left_out:
        yield f"Without a finished run on every task, and left out of what is taken over tasks: {listed(left_out)}."
    seeds = {f"{agent} on {task}": len(scores) for (task, agent), scores in analysis.scores.items()}
    few = [what for what, its in seeds.items() if its < CLAIM_SEEDS]
    fewest = min(seeds.values())
    if few:
        which = f"{', '.join(few[:NAMED])} and {len(few) - NAMED} more" if len(few) > NAMED + 1 else listed(few)
        yield f"Nothing is claimed of fewer than {CLAIM_SEEDS} seeds, as there are of {which}."
    elif fewest < ENOUGH_SEEDS:
        yield (
            f"With {plural(fewest, 'seed')} an interval says how far these runs lie apart, not how far the next one "
            "may lie."
        )


def _enough(analysis: Analysis, agents: Sequence[str], tasks: Sequence[str]) -> bool:
    pairs = [(task, agent) for task in tasks for agent in agents]
    return all(len(analysis.scores[pair]) >= CLAIM_SEEDS for pair in pairs if pair in analysis.scores)


def shown(estimate: Estimate) -> str:
    """``0.50 (0.45 to 0.55)``; the value alone where one seed allows no interval."""
    value, low, high = map(digits, estimate)
    return value if low == "" else f"{value} ({low} to {high})"


def digits(value: float) -> str:
    """Two decimals below 100, else three digits; empty for nan. What arithmetic leaves of a 0 is 0."""
    if value != value:
        return ""
    return number(value) if abs(value) >= 100 else f"{round(value, 2) + 0.0:.2f}"


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
