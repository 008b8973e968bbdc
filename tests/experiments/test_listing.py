"""`s7rl list envs`: every suite has settings, and the filters keep what they say.

Mutations that were tried: the filter by suite left out, the one by text case-sensitive, a suite without settings, a
speed of 0 where none was measured, observations without actions, a suite's package imported; the table in a pipe, lines
in a terminal, spaces for tabs, empty parts left out, the note before the figures; ids in alphabetical order, or as they
come; only the first of several suites, or the last;
grids left out of the experiments, or not filtered.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from s7rl.envs import has_batched_engine, task_ids
from s7rl.envs.registry import SUITES as ENVIRONMENTS
from s7rl.experiments import listing
from s7rl.experiments.cli import main
from s7rl.experiments.measured import MeasuredEnv, measured_envs
from s7rl.experiments.presets import GRIDS, SUITES


def test_every_suite_of_environments_has_settings_to_learn_with() -> None:
    assert {suite.name for suite in ENVIRONMENTS} | {"gymnasium"} == set(SUITES)


def test_the_filters_keep_what_belongs_to_the_suite_and_has_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "envs", "--suite", "memory", "--text", "tmaze"]) == 0
    output = capsys.readouterr().out
    assert "s7rl/TMazePassive-v0" in output
    assert "s7rl/TMazeActive-v0" in output
    assert "s7rl/Needle-v0" not in output
    assert "batched" in output
    assert main(["list", "envs", "--suite", "memory", "--text", "first"]) == 0
    output = capsys.readouterr().out
    assert "s7rl/RepeatFirst-v0" in output
    assert "popgym-RepeatFirst" not in output


def test_an_agent_is_found_by_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "agents", "--text", "ANCESTOR"]) == 0
    output = capsys.readouterr().out
    assert "s5" in output
    assert "lstm" not in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("envs --suite memry", "there is no suite 'memry'; did you mean memory?"),
        ("envs --suite memory --suite memry", "there is no suite 'memry'; did you mean memory?"),
        ("agents --suite memory", "leave it out"),
    ],
)
def test_a_wrong_filter_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def measured(speed: float) -> MeasuredEnv:
    return MeasuredEnv(observations="Box(7)", actions="Discrete(5)", n_envs=64, steps_per_second=speed)


def test_spaces_and_speed_stand_in_the_table_where_they_were_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes what it writes to for a terminal
    speeds = {"s7rl/CartPoleNoisy-v0": measured(940_000.0), "s7rl/CartPolePositionOnly-v0": measured(1_260_000.0)}
    monkeypatch.setattr(listing, "measured_envs", lambda: speeds | {"s7rl/PendulumNoisy-v0": measured(12_345.0)})
    assert main(["list", "envs", "--suite", "control"]) == 0
    lines = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).splitlines()
    assert any("─────" in line for line in lines)
    noisy, position, pendulum, acrobot = (
        f"{lines[row]} {lines[row + 1]}"
        for name in ("CartPoleNoisy", "CartPolePositionOnly", "PendulumNoisy", "AcrobotNoisy")
        for row in [next(i for i, line in enumerate(lines) if f"s7rl/{name}-v0" in line)]
    )
    assert "940k" in noisy
    assert "up to 500 steps, Box(7) -> Discrete(5), batched: balance" in noisy
    assert "1.3M" in position
    assert "12k" in pendulum
    assert "batched" not in pendulum
    assert "Box(7)" not in acrobot
    assert re.search(r"-499 +control, ", acrobot), "no speed was measured: its cell is empty"


def test_a_pipe_gets_lines_with_tabs_that_are_neither_wrapped_nor_coloured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(listing, "measured_envs", lambda: {"s7rl/CartPoleNoisy-v0": measured(940_000.0)})
    assert main(["list", "envs", "--suite", "control", "--text", "Noisy"]) == 0
    headings, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert headings == ["env", "random", "no memory", "optimum", "steps/s", "its suite and what it asks for"]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["s7rl/CartPoleNoisy-v0"][3:] == [
        "940k",
        "control, up to 500 steps, Box(7) -> Discrete(5), batched: balance a pole from noisy positions and velocities",
    ]
    assert by_name["s7rl/AcrobotNoisy-v0"][:4] == ["-499", "", "", ""]
    assert main(["list", "experiments", "--text", "tmaze-500"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "experiment\tits command\twhat it shows",
        "tmaze-500\ts7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=500\tthe same for 500 steps",
    ]


def test_grids_stand_among_the_experiments_with_their_own_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "experiments", "--text", "s7rl experiment"]) == 0
    rows = [tuple(line.split("\t")) for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [(name, f"s7rl experiment {name}", grid.summary) for name, grid in GRIDS.items()]
    assert main(["list", "experiments", "--text", "TMAZE-1000"]) == 0
    assert "basics" not in capsys.readouterr().out


def test_sizes_are_in_natural_order_and_all_else_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "envs"]) == 0
    names = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    sizes = [int(size) for name in names for size in re.findall(r"^MiniGrid-MemoryS(\d+)-v0$", name)]
    assert sizes[:4] == [7, 9, 11, 13]
    assert sizes[-1] == 101
    assert sizes == sorted(sizes)
    assert sorted(names) == sorted(task_ids())
    others = [name for name in task_ids() if not name.startswith("MiniGrid")]
    assert [name for name in names if not name.startswith("MiniGrid")] == others


def test_several_suites_are_listed_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "envs", "--suite", "atari", "--suite", "memory"]) == 0
    suites = {line.split("\t")[-1].split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]}
    assert suites == {"atari", "memory"}


def test_the_table_that_comes_with_the_package_is_of_environments_that_exist() -> None:
    figures = measured_envs()
    assert set(figures) <= set(task_ids())
    assert {env_id for env_id in task_ids() if has_batched_engine(env_id)} <= set(figures)
    assert {env.n_envs for env_id, env in figures.items() if has_batched_engine(env_id)} == {64}


def test_every_engine_of_ours_makes_a_million_steps_a_second() -> None:
    # What the list says below its table. An engine that does not reach it would have to say why.
    slow = {env_id: env.steps_per_second for env_id, env in measured_envs().items() if env.steps_per_second < 1e6}
    assert [env_id for env_id in slow if has_batched_engine(env_id)] == []
    assert len(slow) == len(measured_envs()) - sum(map(has_batched_engine, task_ids()))


def test_the_list_imports_no_suite_and_no_torch() -> None:
    code = """
import sys
from s7rl.experiments.cli import main
main(["list", "envs"])
heavy = ("torch", "stable_baselines3", "minigrid", "popgym", "ale_py", "mujoco", "Box2D", "pygame")
print([name for name in heavy if name in sys.modules])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert output.stdout.splitlines()[-1] == "[]"


def test_ids_are_whole_in_a_terminal_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert main(["list", "envs"]) == 0
    table = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).split("--suite")[0]
    assert max(map(len, table.splitlines())) == 80
    assert all(re.search(rf"{re.escape(name)}\b", table) for name in task_ids())
