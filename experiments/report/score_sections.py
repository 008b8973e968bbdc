"""The sections on how well the agents did at the end: scores, all tasks together, comparisons, and memory's worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from s7rl.experiments.page import NOTHING, Figure, Section, Table, Value
from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.figures import Band, Row, Rows, Style, draw_bands, draw_rows
from s7rl.experiments.report.findings import digits, shown
from s7rl.experiments.report.parts import grouped, levels


def score_sections(analysis: Analysis, style: Mapping[str, Style]) -> Iterator[Section]:
    """Those that there are numbers for.

    Args:
        analysis: the numbers.
        style: of each agent.
    """
    yield _scores(analysis, style)
    if analysis.overall:
        yield _overall(analysis, style)
    if len(analysis.names) > 1:
        yield _comparison(analysis)
    yield _memory(analysis, style)


def _scores(analysis: Analysis, style: Mapping[str, Style]) -> Section:
    rows: list[list[str]] = []
    lines: list[list[Value]] = []
    for task, agent in analysis.pairs:
        estimate, success = analysis.estimates[task, agent], analysis.success.get((task, agent))
        runs = analysis.record.of(task, agent)
        rows.append([task, agent, str(len(runs)), shown(estimate), shown(success) if success else NOTHING])
        lines += [[task, agent, run.cell.seed, run.score, run.success_rate, *estimate] for run in runs]
    yardsticks = [
        [task, *(_known(its) for its in (sticks.random, sticks.memoryless, sticks.optimal))]
        for task, sticks in analysis.record.yardsticks.items()
        if task in analysis.tasks
    ]
    groups = [
        Rows(
            title=task,
            rows=[
                Row(agent=agent, dots=[*map(float, scores)], estimate=analysis.estimates[task, agent])
                for (its, agent), scores in analysis.scores.items()
                if its == task
            ],
            levels=levels(analysis.record.yardsticks[task]),
        )
        for task in analysis.tasks
    ]
    return Section(
        title="Scores",
        text=[
            "Mean return of the evaluation at the end of each run: most likely actions, on seeds that it never saw. "
            "Interquartile mean over the seeds, and in brackets its 95% bootstrap interval. Of no run is the best "
            "moment chosen."
        ],
        tables=[
            Table(head=["task", "agent", "seeds", "return", "success rate"], rows=grouped(rows), names=2),
            Table(head=["task", "random actions", "best without memory", "optimum"], rows=yardsticks),
        ],
        figures=[
            Figure(
                name="scores",
                says="Return by task and agent: a dot for each run, a line at the interquartile mean, its interval "
                "shaded.",
                png=draw_rows(groups, style, xlabel="mean return of the evaluation"),
                columns=["task", "agent", "seed", "mean_return", "success_rate", "iqm", "low", "high"],
                lines=lines,
            )
        ],
    )


def _overall(analysis: Analysis, style: Mapping[str, Style]) -> Section:
    agents = list(analysis.overall)
    rows = [
        Row(
            agent=agent,
            dots=[float(score) for task in analysis.normalized_scores[agent] for score in task],
            estimate=analysis.overall[agent],
        )
        for agent in agents
    ]
    bands = {
        agent: Band(x=profile.thresholds, middle=profile.share, low=profile.low, high=profile.high)
        for agent, profile in analysis.profiles.items()
    }
    what = "score: 0 is random, 1 the optimum"
    return Section(
        title="Normalised scores",
        text=[
            "Scores on a scale on which random actions get 0 and the optimum is 1, over "
            f"{', '.join(analysis.scaled_tasks)}; the bootstrap draws seeds anew within each task."
        ],
        tables=[
            Table(
                head=["agent", "runs", "interquartile mean"],
                rows=[[row.agent, str(len(row.dots)), shown(analysis.overall[row.agent])] for row in rows],
            )
        ],
        figures=[
            Figure(
                name="normalized_scores",
                says="Normalised score of every run, with the interquartile mean over tasks and seeds and its "
                "interval.",
                png=draw_rows([Rows(title=", ".join(analysis.scaled_tasks), rows=rows, levels={})], style, xlabel=what),
                columns=["agent", "iqm", "low", "high"],
                lines=[[agent, *analysis.overall[agent]] for agent in agents],
            ),
            Figure(
                name="performance_profile",
                says="Performance profile: the share of an agent's runs that score more than what stands below, with "
                "pointwise 95% bands. Higher is better.",
                png=draw_bands(
                    bands, style, title="Performance profile", xlabel=what, ylabel="share of runs with more"
                ),
                columns=["agent", "score", "share", "low", "high"],
                lines=[
                    [agent, *map(float, point)]
                    for agent, its in bands.items()
                    for point in zip(its.x, its.middle, its.low, its.high, strict=True)
                ],
            ),
        ],
    )


def _comparison(analysis: Analysis) -> Section:
    def cell(row: str, column: str) -> str:
        ahead = analysis.improvement.get((row, column))
        return shown(ahead) if ahead else NOTHING

    return Section(
        title="Probability of improvement",
        text=[
            "How probable it is that a run of the agent on the left scores more than one of the agent above on the "
            "same task, ties counting half; the mean over the tasks that both have run. At 0.50 neither is ahead."
        ],
        tables=[
            Table(
                head=["", *analysis.names],
                rows=[[row, *(cell(row, column) for column in analysis.names)] for row in analysis.names],
            )
        ],
    )


def _memory(analysis: Analysis, style: Mapping[str, Style]) -> Section:
    base = analysis.without_memory
    title = "What memory is worth"
    if not analysis.gaps:
        return Section(title=title, text=["No task has finished runs both with and without memory."])
    tasks = [task for task in analysis.tasks if any(its == task for its, _ in analysis.gaps)]
    groups = [
        Rows(
            title=task,
            rows=[Row(agent=a, dots=[], estimate=gap) for (its, a), gap in analysis.gaps.items() if its == task],
            levels={f"as {base}": 0.0},
        )
        for task in tasks
    ]
    rows = [[task, agent, shown(gap)] for (task, agent), gap in analysis.gaps.items()]
    return Section(
        title=title,
        text=[
            f"How much more return each agent gets than {base}, which has no memory: the difference of their "
            "interquartile means, in the units of the task. Where the interval leaves out 0, it is more than the "
            "spread of these seeds."
        ],
        tables=[Table(head=["task", "agent", f"return above {base}"], rows=grouped(rows), names=2)],
        figures=[
            Figure(
                name="memory_gap",
                says=f"Return above that of {base}, by task and agent, with 95% intervals.",
                png=draw_rows(groups, style, xlabel=f"return, less that of {base}"),
                columns=["task", "agent", "difference", "low", "high"],
                lines=[[*pair, *gap] for pair, gap in analysis.gaps.items()],
            )
        ],
    )


def _known(value: float | None) -> str:
    return "not known" if value is None else digits(value)
