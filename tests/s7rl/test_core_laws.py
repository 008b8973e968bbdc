"""The five laws of :mod:`s7rl.cores.base`, each as one property for every core there is.

Most sequences are short; for each law some are longer than any window and any chunk, with a core of one block: what a
second block adds shows in short ones.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from s7rl import Core, core_names, core_options
from tests.s7rl.core_cases import WIDTH, Case, assert_same, random_case, random_core

every_core = pytest.mark.parametrize("name", core_names())
every_depth = pytest.mark.parametrize("n_blocks", [1, 2])
few_examples = settings(max_examples=6)
SMALL: dict[str, dict[str, int]] = {
    "s4d": {"d_state": 3},
    "mamba": {"d_state": 3},
    "gtrxl": {"window": 5, "n_heads": 2, "d_head": 3},
    "stack": {"n_frames": 3},
}
"""Sizes at which a short sequence is longer than a window."""
WINDOWS = ("gtrxl", "stack")
"""Cores that see so many steps and nothing older."""


def long(**others: Any) -> dict[str, Any]:
    """A few episodes in many steps."""
    return {"steps": 1025, "cut": 700, "batch": 2, "dtype": torch.float32, "seed": 5, "resets": 0.004, **others}


@st.composite
def drawn(draw: st.DrawFn, shortest: int = 2) -> dict[str, Any]:
    steps = draw(st.integers(shortest, 14))
    return {
        "steps": steps,
        "cut": draw(st.integers(1, max(1, steps - 1))),
        "batch": draw(st.integers(1, 4)),
        "dtype": draw(st.sampled_from([torch.float32, torch.float64])),
        "seed": draw(st.integers(0, 2**31)),
        "resets": draw(st.sampled_from([0.0, 0.2, 1.0])),
    }


def small_core(name: str, n_blocks: int, dtype: torch.dtype, seed: int) -> Core:
    return random_core(
        name, n_blocks, dtype, seed, **SMALL.get(name, {"d_state": 5} if "d_state" in core_options(name) else {})
    )


def case_of(name: str, n_blocks: int, *, dtype: torch.dtype, seed: int, **others: Any) -> Case:
    others.pop("cut", None)  # where a law cuts the case
    return random_case(small_core(name, n_blocks, dtype, seed), seed=seed, **others)


@every_core
@every_depth
@few_examples
@example(drawn=long(steps=257, cut=1, dtype=torch.float64, batch=1, resets=0.015))  # step by step, a thousand are slow
@given(drawn=drawn(shortest=1))
def test_1_stepping_one_by_one_gives_what_the_scan_gives(name: str, n_blocks: int, drawn: dict[str, Any]) -> None:
    assume(n_blocks == 1 or drawn["steps"] < 100)
    case = case_of(name, n_blocks, **drawn)
    ys, state = [], case.state
    for x_t, reset_t in zip(case.x, case.reset, strict=True):
        y, state = case.core.step(x_t, state, reset_t)
        ys.append(y)
    scanned, stepped = case.scan(), (torch.stack(ys), state)
    if case.x.dtype == torch.float64:
        assert_same(case, scanned, stepped)
        return
    # Steps are summed in another order than scans, and a core with large selections makes more of a rounding than
    # 2e-4: stepping has to come as near to float64 as the scan does.
    exact = copy.deepcopy(case.core).double().scan(case.x.double(), case.state.double(), case.reset)
    for by_steps, by_scan, value in zip(stepped, scanned, exact, strict=True):
        if value.numel():
            allowed = 2e-4 * (1 + value.abs().max()) + 4 * (by_scan - value).abs().max()
            assert (by_steps - value).abs().max() <= allowed


@every_core
@every_depth
@few_examples
@example(drawn=long())
@given(drawn=drawn(shortest=1))
def test_2_the_scan_of_a_batch_is_the_scan_of_each_of_its_rows(name: str, n_blocks: int, drawn: dict[str, Any]) -> None:
    assume(n_blocks == 1 or drawn["steps"] < 100)
    case = case_of(name, n_blocks, **drawn)
    rows = [
        case.core.scan(case.x[:, i : i + 1], case.state[i : i + 1], case.reset[:, i : i + 1])
        for i in range(len(case.state))
    ]
    joined = torch.cat([y for y, _ in rows], dim=1), torch.cat([state for _, state in rows])
    assert_same(case, case.scan(), joined)


@every_core
@every_depth
@few_examples
@example(drawn=long())
@example(drawn=long(dtype=torch.float64, cut=3))
@given(drawn=drawn())
def test_3_the_scan_of_two_episodes_in_one_row_is_two_scans(name: str, n_blocks: int, drawn: dict[str, Any]) -> None:
    assume(n_blocks == 1 or drawn["steps"] < 100)
    case, cut = case_of(name, n_blocks, **drawn), drawn["cut"]
    reset = torch.zeros_like(case.reset)
    reset[cut] = True
    first, _ = case.core.scan(case.x[:cut], case.state, reset[:cut])
    fresh = case.core.initial_state(len(case.state))
    second, state = case.core.scan(case.x[cut:], fresh, torch.zeros_like(reset[cut:]))
    assert_same(case, case.core.scan(case.x, case.state, reset), (torch.cat([first, second]), state))


@every_core
@every_depth
@few_examples
@example(drawn=long())
@example(drawn=long(dtype=torch.float64, cut=3))
@given(drawn=drawn())
def test_4_no_gradient_passes_from_an_episode_to_the_one_before_it(
    name: str, n_blocks: int, drawn: dict[str, Any]
) -> None:
    assume(n_blocks == 1 or drawn["steps"] < 100)
    case, cut = case_of(name, n_blocks, **drawn), drawn["cut"]
    reset = torch.zeros_like(case.reset)
    reset[cut, 0] = True
    y, state = case.core.scan(case.x, case.state, reset)
    later = y[cut:].square().sum() + state.square().sum()
    for_x, for_state = torch.autograd.grad(later, [case.x, case.state], allow_unused=True, materialize_grads=True)
    assert not for_x[:cut, 0].any()
    assert not for_state[0].any()
    assert for_x[cut:, 0].any()
    if case.core.state_size:
        assert for_x[cut - 1, 1:].any() == (len(case.state) > 1), "the other rows go on"
    if case.core.state_size and cut == 1:
        assert for_state[1:].any() == (len(case.state) > 1), "the other rows go on"


@every_core
@every_depth
@few_examples
@example(drawn=long())
@example(drawn=long(dtype=torch.float64, cut=3))
@given(drawn=drawn())
def test_5_cutting_a_sequence_and_carrying_the_state_over_changes_nothing(
    name: str, n_blocks: int, drawn: dict[str, Any]
) -> None:
    assume(n_blocks == 1 or drawn["steps"] < 100)
    case, cut = case_of(name, n_blocks, **drawn), drawn["cut"]
    first, state = case.core.scan(case.x[:cut], case.state, case.reset[:cut])
    second, state = case.core.scan(case.x[cut:], state, case.reset[cut:])
    assert_same(case, case.scan(), (torch.cat([first, second]), state))


@every_core
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    case = case_of(name, 1, steps=5, batch=2, dtype=torch.float64, seed=3, resets=0.2)
    assert case.reset.any()
    assert not case.reset[1:].all()
    inputs = case.x, case.state
    assert torch.autograd.gradcheck(lambda x, state: case.core.scan(x, state, case.reset), inputs)


@every_core
@every_depth
def test_a_core_remembers_if_and_only_if_it_has_a_state(name: str, n_blocks: int) -> None:
    core = small_core(name, n_blocks, torch.float64, seed=0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 1, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)
    y, _ = core.scan(x, core.initial_state(1), torch.zeros(30, 1, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(y[-1].square().sum(), x)
    assert gradient[-2].any().item() == (core.state_size > 0)
    assert gradient[0].any().item() == (core.state_size > 0 and name not in WINDOWS)


@every_core
def test_the_initial_state_is_zeros_of_the_dtype_of_the_weights(name: str) -> None:
    core = small_core(name, 2, torch.float64, seed=0)
    state = core.initial_state(3)
    assert state.shape == (3, core.state_size)
    assert state.dtype == torch.float64
    assert not state.any()


@every_core
def test_neither_scan_nor_step_changes_the_tensors_that_it_was_given(name: str) -> None:
    case = case_of(name, 1, steps=5, batch=3, dtype=torch.float32, seed=1, resets=0.4)
    given_ = case.x.detach(), case.state.detach(), case.reset
    before = [tensor.clone() for tensor in given_]
    with torch.no_grad():
        case.core.scan(*given_)
        case.core.step(given_[0][0], given_[1], given_[2][0])
    for tensor, kept in zip(given_, before, strict=True):
        assert torch.equal(tensor, kept)
