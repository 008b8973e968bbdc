"""The declaration of a grid: what it stands for, and one line for everything that cannot be used.

Mutations that were seen to fail: the options of every run last; a control missing where an agent merely has its name,
or added though it is there under another one; the first seed planned for all; the summary compared; a task without an
environment, --out=x, true as a number of seeds or no evaluation let through; only the beginning of a name checked; an
environment made for every agent.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from s7rl.experiments.errors import UsageError
from s7rl.experiments.experiment import planned, with_controls
from s7rl.experiments.grid import Grid, grid_from, read_grid
from s7rl.experiments.plan import named_task
from s7rl.experiments.presets import EXPERIMENTS, GRIDS

TASKS = {"maze": "s7rl/TMazePassive-v0 --env-kwargs corridor_length=5 --steps 2e3"}


def test_the_first_seed_of_every_agent_on_every_task_comes_first() -> None:
    grid = Grid(tasks={**TASKS, "pole": "CartPole-v1"}, agents={"a": "--agent s7", "b": "--agent gru"}, seeds=(4, 2))
    assert [str(cell) for cell in grid.cells()] == [
        "maze/a/seed4",
        "maze/b/seed4",
        "pole/a/seed4",
        "pole/b/seed4",
        "maze/a/seed2",
        "maze/b/seed2",
        "pole/a/seed2",
        "pole/b/seed2",
    ]


def test_words_are_read_as_a_shell_reads_them_with_the_options_of_every_run_first() -> None:
    tasks = {"m": "Maze-v0 --wrappers \"Flicker(probability=0.5)\" 'My Wrapper' --steps 2e3"}
    grid = Grid(tasks=tasks, agents={"s7": "--agent s7 --d-model 8"}, seeds=(7,), options="--steps 10 --anneal False")
    (cell,) = grid.cells()
    assert (cell.task, cell.agent, cell.seed) == ("m", "s7", 7)
    assert cell.words == (
        "Maze-v0",
        *("--steps", "10", "--anneal", "False"),
        *("--wrappers", "Flicker(probability=0.5)", "My Wrapper", "--steps", "2e3"),
        *("--agent", "s7", "--d-model", "8"),
        *("--seed", "7"),
    )


def test_an_agent_overrides_its_task_and_a_task_the_options_of_every_run() -> None:
    options = "--n-envs 4 --n-steps 64 --steps 1e6 --eval-episodes 2"
    tasks = {"maze": f"{TASKS['maze']} --n-steps 32 --steps 2000"}
    grid = Grid(tasks=tasks, agents={"s7": "--agent s7", "long": "--agent s7 --steps 3000"}, options=options)
    runs = [run for cell, run in planned(grid).items() if cell.seed == 1]
    assert [(run.settings.n_envs, run.settings.n_steps, run.settings.steps) for run in runs] == [
        (4, 32, 2000),
        (4, 32, 3000),
    ]
    assert {run.request.eval_episodes for run in runs} == {2}
    assert all(run.settings.seed == cell.seed for cell, run in planned(grid).items())


def test_controls_are_added_unless_they_are_there_under_any_name() -> None:
    grid = with_controls(Grid(tasks=TASKS, agents={"s7": "--agent s7", "blind": "--agent=none --d-model 8"}))
    assert grid.agents == {"s7": "--agent s7", "blind": "--agent=none --d-model 8", "stack": "--agent stack"}
    assert list(grid.agents) == ["s7", "blind", "stack"]
    assert with_controls(grid) == grid


def test_controls_take_no_options_of_the_cores_of_others() -> None:
    tasks = {"maze": f"{TASKS['maze']} --d-state=16 --core_kwargs horizon=2,50 n_frames=3 --d-model 8"}
    options = "--core-kwargs rotation=0.5 --d-state 8 --steps 2000"
    grid = with_controls(Grid(tasks=tasks, agents={"s7": "--agent s7"}, seeds=(0,), options=options))
    requests = {cell.agent: run.request for cell, run in planned(grid).items()}
    assert (requests["s7"].network.d_state, requests["s7"].steps) == (16, 2000)
    core_kwargs = {agent: request.network.core_kwargs for agent, request in requests.items()}
    assert core_kwargs == {"s7": ("horizon=2,50", "n_frames=3"), "none": (), "stack": ("n_frames=3",)}
    for control in ("none", "stack"):
        network = requests[control].network
        assert (requests[control].steps, network.d_model, network.d_state) == (2000, 8, None)
    with pytest.raises(UsageError, match="--d-state 8 is for state space models, agent none is none: leave it out"):
        planned(Grid(tasks=tasks, agents={"none": "--agent none --d-state 8"}))


def test_an_agent_that_has_only_the_name_of_a_control_is_refused() -> None:
    grid = Grid(tasks=TASKS, agents={"none": "--agent s7", "s7": "--agent s7"})
    with pytest.raises(UsageError, match="agents: none is of the preset s7, and has the name of a control, which is "):
        with_controls(grid)


def test_a_file_says_what_a_grid_says(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(
        'summary = "who"\nagents = ["s7", "gru"]\nseeds = 2\noptions = "--n-envs 4"\n[tasks]\nm = "Maze-v0 --steps 9"'
    )
    expected = Grid(
        tasks={"m": "Maze-v0 --steps 9"},
        agents={"s7": "--agent s7", "gru": "--agent gru"},
        seeds=(0, 1),
        options="--n-envs 4",
    )
    assert read_grid(path) == expected
    assert read_grid(path).summary == "who"
    path.write_text('seeds = [5, 3]\n[tasks]\nm = "Maze-v0"\n[agents]\nwide = "--agent s7 --d-model 128"')
    assert read_grid(path) == Grid(tasks={"m": "Maze-v0"}, agents={"wide": "--agent s7 --d-model 128"}, seeds=(5, 3))
    path.write_text('agents = ["s7"]\n[tasks]\nm = "Maze-v0"')
    assert read_grid(path).seeds == (0, 1, 2)


def test_what_is_written_is_read_back_and_a_new_summary_makes_no_other_grid() -> None:
    grid = Grid(tasks=TASKS, agents={"s7": "--agent s7"}, seeds=(3, 1), options="--n-envs 4", summary="who")
    assert grid_from(grid.as_dict(), "x") == grid
    assert grid_from(grid.as_dict(), "x").summary == "who"
    assert grid_from({**grid.as_dict(), "summary": "whoever"}, "x") == grid
    assert grid_from({**grid.as_dict(), "options": ""}, "x") != grid


GOOD = {"tasks": {"m": "Maze-v0"}, "agents": ["s7"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": None}, "x.toml has no tasks: name at least one"),
        ({"agents": None}, "x.toml has no agents: name at least one"),
        ({"task": {}}, "x.toml has the key 'task': a grid has summary, tasks, agents, seeds, options"),
        ({"tasks": ["Maze-v0"]}, 'x.toml: tasks must be a table of texts, as in [tasks] and name = "ENV --steps 1e5"'),
        ({"tasks": {"m": "Maze-v0", "seeds": 3}}, "; all else above it"),
        ({"agents": "s7"}, 'x.toml: agents must be a list of names, as in ["s7", "gru"], or a table of texts'),
        ({"agents": ["s7", 1]}, "agents must be a list of names"),
        ({"agents": ["s7", "s7"]}, "x.toml: agents ['s7', 's7'] has one twice: name each once"),
        ({"agents": []}, "x.toml: agents is empty: name at least one"),
        ({"tasks": {}}, "x.toml: tasks is empty: name at least one"),
        ({"agents": {"../up": "--agent s7"}}, "agents: '../up' cannot name a folder: take letters, digits, '.', '_'"),
        ({"tasks": {".hidden": "Maze-v0"}}, "tasks: '.hidden' cannot name a folder"),
        ({"tasks": {"a b": "Maze-v0"}}, "tasks: 'a b' cannot name a folder"),
        ({"tasks": {"m": "--steps 3"}}, 'x.toml: tasks: m = "--steps 3" must begin with an environment, as `s7rl list'),
        ({"tasks": {"m": " "}}, 'x.toml: tasks: m = " " must begin with an environment'),
        ({"tasks": {"m": "Maze-v0 'a"}}, 'tasks: m = "Maze-v0 \'a" cannot be read: No closing quotation'),
        ({"agents": {"a": "--agent \\"}}, "agents: a = '--agent \\\\' cannot be read: No escaped character"),
        ({"options": '"'}, "options = '\"' cannot be read: No closing quotation"),
        ({"options": "--seed 3"}, "options = '--seed 3' has --seed, which a grid sets itself: leave it out"),
        ({"tasks": {"m": "Maze-v0 --out=x"}}, "tasks: m = 'Maze-v0 --out=x' has --out, which a grid sets itself"),
        ({"agents": {"a": "--runs x"}}, "agents: a = '--runs x' has --runs, which a grid sets itself"),
        ({"seeds": 0}, "x.toml: seeds 0 must be a number above 0, or a list of numbers from 0 on"),
        ({"seeds": True}, "x.toml: seeds True must be a number above 0"),
        ({"seeds": [0, 0.5]}, "x.toml: seeds [0, 0.5] must be a number above 0"),
        ({"seeds": []}, "x.toml: seeds is empty: name at least one"),
        ({"seeds": [1, 2, 1]}, "x.toml: seeds [1, 2, 1] has one twice: name each once"),
        ({"seeds": [1, -2]}, "x.toml: seeds [1, -2] has -2: they lie between 0 and 2147483647"),
        ({"seeds": [2**31]}, "x.toml: seeds [2147483648] has 2147483648: they lie between 0 and 2147483647"),
        ({"options": 3}, "x.toml: options 3 must be a text"),
        ({"summary": ["who"]}, "x.toml: summary ['who'] must be a text"),
    ],
)
def test_what_cannot_be_used_is_named(change: dict[str, object], message: str) -> None:
    content = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(UsageError) as refusal:
        grid_from(content, "x.toml")
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("x.toml")
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file or directory$"):
        read_grid(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("agents = [")
    with pytest.raises(UsageError, match=r"bad\.toml is not TOML: "):
        read_grid(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'summary = "\xe9"')
    with pytest.raises(UsageError, match=r"latin\.toml is not TOML: "):
        read_grid(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(tasks={"m": "s7rl/TMazPassive-v0"}, agents={"s7": ""}), "m/s7: "),
        (Grid(tasks=TASKS, agents={"s8": "--agent s8"}), "maze/s8: there is no agent 's8'"),
        (Grid(tasks=TASKS, agents={"s7": "s7"}), "maze/s7: 's7' is one word too many"),
        (Grid(tasks=TASKS, agents={"s7": "--agnet s7"}), "maze/s7: there is no option --agnet; did you mean --agent?"),
        (Grid(tasks=TASKS, agents={"s7": "--d-model eight"}), "maze/s7: "),
        (Grid(tasks=TASKS, agents={"s7": ""}, options="--eval-episodes 0"), "maze/s7: --eval-episodes 0: a grid needs"),
        (Grid(tasks=TASKS, agents={"s7": "--help"}), "asks for help"),
    ],
)
def test_what_no_run_could_do_is_found_before_anything_begins(grid: Grid, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        planned(grid)
    assert message in str(refusal.value)


def test_an_environment_is_made_once_for_all_its_agents_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def find(*request: object) -> object:
        made.append(request)
        return named_task(*request)  # type: ignore[arg-type]

    monkeypatch.setattr("s7rl.experiments.experiment.named_task", find)
    tasks = {
        "a": "CartPole-v1",
        "b": "CartPole-v1 --n-envs 4",
        "c": "s7rl/TMazePassive-v0 --env-kwargs corridor_length=5",
    }
    runs = planned(Grid(tasks=tasks, agents={"s7": "--agent s7", "gru": "--agent gru"}))
    assert len(runs) == 18
    assert len(made) == 2


def test_every_preset_can_be_planned_and_has_a_name_of_its_own() -> None:
    assert GRIDS
    assert not set(GRIDS) & set(EXPERIMENTS)
    for grid in GRIDS.values():
        assert grid.summary
        grid = with_controls(grid)
        assert len(planned(grid)) == len(grid.tasks) * len(grid.agents) * len(grid.seeds)
