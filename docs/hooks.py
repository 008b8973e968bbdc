"""What MkDocs does beyond its own: files of the repository become part of the site, and every ``--help`` a section.

A page links to a file of the repository by its relative path, as ``../../examples/onnx_agent.py``, which works where
the sources are read.  In the site such files lie below ``repository/``, and the links lead there.
"""

import io
import os
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from mkdocs.structure.files import File

from s7rl.experiments.bench.config import BENCHES
from s7rl.experiments.command_line import COMMANDS, parse

ROOT = Path(__file__).parents[1]
SHOWN = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "examples/*.py",
    "experiments/bench/README.md",
    "experiments/pretrained/README.md",
    "experiments/results/**/*",
    "experiments/tuning/search_spaces.py",
    "experiments/zoo/ppo_s7.yml",
)
"""Files of the repository that pages may link to."""
COLUMNS = 80
"""Width of a --help in the site."""


def on_files(files: Any, config: Any) -> Any:
    """Adds the files of the repository."""
    for pattern in SHOWN:
        found = sorted(path for path in ROOT.glob(pattern) if path.is_file())
        assert found, f"no file is {pattern}"
        for path in found:
            name = f"repository/{path.relative_to(ROOT).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links that leave docs/pages towards the repository, and writes out every --help."""
    if page.file.src_uri.startswith("repository/"):
        return markdown
    depth = page.file.src_uri.count("/")
    markdown = markdown.replace(f"]({'../' * (depth + 2)}", f"]({'../' * depth}repository/")
    return re.sub(r"^<!-- every --help -->$", lambda _: every_help(), markdown, flags=re.MULTILINE)


def every_help() -> str:
    """A section for each command."""
    commands = [[], *([name] for name in COMMANDS), *(["bench", name] for name in BENCHES)]
    sections = (f"## {' '.join(['s7rl', *words])}\n\n```text\n{help_of(words)}\n```" for words in commands)
    return "\n\n".join(sections)


def help_of(words: list[str]) -> str:
    """What ``s7rl WORDS --help`` prints."""
    text = io.StringIO()
    with redirect_stdout(text), mock.patch.dict(os.environ, COLUMNS=str(COLUMNS), TERM="dumb"):
        parse([*words, "--help"])
    assert text.getvalue(), words
    return text.getvalue().strip()
