"""The floors import only downwards, environments never load torch, and the mapped names are the only ones."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the ground up: a floor may import itself and every floor before it.
FLOORS = {
    "s7rl": ROOT / "s7rl",
    "s7rl.envs": ROOT / "envs",
    "s7rl.agents": ROOT / "agents",
    "s7rl.experiments": ROOT / "experiments",
}
HEAVY = {"torch", "stable_baselines3", "sb3_contrib"}
SUITES = {"Box2D", "ale_py", "cv2", "minigrid", "miniworld", "mujoco", "popgym", "pygame", "pyglet", "vizdoom"}
MAY_NOT = {"s7rl": {"stable_baselines3", "sb3_contrib", "gymnasium"}, "s7rl.envs": HEAVY}
# Python wants __main__ in the package that it runs, and nothing imports it.
EXEMPT = {ROOT / "s7rl" / "__main__.py"}


def modules(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"no module in {folder}"
    return found


def dotted(path: Path, name: str, folder: Path) -> str:
    """The installed name of a module of a floor."""
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join([name, *(part for part in parts if part != "__init__")])


def imported(source: str, package: str) -> Iterator[str]:
    """Every name that a source imports, anywhere in it, relative ones resolved within ``package``.

    ``from s7rl import agents`` counts as s7rl.agents, and a call ``import_module("x")`` with a literal as x.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            yield home
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def floor_of(name: str) -> str | None:
    """The floor that an imported name belongs to: the deepest one that it starts with, None outside s7rl."""
    owners = [floor for floor in FLOORS if name == floor or name.startswith(f"{floor}.")]
    return max(owners, key=len, default=None)


def wrong_imports(source: str, floor: str, package: str) -> list[str]:
    """The imports of a module that lead upwards or to a library that its floor does without."""
    order = list(FLOORS)
    allowed = set(order[: order.index(floor) + 1])
    if floor == "s7rl.envs":
        allowed -= {"s7rl"}  # tasks stand beside the sequence models, not on them
    wrong = []
    for name in imported(source, package):
        target = floor_of(name)
        bare = name.split(".")[0] in ("agents", "envs", "experiments")
        # The package's own name is on the way to every floor, and `from s7rl import __version__` is nobody's floor.
        # The checks of arguments are everybody's, and need numpy alone.
        everybodys = name in ("s7rl", "s7rl.__version__") or name.startswith("s7rl.checks")
        upwards = target is not None and target not in allowed and not everybodys
        if bare or upwards or name.split(".")[0] in MAY_NOT.get(floor, set()):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_what_lies_below_it(floor: str) -> None:
    wrong = {}
    for path in modules(FLOORS[floor]):
        if path in EXEMPT:
            continue
        name = dotted(path, floor, FLOORS[floor])
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        if found := wrong_imports(path.read_text(), floor, package):
            wrong[path.relative_to(ROOT).as_posix()] = found
    assert wrong == {}


@pytest.mark.parametrize(
    ("source", "floor", "package"),
    [
        ("from s7rl.agents import RecurrentPPO", "s7rl", "s7rl.cores"),
        ("from s7rl import agents", "s7rl.envs", "s7rl.envs"),
        ("def late():\n    import s7rl.experiments.cli", "s7rl.agents", "s7rl.agents"),
        ("from .. import experiments", "s7rl.agents", "s7rl.agents"),
        ("from ..agents.ppo import RecurrentPPO", "s7rl.envs", "s7rl.envs"),
        ("import_module('s7rl.agents')", "s7rl", "s7rl"),
        ("import torch.nn", "s7rl.envs", "s7rl.envs"),
        ("from s7rl import make_core", "s7rl.envs", "s7rl.envs"),
        ("from stable_baselines3 import PPO", "s7rl", "s7rl"),
        ("import envs.tmaze", "s7rl.agents", "s7rl.agents"),
    ],
)
def test_an_import_that_leads_upwards_is_noticed(source: str, floor: str, package: str) -> None:
    assert wrong_imports(source, floor, package)


@pytest.mark.parametrize(
    ("source", "floor", "package"),
    [
        ("from s7rl.envs import make_env", "s7rl.agents", "s7rl.agents"),
        ("from s7rl import __version__", "s7rl.envs", "s7rl.envs"),
        ("from .tmaze import TMaze", "s7rl.envs", "s7rl.envs"),
        ("from ..scan import linear_scan", "s7rl", "s7rl.cores"),
        ("import torch", "s7rl.agents", "s7rl.agents"),
    ],
)
def test_an_import_that_leads_downwards_is_let_through(source: str, floor: str, package: str) -> None:
    assert wrong_imports(source, floor, package) == []


@pytest.mark.parametrize(
    "program",
    [
        "import s7rl",
        "import s7rl.envs.wrappers.by_name",
        "import s7rl.envs as e; e.make_env('s7rl/TMazePassive-v0').reset(); e.find_task('MiniGrid-MemoryS11-v0')",
    ],
)
def test_the_light_floors_load_no_heavy_library_and_no_suite_before_it_is_asked_for(program: str) -> None:
    program += f"; import sys; print(*sorted({HEAVY | SUITES!r} & set(sys.modules)))"
    # -P is younger than Python 3.10; from / nothing of the tree is on the path by accident.
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd="/", check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_a_clone_that_is_taken_for_the_package_is_named(tmp_path: Path) -> None:
    """A script beside the clone finds the clone's folder first; fails if half of the package is imported from there."""
    (tmp_path / "s7rl").symlink_to(ROOT)
    (tmp_path / "train.py").write_text("from s7rl.agents import RecurrentPPO")
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: Python takes the folder {tmp_path / 's7rl'} for the package s7rl")
