"""The tree itself: links for the type checkers, one version, and nothing that belongs to one machine."""

import os
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import s7rl

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LINKS = ROOT / ".typing" / "s7rl"
MAPPED = ("agents", "envs", "experiments")
LEFT_BY_TOOLS = {"__pycache__"}

# Spelled in pieces, or this file would find itself.
NOT_HERE = re.compile(
    "|".join(
        [
            "/" + r"(?:home|root|Users|mnt|tmp|work|opt)/[\w.]",  # a path of one machine
            r"pypi\." + "org",
            "files.python" + "hosted",
            r"download\.py" + "torch",
            r"conda\.an" + "aconda",
            "ghcr" + r"\.io",
            r"--(?:extra-)?index" + "-url",
        ]
    )
)
LARGEST = 1_000_000
SHAPE_ON_NDARRAY = re.compile(r"\w\[\s*NDArray\b[^\"=]{0,60}\],\s*\"")


def files() -> list[Path]:
    """The files of the project: all but what .gitignore names.  Links are left out, and git need not be there."""
    ignored = [".git", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines())]
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if not any(fnmatch(name, pattern) for pattern in ignored)]
        found += [Path(folder, name) for name in names if not any(fnmatch(name, pattern) for pattern in ignored)]
    found = [path for path in found if not path.is_symlink()]
    assert len(found) > 20, f"found only {len(found)} files in {ROOT}"
    assert {path.suffix for path in found} >= {".py", ".toml", ".md"}
    return found


def test_the_type_checkers_see_every_module_under_its_installed_name() -> None:
    wanted = {item.name: item for item in (ROOT / "s7rl").iterdir() if item.name not in LEFT_BY_TOOLS}
    assert not set(wanted) & set(MAPPED), "a mapped folder would hide a module of the core"
    wanted |= {name: ROOT / name for name in MAPPED}
    links = {link.name: link for link in LINKS.iterdir() if link.name not in LEFT_BY_TOOLS}
    assert set(links) == set(wanted), "in .typing/s7rl: ln -s ../../s7rl/NAME, or remove the link that leads nowhere"
    for name, link in links.items():
        assert link.is_symlink(), f"{link} is no link"
        assert not link.readlink().is_absolute(), f"{link} leads to a path of one machine"
        assert link.resolve() == wanted[name].resolve()


def test_the_version_is_the_same_in_the_code_and_in_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert s7rl.__version__ == project["version"]


def test_the_tested_versions_cover_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    names = {normal(requirement) for requirement in [*project["dependencies"], *extras]} - {"s7rl"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {normal(line) for line in lines if line and not line.startswith("#")}
    assert len(names) > 20
    assert names <= pinned, f"constraints.txt pins no {sorted(names - pinned)}"
    assert [line for line in lines if line and not line.startswith("#") and "==" not in line] == []


def test_shapes_are_written_on_np_ndarray() -> None:
    """Before a shape jaxtyping takes a class; with numpy 2.5 (Python 3.12) NDArray is none, which no test notices."""
    wrong = [path.name for path in files() if path.suffix == ".py" and SHAPE_ON_NDARRAY.search(path.read_text())]
    assert wrong == [], 'write Float[np.ndarray, "T B"]'
    assert SHAPE_ON_NDARRAY.search("x: Float[NDArray" + '[np.float64], " T"]')


def normal(requirement: str) -> str:
    """The normalised name at the start of a requirement."""
    match = re.match(r"[\w.-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def test_no_file_names_a_path_of_one_machine_or_a_registry() -> None:
    hits = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), start=1):
            if found := NOT_HERE.search(line):
                hits.append(f"{path.relative_to(ROOT)}:{number}: {found[0]}")
    assert hits == []


def test_no_file_is_larger_than_a_megabyte() -> None:
    large = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in files()}
    assert {name: size for name, size in large.items() if size > LARGEST} == {}


def test_a_newcomers_commands_are_the_ones_that_continuous_integration_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, ".ci/run must be executable"
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
