"""`s7rl inspect` from end to end, on agents that have hardly learned anything.

Mutations seen to fail: files of an earlier inspection left; all sentences but the first missing from the page; a folder
that cannot be written not explained; the decision that was asked about ignored; episodes counted as cut short that came
to their end in the limit's last step.
"""

import csv
import html
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from s7rl.experiments.cli import main

TINY = [*["--n-envs", "8", "--n-steps", "16", "--d-model", "8", "--steps", "1", "--eval-episodes", "0"]]
CORRIDOR = ["--env-kwargs", "corridor_length=5"]
NAMES = {"probe", "gradient", "horizons", "norms", "gates"}


def train(folder: Path, *words: str) -> Path:
    """A run of one rollout."""
    assert main(["train", *words, *TINY, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "s7", *CORRIDOR, "--d-state", "8")


@pytest.fixture(scope="module")
def inspected(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of an inspection, and what was said."""
    folder, said = tmp_path_factory.mktemp("inspected"), io.StringIO()
    with redirect_stdout(said):
        assert main(["inspect", str(run), "--episodes", "60", "--out", str(folder)]) == 0
    return folder, said.getvalue()


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "inspection").iterdir()}


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "inspection" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_agent_that_was_made_to_remember_holds_the_cue(inspected: tuple[Path, str]) -> None:
    folder, said = inspected
    assert "played   60 episodes of " in said
    assert "get_state(): x, y, the y of the goal and the number of steps taken" in said
    assert f"written: {folder / 'inspection.html'}" in said
    assert files(folder) == {f"{name}.{kind}" for name in NAMES for kind in ("png", "csv")}
    goal = [line for line in table(folder, "probe") if line["column"] == "2"]
    assert len(goal) >= 6
    assert all(line["measure"] == "accuracy" and float(line["score"]) > 0.95 for line in goal)
    assert all(0.5 <= float(line["chance"]) < 0.7 for line in goal)
    gradient = table(folder, "gradient")
    assert [int(line["lag"]) for line in gradient] == list(range(len(gradient)))
    assert sum(float(line["share"]) for line in gradient) == pytest.approx(1)


def test_the_page_needs_no_other_file_and_has_every_picture_and_every_sentence(inspected: tuple[Path, str]) -> None:
    folder, said = inspected
    page = html.unescape((folder / "inspection.html").read_text(encoding="utf-8"))
    assert page.count("data:image/png;base64,") == len(NAMES)
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "<h1>What s7 remembers in s7rl/TMazePassive-v0 corridor_length=5</h1>" in page
    sentences = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert len(sentences) >= 6
    for sentence in sentences:
        assert f"<li>{sentence}</li>" in page


@pytest.mark.parametrize("agent", ["none", "stack", "gru", "mamba"])
def test_what_an_agent_does_not_have_is_left_out_and_said(
    agent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(tmp_path / agent, *CORRIDOR, "--agent", agent)
    (folder / "inspection").mkdir()
    (folder / "inspection" / "horizons.png").write_text("of another agent")
    assert main(["inspect", str(folder), "--episodes", "60"]) == 0
    said = capsys.readouterr().out
    missing = {"none": {"horizons", "norms"}, "stack": {"horizons"}}.get(agent, set())
    assert files(folder) == {f"{name}.{kind}" for name in NAMES - missing for kind in ("png", "csv")}
    assert ("left out: nothing in this memory decays" in said) == ("horizons" in missing)
    assert ("left out: this agent has no memory" in said) == ("norms" in missing)
    goal = [float(line["score"]) for line in table(folder, "probe") if line["column"] == "2"]
    if agent == "none":
        assert max(goal) < 0.7
        assert float(table(folder, "gradient")[0]["share"]) == 1.0
    else:
        assert goal[0] == 1.0


def test_a_task_that_hides_its_state_has_no_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(tmp_path / "run", "CartPole-v1", "--workers", "loop", "--worker-timeout", "0")
    assert main(["inspect", str(folder), "--episodes", "3"]) == 0
    assert "left out: the task has no get_state()" in capsys.readouterr().out
    assert files(folder) == {f"{name}.{kind}" for name in NAMES - {"probe"} for kind in ("png", "csv")}


def test_the_same_episodes_are_found_the_same_and_another_decision_looks_back_less_far(
    run: Path, inspected: tuple[Path, str], tmp_path: Path
) -> None:
    words = ["inspect", str(run), "--episodes", "60", "--seed", "10000", "--decision", "2"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    for name in NAMES - {"gradient"}:
        assert table(tmp_path, name) == table(inspected[0], name)
    assert len(table(tmp_path, "gradient")) == 3
    assert len(table(inspected[0], "gradient")) >= 6


def test_only_episodes_that_did_not_end_are_said_to_be_cut_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Every episode ends by itself in its fourth step, with the answer.
    folder = train(tmp_path / "run", "s7rl/MemoryLength-v0", "--env-kwargs", "length=3", "--agent", "none")
    capsys.readouterr()
    for limit, said in ((4, ""), (3, "; 5 of them cut short (--max-steps)")):
        assert main(["inspect", str(folder), "--episodes", "5", "--max-steps", str(limit)]) == 0
        played = capsys.readouterr().out.splitlines()[1]
        assert played.startswith(f"played   5 episodes of {limit} steps")
        assert played.endswith(f"; seeds from 10,000{said}")


def test_time_constants_are_written_at_rest_and_in_play(inspected: tuple[Path, str]) -> None:
    lines = table(inspected[0], "horizons")
    assert len([line for line in lines if line["step"] == "at rest"]) == 8
    assert {line["number"] for line in lines} == {str(number) for number in range(8)}
    assert np.isfinite([float(line["steps"]) for line in lines]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--episodes 0", "--episodes 0 must be at least 1"),
        ("--seed -1", "--seed -1 must not be negative"),
        ("--decision -1", "--decision -1 must not be negative: steps count from 0"),
        ("--out RUN/config.json", "--out RUN/config.json is a file: give a folder"),
        ("--out RUN/config.json/x", "RUN/config.json/x/inspection cannot be written: Not a directory; choose another"),
        ("--episodes 1 --decision 12", "--decision 12 is beyond every episode: the longest has "),
        ("--checkpoint worst", "invalid choice 'worst'"),
    ],
)
def test_a_mistake_is_one_line(words: str, message: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(run), *words.replace("RUN", str(run)).split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"s7rl inspect: {message.replace('RUN', str(run))}")
    assert said.count("\n") == 1


def test_a_run_without_an_agent_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    assert main(["inspect", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (f"s7rl inspect: RUN {tmp_path} has no latest.zip: its training never began\n")
