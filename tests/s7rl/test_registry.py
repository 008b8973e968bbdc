"""Cores by name, and what is said about a name, an option or a size that cannot be."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import s7rl
from s7rl import GRU, S7, Core, Memoryless, ResidualBlock, Stack, core_names, core_options, make_core

LAYERS: dict[str, type[Core]] = {"s7": S7, "gru": GRU, "none": Memoryless}


def test_the_names_are_those_of_the_layers() -> None:
    assert set(core_names()) >= set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_core_is_a_stack_of_blocks_around_the_layer_of_its_name(name: str) -> None:
    core = make_core(name, d_model=12, n_blocks=3)
    assert isinstance(core, Stack)
    assert core.d_model == 12
    assert len(core.cores) == 3
    sizes = []
    for block in core.cores:
        assert isinstance(block, ResidualBlock)
        assert isinstance(block.layer, LAYERS[name])
        sizes.append(block.state_size)
    assert core.state_size == sum(sizes)


def test_s7_is_what_the_options_make_of_it() -> None:
    core = make_core("s7", d_model=8, d_state=10, rotation=0.3, token_shift=None)
    assert core.state_size == 10 + 3
    assert make_core("s7", d_model=8, d_state=10, rotation=0.3).state_size == 10 + 3 + 8


@pytest.mark.parametrize("name", LAYERS)
def test_the_options_are_those_of_the_constructor(name: str) -> None:
    parameters = inspect.signature(LAYERS[name]).parameters
    assert set(core_options(name)) == set(parameters) - {"d_model"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "s77"}, "there is no core named 's77': did you mean 's7'?"),
        ({"name": "transformer"}, "there is no core named 'transformer': choose one of: s7, gru, none"),
        ({"name": "s7", "n_blocks": 0}, "n_blocks is 0"),
        ({"name": "gru", "d_model": 0}, "d_model is 0"),
        ({"name": "s7", "d_state": 0}, "d_state is 0"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        make_core(**arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("name", "options"), [("s7", "d_state, selectivity"), ("gru", "none"), ("none", "none")])
def test_an_option_that_there_is_not_is_refused_with_those_that_there_are(name: str, options: str) -> None:
    with pytest.raises(TypeError, match=rf"^core '{name}' has no option 'heads': its options are: {options}[^\n]*$"):
        make_core(name, heads=2)


def test_options_of_a_core_that_there_is_not_are_refused() -> None:
    with pytest.raises(ValueError, match="no core named 'lru'"):
        core_options("lru")


def test_a_stack_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^cores is empty[^\n]*$"):
        Stack([])


def test_the_dynamics_of_a_stack_are_those_of_its_layers() -> None:
    core = make_core("s7", d_model=8, n_blocks=2)
    first, second = (block.layer for block in core.cores)  # type: ignore[union-attr]
    expected = {id(parameter) for parameter in (first.w_0, first.mu, second.w_0, second.mu)}
    assert {id(parameter) for parameter in core.dynamics_parameters()} == expected
    assert len(make_core("s7", d_model=8, token_shift=None).dynamics_parameters()) == 1
    assert make_core("gru", d_model=8).dynamics_parameters() == []


def test_every_public_name_is_there_and_no_other() -> None:
    for name in s7rl.__all__:
        assert getattr(s7rl, name) is not None
        assert name in dir(s7rl)
    with pytest.raises(AttributeError, match="has no attribute 'S8'"):
        getattr(s7rl, "S8")  # noqa: B009 - mypy knows that it is not there
