"""Which models are compared, and at which width."""

import pytest

from s7rl import core_names, make_core
from s7rl.experiments.bench.models import (
    BARE,
    Acting,
    TrainingStep,
    chosen_cores,
    contenders,
    make_module,
    matching_width,
    parameter_count,
)
from s7rl.experiments.errors import UsageError


@pytest.mark.parametrize(
    ("target", "width"),
    # Squares: 10 and 11 are nearest to 9; 12 is as near to 9 as 13 to 16; below 1 there is nothing.
    [(9, 3), (11, 3), (14, 4), (1, 1), (0, 1), (1_000_000, 1000), (12, 3), (13, 4)],
)
def test_the_width_with_the_nearest_number_of_parameters_is_found(target: int, width: int) -> None:
    assert matching_width(lambda d: d * d, target) == width


def test_every_model_stands_at_equal_width_and_at_equal_parameters() -> None:
    every = contenders(chosen_cores(()), 16)
    target = parameter_count(make_core("s7", d_model=16))
    assert {contender.name for contender in every} == {*core_names(), *BARE}
    for name in {contender.name for contender in every}:
        its = [contender for contender in every if contender.name == name]
        assert sorted(matching for contender in its for matching in contender.matchings) == ["parameters", "width"]
    for contender in every:
        assert contender.parameters == parameter_count(make_module(contender.name, contender.d_model))
        if "width" in contender.matchings:
            assert contender.d_model == 16
        if "parameters" in contender.matchings:
            widths = range(1, 2 * contender.d_model)
            others = [parameter_count(make_module(contender.name, width)) for width in widths]
            assert all(abs(contender.parameters - target) <= abs(other - target) for other in others)
    seven = [contender for contender in every if contender.name == "s7"]
    assert [contender.matchings for contender in seven] == [("width", "parameters")]


def test_s7_is_always_there_and_comes_first() -> None:
    assert chosen_cores(["gru"]) == ("s7", "gru")
    assert chosen_cores(["gru", "s7"]) == ("s7", "gru")
    assert set(chosen_cores(())) == set(core_names())


@pytest.mark.parametrize(
    ("names", "message"),
    [(["gruu"], "there is no core 'gruu'; did you mean gru"), (["gru", "gru"], "--cores names 'gru' twice")],
)
def test_a_core_that_is_not_there_or_there_twice_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen_cores(names)


@pytest.mark.parametrize("name", [*core_names(), *BARE])
def test_every_model_trains_and_acts(name: str) -> None:
    step = TrainingStep(name, 8, length=5, batch_size=3, device="cpu")
    leaves = [step._x, *step._module.parameters()]
    step._forward_backward()
    assert step._x.grad is not None
    assert any(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves[1:])
    step()
    assert all(leaf.grad is None for leaf in leaves), "many models wait for their turn: what each keeps adds up"
    Acting(name, 8, batch_size=3, device="cpu")()
