"""The files of an inspection: a picture and a table for each panel, and one page with all of it.

inspection.html     everything, on one page that needs no other file
inspection/NAME.png a panel's picture
inspection/NAME.csv its numbers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from s7rl.experiments.errors import UsageError
from s7rl.experiments.inspection.panels import NAMES
from s7rl.experiments.page import Section, Table, write_page


def write_inspection(home: Path, panels: Sequence[Section], *, title: str, facts: Mapping[str, str]) -> Path:
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
    folder, page = home / "inspection", home / "inspection.html"
    known = Table(head=["", ""], rows=[[name, value] for name, value in facts.items()], names=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_page(page, folder, panels, "inspection/page.html.jinja", title=title, facts=known)
        # What an earlier inspection found, and this one did not, belongs to something else.
        for name in set(NAMES) - {figure.name for panel in panels for figure in panel.figures}:
            for kind in ("png", "csv"):
                (folder / f"{name}.{kind}").unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; choose another folder with --out") from error
    return page
