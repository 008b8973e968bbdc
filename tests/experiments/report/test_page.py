"""The page and the files beside it, for folders written by hand.

Mutations that were seen to fail these tests: texts not escaped; nan written into a CSV; --out ignored; an --out that
exists overwritten; damaged runs left out of those that failed; finished seeds without those that were planned; seeds
of evaluations taken for alike; finished runs not written down; the machine of the experiment for those of its runs.
"""

import base64
import csv
import io
import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console

from s7rl.experiments.config import ExperimentConfig, ReportConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.experiment import experiment
from s7rl.experiments.grid_folder import GridFolder
from s7rl.experiments.report.analysis import Analysis
from s7rl.experiments.report.data import read_record
from s7rl.experiments.report.figures import styles
from s7rl.experiments.report.page import report, write_report
from s7rl.experiments.report.score_sections import score_sections
from s7rl.experiments.run_folder import read_json, write_json
from tests.experiments.report.by_hand import TMAZE, UNKNOWN, begin, cell_of, fail, finish, write_log

FIGURES = [
    "learning_curve-car",
    "learning_curve-maze",
    "memory_gap",
    "normalized_scores",
    "performance_profile",
    "scores",
    "speed",
    "steps_to_threshold",
]


def partly_done(path: Path) -> GridFolder:
    """Two tasks, one of unknown scores; a run failed, one was resumed, and some have not begun."""
    folder = begin(path / "grid", tasks={"maze": TMAZE, "car": UNKNOWN})
    finish(folder, "maze", "s7", [1.0, 0.875, 1.0], success=1.0)
    finish(folder, "maze", "none", [0.5, 0.375, 0.5], success=0.5)
    finish(folder, "car", "s7", [30.0])
    finish(folder, "car", "none", [20.0, 21.0])
    fail(folder, "maze", "stack", 0, "the loss is <nan>: lower --learning-rate")
    run = folder.run(cell_of(folder, "maze", "none", 1))
    write_log(run, [(100, 0.0, 4, 25), (300, 0.5, 8, 25)])
    run.note_resumption(run.settings(), ["s7rl", "resume"], 100)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> GridFolder:
    """A folder with its page."""
    folder = partly_done(tmp_path_factory.mktemp("report"))
    assert write_report(folder.path) == folder.path / "report.html"
    return folder


def text_of(page: Path) -> str:
    """What a reader sees, in one line."""
    body = page.read_text(encoding="utf-8").partition("<body>")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def numbers(folder: GridFolder, name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO((folder.path / "report" / f"{name}.csv").read_text(encoding="utf-8"))))


def test_the_page_holds_every_figure_that_lies_beside_it_with_its_numbers(folder: GridFolder) -> None:
    page = folder.path / "report.html"
    beside = {path.name: path.read_bytes() for path in (folder.path / "report").iterdir()}
    figures = (f"{name}.{kind}" for name in FIGURES for kind in ("csv", "png"))
    assert sorted(beside) == sorted([*figures, "table.md"])
    html = page.read_text(encoding="utf-8")
    pictures = {base64.b64decode(data) for data in re.findall(r'<img src="data:image/png;base64,([^"]*)"', html)}
    assert pictures == {content for name, content in beside.items() if name.endswith(".png")}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    tables = re.findall(r'<a download="([^"]*)" href="data:text/csv;base64,([^"]*)"', html)
    assert {name: base64.b64decode(data) for name, data in tables} == {
        name: content for name, content in beside.items() if name.endswith(".csv")
    }


def test_the_page_loads_nothing_from_anywhere(folder: GridFolder) -> None:
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href|srcset|action)="([^"]{0,30})', html)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"https?:|@import|url\(|<script", html)


def test_the_page_says_what_ran_and_how(folder: GridFolder) -> None:
    text = text_of(folder.path / "report.html")
    for said in (
        "grid made by <hand> 2 tasks, 3 agents, 3 seeds: 18 runs, 9 of them finished.",
        "s7rl experiment by_hand.toml",
        "maze s7rl/TMazePassive-v0 --env-kwargs corridor_length=5",
        "stack --agent stack",
        "s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=5 --agent s7 --seed 2",
        "torch 2",
        "cores",
    ):
        assert said in text


