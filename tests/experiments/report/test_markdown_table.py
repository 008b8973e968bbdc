"""The table for a README, and that those in the repository's are what it would write.

Mutations that were seen to fail: the mean of the steps; the last line with success, not the first; the number of those
that came so far not told; returns where all tasks tell success; success where one task tells none; a number changed by
hand in a README.
"""

import csv
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from s7rl.experiments.report import data
from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.data import read_record
from s7rl.experiments.report.markdown_table import markdown_table
from s7rl.experiments.report.page import write_report
from s7rl.experiments.yardsticks import Yardsticks
from tests.experiments.report.by_hand import TMAZE, UNKNOWN, begin, cell_of, finish, write_log

RESULTS = Path(__file__).parents[3] / "experiments" / "results"
TITLES = {f"tmaze-{length}": f"{length:,}" for length in (1_000, 5_000, 10_000, 30_000, 100_000)}
TITLES |= dict.fromkeys(("S41", "S41-view3"), "success in S41")  # with the view that was learned
"""Tasks of an elsewhere.csv as the table beside it names them, where that is otherwise."""
RECORDS = sorted(path.parent for path in RESULTS.glob("*/experiment.json"))


def test_it_has_a_line_for_each_agent_that_has_run(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE, "other": TMAZE}, seeds=3)
    finish(folder, "maze", "s7", [1.0, 0.5, 0.75], success=0.875)
    finish(folder, "other", "none", [0.25], success=0.5, log=[(2_500_000, 0.5, 90, 50)])
    write_report(folder.path)
    assert (folder.path / "report" / "table.md").read_text() == (
        "| task | agent | seeds | success | IQM (95 %) | steps | minutes | to 0.99 |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| maze | `s7` | 0 to 2 | 0.88, 0.88, 0.88 | 0.88 (0.88 to 0.88) | 0.00M | 0.1 |  |\n"
        "| other | `none` | 0 | 0.50 |  | 2.50M | 1.5 |  |\n"
    )


def test_it_has_what_training_took_until_it_succeeded_and_how_many_did(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, seeds=3)
    learned = [(1_000_000, 0.5, 60, 50, 0.6), (2_000_000, 0.9, 120, 50, 0.99), (3_000_000, 0.9, 180, 50, 1.0)]
    finish(folder, "maze", "s7", [1.0, 1.0], success=1.0, log=learned)
    finish(folder, "maze", "none", [0.5], success=0.5, log=learned[:1])
    finish(folder, "maze", "stack", [1.0, 1.0, 1.0], success=1.0, log=learned[:1])
    write_log(folder.run(cell_of(folder, "maze", "stack", 1)), learned)
    cells = [
        line.split(" | ")[-1].strip("| ") for line in markdown_table(Analysis(read_record(folder.path))).splitlines()
    ]
    assert cells[2:] == ["2.00M, 2.0 min", "", "1 of 3: 2.00M, 2.0 min"]


def test_it_has_returns_where_a_task_tells_no_success_and_medians_of_the_training(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE, "pole": UNKNOWN}, seeds=2)
    finish(folder, "maze", "s7", [1.0, 0.5], success=0.875)
    finish(folder, "pole", "s7", [123.4, -0.256], log=[(1_000_000, 0.5, 60, 50)])
    _, _, *lines = markdown_table(Analysis(read_record(folder.path))).splitlines()
    assert lines == [
        "| maze | `s7` | 0, 1 | 1.00, 0.50 |  | 0.00M | 0.1 |",
        "| pole | `s7` | 0, 1 | 123, -0.26 |  | 1.00M | 1.0 |",
    ]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_the_tables_of_the_results_are_those_of_their_records(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No yardstick stands in the table, and those of a task that is not ours take a worker each.
    monkeypatch.setattr(data, "yardsticks_of", lambda settings: Yardsticks())
    for name in ("experiment.json", "runs.jsonl"):
        shutil.copy(record / name, tmp_path / name)
    table = markdown_table(Analysis(read_record(tmp_path)))
    header = table.splitlines()[0]
    blocks = (record / "README.md").read_text().split("\n\n")
    assert [block.strip() for block in blocks if block.strip().startswith(header)] == [table.strip()]


@pytest.mark.parametrize("name", ["tmaze", "minigrid"])
def test_scores_in_environments_that_an_agent_never_saw_are_those_of_their_file(name: str) -> None:
    scores = defaultdict(list)
    with (RESULTS / name / "elsewhere.csv").open() as file:
        for row in csv.DictReader(file):
            learned, played = (TITLES.get(row[its], row[its]) for its in ("learned", "played"))
            scores[f"`{row['agent']}`", learned, played].append(f"{float(row['success_rate']):.2f}")
    _, text = (RESULTS / name / "README.md").read_text().split("elsewhere.csv")
    lines = text[text.index("| agent |") :].split("\n\n")[0].splitlines()
    head, _, *table = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    rows = [dict(zip(head, cells, strict=True)) for cells in table]
    titles = set(head) & set(TITLES.values())
    cells = {(row["agent"], row["learned"], title): row[title] for row in rows for title in titles if row[title]}
    assert scores
    assert cells == {where: ", ".join(rates) for where, rates in scores.items()}
