"""What a benchmark left in its folder."""

import csv
from pathlib import Path


def rows(folder: Path) -> list[dict[str, str]]:
    """The lines of its table."""
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))
