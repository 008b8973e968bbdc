"""What came of an experiment, to compare it with another."""

import csv
from pathlib import Path


def results(out: str) -> list[dict[str, str]]:
    """The lines of results.csv."""
    return list(csv.DictReader(Path(out, "results.csv").read_text().splitlines()))


def outcome(out: str) -> dict[str, object]:
    """The scores of all cells, byte for byte, and the lines of results.csv, all but the seconds."""
    scores = {str(path.relative_to(out)): path.read_bytes() for path in Path(out).rglob("evaluation.json")}
    lines = [{name: value for name, value in line.items() if "seconds" not in name} for line in results(out)]
    return {**scores, "results": lines}
