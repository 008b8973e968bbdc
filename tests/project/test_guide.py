"""README and the guide in docs/: Python runs with fewer steps, commands can be read, and links lead somewhere.

Mutations seen to fail: a wrong argument in a Python block; `--stepz`, an id and an agent that do not exist in a
command, in a fenced block, an indented one and in running text; an option that no command has; a target that is not
made; a link and an entry of the navigation to a page that is not there; a page in no navigation; a public name and a
task without an entry in the reference.
"""

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from s7rl.envs import task_ids
from s7rl.experiments.bench.config import BENCHES
from s7rl.experiments.command_line import COMMANDS, command_of, parse
from s7rl.experiments.config import LearnConfig
from s7rl.experiments.experiment import planned, with_controls
from s7rl.experiments.grid import read_grid
from s7rl.experiments.presets import AGENTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "pages"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("experiments/results/*/README.md"))]
OPTIONAL = ("sb3_contrib", "torchrl", "ray")
"""Packages whose blocks are skipped where they are not installed."""
OF_OTHER_PROGRAMS = {"--gym-packages", "--help", "--core", "--defaults"}
"""Options that pages name, and that are not ours: of RL Zoo, of all, of examples."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
STEPS = re.compile(r"\.learn\([\d_]{5,}(, progress_bar=True)?\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Any]:
    """The fenced blocks of all pages in a language, each with where it stands."""
    return [
        pytest.param(block, id=f"{name_of(page)}:{number}")
        for page in PAGES
        for number, (tongue, block) in enumerate(FENCE.findall(page.read_text()))
        if tongue == language
    ]


def code_of(page: Path) -> tuple[list[str], list[str]]:
    """The lines of a page's code for a shell, with continued ones joined; and the code in its running text."""
    text = page.read_text().replace("\\\n", " ")
    prose = FENCE.sub("", text)
    lines = [line for tongue, block in FENCE.findall(text) if tongue in ("bash", "") for line in block.splitlines()]
    lines += [line for line in prose.splitlines() if line.startswith("    ")]
    return lines, [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(page: Path, program: str = "s7rl") -> list[list[str]]:
    """The words behind a program's name wherever it is called, as a shell has them."""
    lines, spans = code_of(page)
    calls = [match[1] for line in lines if (match := re.search(rf"(?:^ *|-m ){program} ([^|]*)", line))]
    calls += [span.removeprefix(f"{program} ") for span in spans if span.startswith(f"{program} ")]
    return [shlex.split(call, comments=True) for call in calls]


def test_the_pages_are_found_and_have_what_is_tested() -> None:
    assert len(PAGES) > 15
    assert len(blocks("python")) >= 8
    assert sum(len(commands(page)) for page in PAGES) > 80


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in set(re.findall(r"^(?:from|import) (\w+)", block, flags=re.MULTILINE)) & set(OPTIONAL):
        pytest.importorskip(package, reason=f"{package} is not installed, which this block is about")
    monkeypatch.chdir(tmp_path)
    exec(compile(STEPS.sub(".learn(1)", block), "block", "exec"), {})


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_grid_can_be_run(block: str, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(block)
    runs = planned(with_controls(read_grid(tmp_path / "grid.toml")))
    assert len(runs) == 2 * 4 * 3
    assert {run.request.eval_episodes for run in runs.values()} == {50}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_can_be_read(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands(page):
        if command_of(words) == words:
            continue  # a command is mentioned, not called
        for preset in (Path(word) for option, word in pairwise(words) if option == "--preset"):
            preset.parent.mkdir(parents=True, exist_ok=True)
            preset.write_text("")  # it is read at once
        request = parse(words)
        if isinstance(request, LearnConfig):
            assert request.agent in {*AGENTS, "..."}, words
            assert request.env in task_ids() or not request.env.startswith("s7rl/"), words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_targets_that_a_page_makes_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {words[0] for words in commands(page, "make")} <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_options_that_a_page_names_are_there(page: Path, every_help: str) -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", every_help)) | OF_OTHER_PROGRAMS
    named = {option for span in code_of(page)[1] if (option := span.split(" ")[0]).startswith("--")}
    assert named <= known


@pytest.fixture(scope="module")
def every_help() -> str:
    """What every command's --help says."""
    text = io.StringIO()
    with redirect_stdout(text):
        for words in [*([name] for name in COMMANDS), *(["bench", name] for name in BENCHES)]:
            parse([*words, "--help"])
    return text.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCE.sub("", page.read_text()))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_the_navigation_has_every_page_and_no_other() -> None:
    site = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text())
    named = list(leaves(site["nav"]))
    own = [name for name in named if not name.startswith("repository/")]
    assert sorted(own) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
    assert [name for name in named if name not in own and not (ROOT / name.removeprefix("repository/")).exists()] == []


def leaves(tree: Any) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(tree, str):
        yield tree
    else:
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(branch)


@pytest.mark.parametrize("module", ["s7rl", "s7rl.agents", "s7rl.envs"])
def test_every_public_name_has_an_entry_in_the_reference(module: str) -> None:
    entries = {line[4:] for page in DOCS.rglob("*.md") for line in page.read_text().splitlines() if line[:4] == "::: "}
    names = {f"{module}.{name}" for name in import_module(module).__all__ if name != "__version__"}
    assert len(names) > 10
    assert names <= entries


def test_every_task_of_ours_has_its_card_in_the_reference() -> None:
    text = (DOCS / "reference" / "tasks.md").read_text()
    engines = import_module("s7rl.envs.suites.memory").SUITE.own.values()
    cards = {engine["entry_point"].replace(":", ".") for engine in engines}
    assert len(cards) > 10
    assert {card for card in cards if f"::: {card}\n" not in text} == set()