def test_scores_stand_beside_what_can_be_had(folder: GridFolder) -> None:
    text = text_of(folder.path / "report.html")
    assert "maze s7 3 of 3 400,000 0.96 (0.88 to 1.00) 1.00 (1.00 to 1.00) none 3 of 3 400,000 0.46" in text
    assert "0.50 (0.50 to 0.50) stack 0 of 3 \N{EN DASH} \N{EN DASH} \N{EN DASH} car" in text
    assert "car s7 1 of 3 50,000 30.00 \N{EN DASH} none 2 of 3 50,000 20.50 (20.00 to 21.00)" in text
    assert "maze -1.77 0.50 1.00 car" in text
    assert "not known" in text
    rows = numbers(folder, "scores")
    assert rows[0] == ["task", "agent", "seed", "mean_return", "success_rate", "iqm", "low", "high"]
    assert rows[2][:5] == ["maze", "s7", "1", "0.875", "1"]
    assert rows[7] == ["car", "s7", "0", "30", "", "30", "", ""]


def test_it_is_said_whether_all_runs_were_evaluated_on_environments_seeded_alike(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=2)
    finish(folder, "maze", "s7", [1.0, 0.5], episodes=1)

    def text() -> str:
        analysis = Analysis(read_record(folder.path))
        return next(iter(score_sections(analysis, styles(analysis.agents)))).text[-1]

    assert text().startswith(
        "1 episode each, and for all agents and seeds on environments that are seeded alike, from "
    )
    evaluation = folder.run(cell_of(folder, "maze", "s7", 1)).evaluation
    write_json(evaluation, {**read_json(evaluation), "seed": 20_000, "episodes": 50})
    folder.lines.unlink()
    assert text() == (
        "1 or 50 episodes each, on environments seeded from 10,000 and 20,000 on: not the same ones for all runs."
    )


def test_steps_and_seconds_are_told_run_by_run(folder: GridFolder) -> None:
    text = text_of(folder.path / "report.html")
    assert "maze 0.95 s7 3 of 3 300 300, 300, 300 none 2 of 3 300 300, \N{EN DASH}, 300" in text
    assert "maze s7 6 s (6 s to 6 s) 50 (50 to 50) \N{EN DASH} none 6 s (6 s to 12 s) 50 (25 to 50) 1 car" in text
    assert numbers(folder, "steps_to_threshold")[5] == ["maze", "none", "1", "0.95", ""]
    # 4 s before it was resumed, and 200 steps at 25 a second after it.
    assert numbers(folder, "speed")[5] == ["maze", "none", "1", "300", "12", "25", "1"]


def test_runs_without_a_score_are_named_with_their_errors(folder: GridFolder) -> None:
    text = text_of(folder.path / "report.html")
    assert "maze/stack/seed0 failed: the loss is <nan>: lower --learning-rate" in text
    assert "8 stopped or not begun car/stack/seed0 new" in text
    assert "car/none/seed2 new" in text


def test_a_run_whose_log_is_gone_is_named_as_damaged(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=2)
    finish(folder, "maze", "s7", [1.0, 0.0])
    folder.run(cell_of(folder, "maze", "s7", 1)).progress.unlink()
    assert "maze/s7/seed1 damaged: FileNotFoundError" in text_of(write_report(folder.path))


