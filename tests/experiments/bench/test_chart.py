"""Names at the ends of lines do not cover each other."""

from pathlib import Path

import pytest

from s7rl.experiments.bench.chart import Line, Panel, draw, spread_apart
from s7rl.experiments.bench.measuring import Spread


@pytest.mark.parametrize(
    ("wanted", "placed"),
    [
        ([], []),
        ([50.0], [50.0]),
        ([10.0, 50.0, 90.0], [10.0, 50.0, 90.0]),
        ([50.0, 51.0], [50.0, 60.0]),
        ([51.0, 50.0], [60.0, 50.0]),
        ([98.0, 99.0], [90.0, 100.0]),  # pushed down from the edge
        ([-5.0, 0.0], [0.0, 10.0]),
        ([95.0, 96.0, 97.0], [80.0, 90.0, 100.0]),
    ],
)
def test_heights_are_moved_apart_in_their_order(wanted: list[float], placed: list[float]) -> None:
    assert spread_apart(wanted, 10.0, 0.0, 100.0) == placed


def test_a_picture_is_written_also_where_a_line_has_one_point_or_none(tmp_path: Path) -> None:
    spread = Spread(median=2.0, lower=1.0, upper=3.0, minimum=1.0, maximum=4.0, repeats=3)
    lines = [
        Line.of("one", [(64, spread)], 0),
        Line.of("none", [], 1),
        Line.of("two", [(64, spread), (128, spread)], 8, yardstick=True),
    ]
    panel = Panel(title="a", xlabel="x", ylabel="y", lines=lines)
    shares = Panel(title="b", xlabel="x", ylabel="y", lines=lines, share=True, floor=("chance", 0.5))
    draw([[panel, shares]], tmp_path / "picture.png", title="title")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
