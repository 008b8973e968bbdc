"""The files of an inspection: a picture and a table for each panel, and one page with all of it.

inspection.html     everything, on one page that needs no other file
inspection/NAME.png a panel's picture
inspection/NAME.csv its numbers
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader

from s7rl.experiments.errors import UsageError
from s7rl.experiments.inspection.figures import png
from s7rl.experiments.inspection.panels import Panel, Row
from s7rl.files import write_atomically


def write_inspection(home: Path, panels: Sequence[Panel], *, title: str, facts: Mapping[str, str]) -> Path:
    """Writes all files, in place of those of an earlier inspection.

    Args:
        home: the folder to write into.
        panels: what was found.
        title: of the page.
        facts: stand at its top.

    Returns:
        The page.

    Raises:
        UsageError: the folder cannot be written.
    """
    folder = home / "inspection"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shown = []
        for panel in panels:
            picture = None if panel.figure is None else png(panel.figure)
            _write(folder / f"{panel.name}.png", picture)
            _write(folder / f"{panel.name}.csv", _table(panel.rows) if panel.rows else None)
            encoded = "" if picture is None else base64.b64encode(picture).decode()
            texts = {"title": panel.title, "method": panel.method, "sentences": panel.sentences}
            shown.append(texts | {"picture": encoded})
        template = Environment(loader=PackageLoader(__package__, "."), autoescape=True).get_template("page.html")
        page = home / "inspection.html"
        write_atomically(page, template.render(title=title, facts=facts, panels=shown).encode())
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; choose another folder with --out") from error
    return page


def _write(path: Path, content: bytes | None) -> None:
    """Writes a file; None removes that of an earlier inspection, which would belong to something else."""
    if content is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, content)


def _table(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()