def test_the_page_is_the_same_without_the_run_folders_and_says_on_which_machines_they_were(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"})
    finish(folder, "maze", "s7", [1.0, 0.0, 1.0])
    for seed, cores in enumerate((2, 2, 64)):
        config = folder.run(cell_of(folder, "maze", "s7", seed)).config
        write_json(config, {**read_json(config), "machine": {"processor": "Z80", "cores": cores, "memory_gb": 0.5}})
    before = write_report(folder.path).read_bytes()
    shutil.rmtree(folder.path / "runs")
    page = write_report(folder.path)
    assert page.read_bytes() == before
    z80 = "Z80, cores: {}, memory: 0.5 GB"
    assert f"ran on 2 runs on {z80.format(2)}; 1 run on {z80.format(64)}" in text_of(page)
    assert "ran on more than one machine" in text_of(page)


def test_a_complete_grid_says_nothing_of_unfinished_runs(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"})
    finish(folder, "maze", "s7", [1.0, 0.0, 1.0])
    text = text_of(write_report(folder.path))
    assert "1 task, 1 agent, 3 seeds: 3 runs, all finished." in text
    assert "Not finished" not in text


def test_one_run_of_an_unknown_task_without_an_episode_has_a_page(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"car": UNKNOWN}, agents={"s7": "--agent s7"}, seeds=1)
    finish(folder, "car", "s7", [1.0], log=[(100, None, 0, 100)])
    text = text_of(write_report(folder.path))
    assert sorted(path.name for path in (folder.path / "report").iterdir()) == [
        "scores.csv",
        "scores.png",
        "speed.csv",
        "speed.png",
        "table.md",
    ]
    for said in ("No episode ended in the logged time.", "No task has a threshold", "both with and without memory"):
        assert said in text


def test_the_command_writes_again_and_refuses_only_a_file_that_it_was_told_of(
    folder: GridFolder, tmp_path: Path
) -> None:
    shown = io.StringIO()
    console = Console(file=shown)
    assert report(ReportConfig(folder=str(folder.path)), console) == 0
    assert shown.getvalue() == f"report: {folder.path / 'report.html'}\n"
    elsewhere = tmp_path / "page.html"
    assert report(ReportConfig(folder=str(folder.path), out=str(elsewhere)), console) == 0
    assert elsewhere.read_bytes() == (folder.path / "report.html").read_bytes()
    with pytest.raises(UsageError, match="exists already, and nothing is overwritten: give another file"):
        report(ReportConfig(folder=str(folder.path), out=str(elsewhere)), console)
    with pytest.raises(UsageError, match="lies in a folder that does not exist: make it first"):
        report(ReportConfig(folder=str(folder.path), out=str(tmp_path / "none" / "page.html")), console)


def test_an_experiment_ends_with_its_report_if_a_run_is_finished(tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(f'summary = "made by <hand>"\nagents = ["s7"]\nseeds = 2\n[tasks]\nmaze = "{TMAZE}"\n')
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=2)
    fail(folder, "maze", "s7", 1, "no")
    finish(folder, "maze", "s7", [1.0])
    shown = io.StringIO()
    request = ExperimentConfig(grid=str(grid), out=str(folder.path), controls=False)
    assert experiment(request, ["s7rl"], Console(file=shown, width=200)) == 1  # for one has failed
    assert f"report: {folder.path / 'report.html'}" in shown.getvalue().splitlines()
    assert "maze/s7/seed1 failed: no" in text_of(folder.path / "report.html")


def test_an_experiment_of_which_all_runs_failed_ends_without_a_report(tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(f'summary = "made by <hand>"\nagents = ["s7"]\nseeds = 1\n[tasks]\nmaze = "{TMAZE}"\n')
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE}, agents={"s7": "--agent s7"}, seeds=1)
    fail(folder, "maze", "s7", 0, "no")
    request = ExperimentConfig(grid=str(grid), out=str(folder.path), controls=False)
    shown = io.StringIO()
    assert experiment(request, ["s7rl"], Console(file=shown, width=200)) == 1
    assert "no report: " in shown.getvalue()
    assert not (folder.path / "report.html").exists()


# Seen to fail it: the longest of no logs.
def test_runs_without_a_line_in_their_logs_have_a_page_all_the_same(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"maze": TMAZE})
    finish(folder, "maze", "s7", [1.0, 1.0], log=[])
    finish(folder, "maze", "none", [0.5, 0.5], log=[])
    assert "not reached" in text_of(write_report(folder.path))
