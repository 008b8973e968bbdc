"""What the figures of a report say, in a few sentences; nothing is claimed that an interval or a test leaves open.

Which differences are claimed, `comparisons` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.comparisons import LEVEL, Comparison, seeds_for
from s7rl.experiments.report.data import Conditions
from s7rl.experiments.statistics import Estimate
from s7rl.experiments.wording import number, plural

ENOUGH_SEEDS = 10
"""From here on an interval says something of the next seed, too."""
NAMED = 4
"""More than so many of a kind are counted."""


def findings(analysis: Analysis) -> Iterator[str]:
    """The sentences: what the scores lack, all tasks together, agents with each other, memory against none, cautions.

    Numbers have their 95% intervals in brackets, differences the p value, too.
    """
    yield from _missing(analysis)
    yield from _unlike(analysis)
    yield from _overall(analysis)
    yield from _agents(analysis)
    yield from _memory(analysis)
    yield from _too_few(analysis)
    yield from _cautions(analysis)


def note(analysis: Analysis) -> str:
    """How the numbers in the sentences are to be read."""
    tests = sum(map(len, analysis.comparisons))
    intervals = "Numbers in brackets are 95% bootstrap intervals over seeds, drawn within each task"
    if not tests:
        return f"{intervals}."
    adjusted = f", adjusted for the {tests} comparisons of this report (Holm)" if tests > 1 else ""
    return (
        f"{intervals}; p is that of an exact permutation test of the ranks within each task{adjusted}. A difference is "
        f'claimed where its interval lies on one side of "no difference" and p is at most {LEVEL}: of agents that are '
        f"alike, at most {LEVEL:.0%} of such reports would claim anything."
    )


def _missing(analysis: Analysis) -> Iterator[str]:
    record = analysis.record
    if not record.unfinished:
        return
    seeds = len(record.grid.seeds)
    counts = {(task, agent): len(record.of(task, agent)) for agent in record.grid.agents for task in record.grid.tasks}
    short = [f"{agent} has {its} of {seeds} on {task}" for (task, agent), its in counts.items() if its < seeds]
    failed = sum(run.has_failed for run in record.unfinished)
    parts = {"failed": failed, "not finished": len(record.unfinished) - failed}
    why = ", ".join(f"{its:,} {what}" for what, its in parts.items() if its)
    biased = " Runs that failed are left out, not counted as bad: scores of survivors may flatter (survivorship bias)."
    yield f"The scores lack seeds ({why}): {_first(short)}.{biased if failed else ''}"


def _unlike(analysis: Analysis) -> Iterator[str]:
    for task in analysis.tasks:
        every = {agent: its for (of, agent), its in analysis.conditions.items() if of == task}
        seen = frozenset[Conditions]().union(*every.values())
        if len(seen) > 1:
            groups: dict[str, list[str]] = {}
            for agent, its in every.items():
                groups.setdefault(_described(its, seen), []).append(agent)
            each = "; ".join(f"{listed(agents)} with {what}" for what, agents in groups.items())
            yield f"{task}: not all runs had the same conditions, and only agents whose runs had are compared: {each}."


def _described(conditions: Set[Conditions], seen: Set[Conditions]) -> str:
    """In what some conditions differ from others."""
    environments, steps, episodes = ({getattr(its, name) for its in seen} for name in Conditions._fields)
    return listed(
        [
            ", ".join(
                ([its.environment] if len(environments) > 1 else [])
                + ([plural(its.steps, "training step")] if len(steps) > 1 else [])
                + ([plural(its.episodes, "evaluation episode")] if len(episodes) > 1 else [])
            )
            for its in sorted(conditions)
        ]
    )


def _overall(analysis: Analysis) -> Iterator[str]:
    if analysis.overall:
        ranked = sorted(analysis.overall, key=lambda agent: -analysis.overall[agent].value)
        its = listed([f"{agent} {shown(analysis.overall[agent])}" for agent in ranked])
        tasks = analysis.scaled_tasks
        over = f"Over {plural(len(tasks), 'task')}" if len(tasks) > 1 else f"On {tasks[0]}"
        over += "" if analysis.overall_is_alike else ", each under its own conditions"
        yield f"{over}, with 0 for random actions and 1 for the optimum: {its}."


def _agents(analysis: Analysis) -> Iterator[str]:
    ahead: dict[str, list[str]] = {agent: [] for agent in analysis.names}
    undecided = []
    for its in analysis.comparisons.agents:
        if its.is_more or its.is_less:
            first, second = (its.ours, its.theirs) if its.is_more else (its.theirs, its.ours)
            ahead[first].append(f"{second} with probability {with_p_value(analysis.improvement[first, second], its)}")
        elif its.has_enough_seeds:
            undecided.append(
                f"{its.ours} and {its.theirs} ({its.ours} is ahead with probability {with_p_value(its.estimate, its)})"
            )
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
        more, less, open_ = [], [], []
        for its in analysis.comparisons.memory:
            if its.tasks != (task,):
                continue
            who = f"{its.ours} (the last observations only)" if its.ours in controls else its.ours
            gap = its.estimate
            if its.is_more:
                more.append(f"{who} gets {with_p_value(gap, its)} more")
            elif its.is_less:
                less.append(f"{who} gets {with_p_value(Estimate(-gap.value, -gap.high, -gap.low), its)} less")
            elif its.has_enough_seeds:
                open_.append(f"{who} ({with_p_value(gap, its)})")
        if more or less:
            yield f"{task}: compared with {base}, which has no memory, {listed([*more, *less])}."
        if open_:
            yield f"{task}: no difference is shown between {base} and {listed(open_)}."


def _too_few(analysis: Analysis) -> Iterator[str]:
    agents, memory = analysis.comparisons
    few = [f"{its.ours} from {its.theirs}" for its in agents if not its.has_enough_seeds]
    few += [f"{its.ours} from {its.theirs} on {its.tasks[0]}" for its in memory if not its.has_enough_seeds]
    if few:
        tests = len(agents) + len(memory)
        yield (
            f"Too few seeds, whatever they had scored, to tell {_first(few)}: with {plural(tests, 'comparison')} in "
            f"this report, {seeds_for(tests)} seeds of each on a task would do."
        )


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
    fewest = min(map(len, analysis.scores.values()))
    if fewest == 1:
        yield "A score of one seed has no interval: how far the next one may lie is not known."
    elif fewest < ENOUGH_SEEDS:
        yield (
            f"With {plural(fewest, 'seed')} an interval says how far these runs lie apart, not how far the next one "
            "may lie."
        )


def _first(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[: NAMED - 1])} and {len(parts) - NAMED + 1} more" if len(parts) > NAMED else listed(parts)


def with_p_value(estimate: Estimate, comparison: Comparison) -> str:
    """``0.50 (0.45 to 0.55; p = 0.01)``: an estimate with the p value of its comparison."""
    text, p = shown(estimate), p_value(comparison)
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    return f"{text[:-1]}; {p})" if text.endswith(")") else f"{text} ({p})"


def p_value(comparison: Comparison) -> str:
    """``0.048``, ``0.31``, ``< 0.001``."""
    p = comparison.p_value
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


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
