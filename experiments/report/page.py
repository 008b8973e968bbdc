"""`s7rl report`: the page and the files beside it.

report.html          everything, in one file that loads nothing from anywhere
report/NAME.png      each figure
report/NAME.csv      its numbers
report/table.md      the scores for a README
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from s7rl.experiments.config import ReportConfig
from s7rl.experiments.page import Table, write_page
from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.data import Record, Run, read_record
from s7rl.experiments.report.difficulty_section import difficulty_section
from s7rl.experiments.report.figures import styles
from s7rl.experiments.report.findings import findings, listed, note
from s7rl.experiments.report.markdown_table import markdown_table
from s7rl.experiments.report.score_sections import score_sections
from s7rl.experiments.report.training_sections import training_sections
from s7rl.experiments.run_folder import check_can_be_written
from s7rl.experiments.wording import plural, say
from s7rl.files import write_atomically


def report(config: ReportConfig, console: Console) -> int:
    """Writes the report of an experiment's folder, and says where.

    Args:
        config: the request.
        console: where it is said.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: there is nothing to report of, or it cannot be written where it was asked for.
    """
    check_can_be_written("--out", config.out)
    page = None if config.out is None else Path(config.out)
    say(console, f"report: {write_report(Path(config.folder), page)}")
    return 0


def write_report(path: Path, page: Path | None = None) -> Path:
    """Writes the page and its figures, in place of older ones.

    Args:
        path: the experiment's folder; the figures go there, into report/.
        page: the file; None for report.html in the folder.

    Returns:
        The file.

    Raises:
        UsageError: there is no such experiment, or no run of it is finished.
    """
    analysis = Analysis(read_record(path))
    style = styles(analysis.agents)
    record = analysis.record
    beside = path / "report"
    beside.mkdir(exist_ok=True)
    write_atomically(beside / "table.md", markdown_table(analysis).encode())
    page = page or path / "report.html"
    write_page(
        page,
        beside,
        [
            *score_sections(analysis, style),
            *difficulty_section(analysis, style),
            *training_sections(analysis, style),
        ],
        "report/page.html.jinja",
        title=record.path.resolve().name,
        summary=record.grid.summary,
        extent=_extent(record),
        findings=list(findings(analysis)),
        note=note(analysis),
        failed=[run for run in record.unfinished if run.has_failed],
        waiting=[run for run in record.unfinished if not run.has_failed],
        command=shlex.join(record.command),
        grid=[
            _table("task", record.grid.tasks),
            _table("agent", record.grid.agents),
            _table("for every run", {"seeds": ", ".join(map(str, record.grid.seeds)), "options": record.grid.options}),
        ],
        machine=_table("machine", _machine(record)),
        versions=_table("made with", _versions(record)),
        runs=[(str(run.cell), shlex.join(run.command)) for run in record.runs],
    )
    return page


def _extent(record: Record) -> str:
    grid, done = record.grid, len(record.runs)
    every = done + len(record.unfinished)
    size = ", ".join(
        [plural(len(grid.tasks), "task"), plural(len(grid.agents), "agent"), plural(len(grid.seeds), "seed")]
    )
    return f"{size}: {plural(every, 'run')}, {'all' if done == every else f'{done:,} of them'} finished"


def _machine(record: Record) -> dict[str, str]:
    machines = record.machines
    ran_on = "; ".join(f"{plural(runs, 'run')} on {name}" for name, runs in machines.items())
    return {
        "ran on": ran_on if len(machines) > 1 else next(iter(machines)),
        "device asked for": listed(sorted({run.settings.device for run in record.runs})),
        "threads of a run": listed(sorted({_threads(run) for run in record.runs})),
        "first run": min(run.created for run in record.runs),
        "last run": max(run.created for run in record.runs),
    }


def _threads(run: Run) -> str:
    return "chosen by the size" if run.settings.threads is None else str(run.settings.threads)


def _versions(record: Record) -> dict[str, str]:
    """Of all runs and their resumptions, which another machine or another day may have seen."""
    every = [record.versions, *(versions for run in record.runs for versions in run.versions)]
    names = dict.fromkeys(name for versions in every for name in versions)
    return {name: ", ".join(sorted({its[name] for its in every if name in its})) for name in names}


def _table(name: str, rows: Mapping[str, str]) -> Table:
    return Table(head=[name, ""], rows=[[key, value] for key, value in rows.items()], names=2)
