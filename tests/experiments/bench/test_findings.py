"""What is said of figures made by hand."""

import numpy as np
import pytest

from s7rl.experiments.bench.findings import findings
from s7rl.experiments.bench.measuring import Times
from s7rl.experiments.bench.models import Contender

LENGTHS = (256, 1024, 4096)


def contender(name: str) -> Contender:
    return Contender(name=name, d_model=8, parameters=1, state_size=1, matchings=("width", "parameters"))


def said(seconds: dict[str, tuple[float | None, ...]]) -> list[str]:
    """What is said of models that take these seconds at 256, 1,024 and 4,096; None where a cell was left out."""
    figures: dict[tuple[Contender, int], Times] = {}
    for name, its in seconds.items():
        for length, time in zip(LENGTHS, its, strict=True):
            if time is not None:
                # The second round was slower, for all.
                figures[contender(name), length] = np.array([time, 3 * time, time])
    lines = findings([contender(name) for name in seconds], LENGTHS, figures)
    return [line for line in lines if "equal parameters" not in line]


SEVEN = (1.0, 2.0, 10.0)


def test_a_core_that_is_not_there_is_said_to_be_missing() -> None:
    lines = said({"s7": SEVEN})
    assert "S7 against s5, equal width: not measured, s5 is not among the cores" in lines
    assert "S7 against gtrxl, equal width: not measured, gtrxl is not among the cores" in lines


def test_input_dependence_is_priced_at_the_usual_and_the_longest_length() -> None:
    lines = said({"s7": SEVEN, "s5": (1.0, 1.0, 8.0)})
    assert "S7 takes 2.00 (2.00 to 2.00) times as long as s5 at T = 1,024, equal width" in lines
    assert "S7 takes 1.25 (1.25 to 1.25) times as long as s5 at T = 4,096, equal width" in lines
    left_out = said({"s7": SEVEN, "s5": (1.0, 1.0, None)})
    assert "S7 against s5, T = 4,096, equal width: not measured, a cell was left out" in left_out


@pytest.mark.parametrize(
    ("attention", "line"),
    [
        (
            (0.5, 3.0, 40.0),
            "gtrxl with full attention is slower than S7 from T = 1,024 on, equal width: "
            "4.00 (4.00 to 4.00) times as long at T = 4,096",
        ),
        # Slower at 256 too, but not in between.
        (
            (2.0, 1.0, 40.0),
            "gtrxl with full attention is slower than S7 from T = 4,096 on, equal width: "
            "4.00 (4.00 to 4.00) times as long at T = 4,096",
        ),
        (
            (0.5, 3.0, None),
            "gtrxl with full attention is slower than S7 from T = 1,024 on, equal width: "
            "1.50 (1.50 to 1.50) times as long at T = 1,024; beyond T = 1,024 not measured",
        ),
        (
            (0.5, 1.0, 5.0),
            "gtrxl with full attention is not slower than S7 at T = 4,096, equal width: "
            "it takes 0.500 (0.500 to 0.500) times as long",
        ),
        ((None, None, None), "gtrxl with full attention, equal width: not measured"),
    ],
)
def test_the_length_from_which_attention_is_slower(attention: tuple[float | None, ...], line: str) -> None:
    assert line in said({"s7": SEVEN, "gtrxl": attention})


def test_the_networks_that_everybody_knows_are_compared_at_the_usual_length() -> None:
    lines = said({"s7": SEVEN, "torch.nn.LSTM": (1.0, 8.0, 1.0)})
    assert [line for line in lines if "LSTM" in line] == [
        "S7 takes 0.250 (0.250 to 0.250) times as long as torch.nn.LSTM at T = 1,024, equal width"
    ]


def test_growth_is_per_step_and_its_quartiles_are_the_widest() -> None:
    # Quartiles of (t, 3t, t) are t and 2t; per step 2/1024 grows to 10/4096, by 1.25.
    assert said({"s7": SEVEN})[-1] == (
        "S7's time per step at T = 4,096 is 1.25 (0.625 to 2.50) times that at T = 1,024"
    )
    assert said({"s7": (1.0, 2.0, None)})[-1] == "S7's time per step over the length: not measured beyond T = 1,024"
