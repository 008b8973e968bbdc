r"""The site of docs/: it builds without a warning, needs no network, and shows docstrings as they are meant.

Skipped where the extra ``docs`` is not installed: ``make docs`` installs it.

Mutations seen to fail: a link to a heading that is not there (``--quiet`` hides such warnings from ``--strict``, too);
a font of the theme's from the network; a command left out of the sections of ``--help``; links into the repository not
turned; roles left as they are; rows of a table split at spaces; an aligned formula without its columns.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from s7rl.experiments.command_line import COMMANDS

ROOT = Path(__file__).parents[2]
for package in ("mkdocs", "material", "griffe", "mkdocstrings", "latex2mathml"):
    pytest.importorskip(package, reason="the extra docs is not installed: make docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, in 4 s."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "docs" / "mkdocs.yml")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(
        [*command, "-d", str(folder)], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    """The module docs/docstrings.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_page_loads_nothing_from_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    loaded = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^\s\">]+")
    assert {page.name: found for page in pages if (found := loaded.findall(page.read_text()))} == {}


def test_every_command_has_its_help(site: Path) -> None:
    page = (site / "reference" / "command-line.html").read_text()
    assert {name for name in COMMANDS if f'<h2 id="s7rl-{name}">' not in page} == set()
    assert "usage: s7rl bench recall [-h]" in page


def test_links_into_the_repository_lead_to_copies(site: Path) -> None:
    page = (site / "other-trainers.html").read_text()
    assert 'href="repository/examples/torchrl_ppo.py"' in page
    copy = site / "repository" / "examples" / "torchrl_ppo.py"
    assert copy.read_bytes() == (ROOT / "examples" / "torchrl_ppo.py").read_bytes()


def test_signatures_have_types_and_names_link_to_their_entries(site: Path) -> None:
    page = (site / "reference" / "s7rl.html").read_text()
    assert 'href="#s7rl.core_names"' in page  # of a role in the docstring of make_core
    assert not re.search(r":(?:class|func|meth|mod):", page)
    assert "<math" in page


def test_roles_become_links_that_may_lead_nowhere(docstrings: ModuleType) -> None:
    text = docstrings.converted("See :func:`make_core` and :class:`~a.b.C`.", lambda name: f"full.{name}")
    assert text == (
        'See <autoref identifier="full.make_core" optional><code>make_core</code></autoref> and '
        '<autoref identifier="full.a.b.C" optional><code>C</code></autoref>.'
    )


def test_tables_become_those_of_markdown(docstrings: ModuleType) -> None:
    rule = "=====  ======="
    rows = [rule, "name   what", rule, "a b    x | longer than its rule", "``c``  y", rule]
    table = "\n".join(["Before.", "", *rows, "", "After."])
    lines = ["| name | what |", "| --- | --- |", "| `a b` | `x \\| longer than its rule` |", "| ``c`` | `y` |"]
    assert docstrings.converted(table, str) == "\n".join(["Before.", "", *lines, "", "After."])


def test_formulas_become_mathml_aligned_where_they_say_so(docstrings: ModuleType) -> None:
    text = docstrings.converted(".. math::\n    x &= y \\\\\n    z &= 1\n\nwith :math:`x_t`.\n", str)
    block, sentence = text.split("\n\n")
    assert block.count("<mtr>") == 2
    assert block.count('columnalign="right"') == 2
    assert "&amp;" not in block
    assert sentence.startswith('with <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">')
