"""A step of a residual block around S7 in one kernel is what the scan of one step gives, and used where it serves.

Mutations seen to fail: the shift by the state where an episode starts; mu left out; what is rectified left as it is;
what was shifted kept in the state instead of the input; the rows behind the last four left out; the gate's bias; the
norm's bias; GELU without its root; a kernel that is used for other selections, many sequences, under autocast, past
S7RL_SCAN, while gradients are kept, or past who watches; arrays of a parameter that has moved; arrays that are copied
with the layer; arrays of another device's weights kept; a part replaced by one of another class; asinh left out of the
readout; a subclass of the block or of the layer with a scan of its own; a kernel left out for a subclass of the block
without one; inputs, states and resets that do not fit.
"""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from s7rl.cores import S7, ResidualBlock, Stack
from s7rl.cores.dense import Linear
from s7rl.cores.s7 import MOST_AT_ONCE, S7Block
from s7rl.kernels import cpu_s7

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-4}
STATE = 23
"""Numbers of state of `block_of`: 7 modes of which 4 rotate, and the input before."""


def block_of(dtype: torch.dtype = torch.float32, **options: Any) -> ResidualBlock:
    """A block whose parameters are all random, as after some learning."""
    block = ResidualBlock(S7(**{"d_model": 12, "d_state": 7, **options}))
    for name, parameter in block.named_parameters():
        if not name.endswith(("w_0", "mu")):
            nn.init.normal_(parameter, std=0.4)
    return block.to(dtype)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sequences each call of the kernel had."""
    seen: list[int] = []
    kernel = cpu_s7.block_step

    def counted(x: Any, *arguments: Any) -> None:
        seen.append(len(x))
        kernel(x, *arguments)

    monkeypatch.setattr(cpu_s7, "block_step", counted)
    return seen


def inputs(block: Any, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    dtype = next(block.parameters()).dtype
    reset = torch.rand(batch) < 0.3
    return torch.randn(batch, block.d_model, dtype=dtype), torch.randn(batch, block.state_size, dtype=dtype), reset


@settings(max_examples=40)
@given(
    st.integers(1, MOST_AT_ONCE),
    st.fixed_dictionaries(
        {
            "d_model": st.integers(1, 20),
            "d_state": st.integers(1, 20),
            "rotation": st.sampled_from([0.0, 0.5, 1.0]),
            "token_shift": st.sampled_from([None, 0.0, 0.95]),
            "rectified": st.booleans(),
            "readout": st.sampled_from(["linear", "asinh"]),
            "input_scale": st.sampled_from([0.0, 0.25, 0.5]),
            "allow_negative": st.booleans(),
            "learn_angles": st.booleans(),
            "rank": st.sampled_from([None, 1, 3]),
        }
    ),
    st.sampled_from(sorted(TOLERANCE, key=str)),
    st.integers(0, 2**31),
)
def test_a_step_is_the_scan_of_one_step(batch: int, options: dict[str, Any], dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    block = block_of(dtype, **options)
    x, state, reset = inputs(block, batch)
    with torch.no_grad():
        expected, after = block.scan(x[None], state, reset[None])
        whole = block.layer.step_within(block.norm, block.gate, x, state, reset)
    assert whole is not None
    bound = TOLERANCE[dtype]
    torch.testing.assert_close(whole[0], expected[0], rtol=bound, atol=bound)
    torch.testing.assert_close(whole[1], after, rtol=bound, atol=bound)
    assert whole[1].data_ptr() != state.data_ptr()


def test_a_stack_steps_in_the_kernel_block_by_block(calls: list[int]) -> None:
    torch.manual_seed(0)
    stack = Stack([block_of(torch.float64), block_of(torch.float64)])
    x, state, reset = inputs(stack, 5)
    with torch.no_grad():
        expected, after = stack.scan(x[None], state, reset[None])
        assert not calls
        y, found = stack.step(x, state, reset)
    assert calls == [5, 5]
    torch.testing.assert_close(y, expected[0])
    torch.testing.assert_close(found, after)


def parts(block: ResidualBlock) -> list[nn.Module]:
    layer: Any = block.layer
    return [block.norm, block.gate, layer.selection, layer.input, layer.output]


def test_where_the_kernel_does_not_serve_the_step_is_a_scan(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def step(block: ResidualBlock, batch: int = 3) -> None:
        x, state, reset = inputs(block, batch)
        y, after = block.step(x, state, reset)
        expected = block.scan(x[None], state, reset[None])
        torch.testing.assert_close(y, expected[0][0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(after, expected[1], rtol=1e-3, atol=1e-3)

    block = block_of()
    step(block)  # gradients are kept
    with torch.no_grad():
        step(block, MOST_AT_ONCE + 1)
        step(block_of(selectivity="low_rank"))
        step(block_of(selectivity="full"))
        step(block_of(selectivity="none"))
        step(block_of(reparameterization="exp"))
        step(block_of(reparameterization="sigmoid"))
        with torch.autocast("cpu", torch.bfloat16):
            block.step(*inputs(block, 3))
        monkeypatch.setenv("S7RL_SCAN", "torch")
        step(block)
        monkeypatch.delenv("S7RL_SCAN")
        for part in parts(block):
            for watch in (part.register_forward_hook, part.register_forward_pre_hook):
                watched = watch(lambda *_: None)
                step(block)
                watched.remove()
        replaced = block_of()
        replaced.gate = Doubled(12, 12)
        step(replaced)
        assert not calls
        step(block)
    assert calls == [3]


class Doubled(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Louder(S7):
    def scan(self, x: Tensor, state: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        y, state = super().scan(x, state, reset)
        return 2 * y, state


class Selective(S7):
    def _scan_diagonal(self, u: Tensor, v: Tensor, modes: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        y, modes = super()._scan_diagonal(u, v, modes, reset)
        return y * torch.sigmoid(u), modes


class WithoutResidual(ResidualBlock):
    def scan(self, x: Tensor, state: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        y, state = super().scan(x, state, reset)
        return y - x, state


@pytest.mark.parametrize(
    ("block", "layer"), [(ResidualBlock, Louder), (ResidualBlock, Selective), (WithoutResidual, S7)]
)
def test_a_subclass_with_a_scan_of_its_own_steps_by_it(block: type[ResidualBlock], layer: type[S7]) -> None:
    torch.manual_seed(0)
    core = block(layer(12, d_state=7)).double()
    x, state, reset = inputs(core, 3)
    with torch.no_grad():
        found, expected = core.step(x, state, reset), core.scan(x[None], state, reset[None])
    torch.testing.assert_close(found[0], expected[0][0])
    torch.testing.assert_close(found[1], expected[1])


def test_a_subclass_of_the_block_without_a_scan_of_its_own_steps_in_the_kernel(calls: list[int]) -> None:
    block = S7Block(12)
    with torch.no_grad():
        block.step(*inputs(block, 3))
    assert calls == [3]


def test_parameters_that_have_changed_or_moved_are_read_where_they_are() -> None:
    torch.manual_seed(0)
    block = block_of(torch.float64)
    x, state, reset = inputs(block, 3)
    with torch.no_grad():
        for change in (
            lambda: block.gate.weight.mul_(2),
            lambda: setattr(block.gate.weight, "data", torch.randn(12, 12, dtype=torch.float64)),
            lambda: block.load_state_dict(block_of(torch.float64).state_dict()),
        ):
            block.step(x, state, reset)
            change()
            y, _ = block.step(x, state, reset)
            torch.testing.assert_close(y, block.scan(x[None], state, reset[None])[0][0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda block: pickle.loads(pickle.dumps(block))])
def test_a_copy_acts_on_its_own_parameters(copied: Callable[[ResidualBlock], ResidualBlock]) -> None:
    torch.manual_seed(0)
    block = block_of(torch.float64)
    x, state, reset = inputs(block, 3)
    with torch.no_grad():
        block.step(x, state, reset)
        follower = copied(block)
        follower.load_state_dict(block.state_dict(), assign=True)
        block.gate.weight.mul_(2)
        y, _ = follower.step(x, state, reset)
        torch.testing.assert_close(y, block.scan(x[None], state, reset[None])[0][0])


def test_weights_are_let_go_of_where_the_kernel_does_not_serve() -> None:
    block = block_of()
    with torch.no_grad():
        block.step(*inputs(block, 3))
        memory = weakref.ref(block.gate.weight.untyped_storage())
        block.to("meta").step(*(tensor.to("meta") for tensor in inputs(block, 3)))
    gc.collect()
    assert memory() is None


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("x", "state", "reset", "message"),
    [
        ((3, 20), (3, STATE), (3,), r"Given normalized_shape=\[12\], [^\n]+"),  # torch's
        ((3, 12), (3, 5), (3,), r"initial has shape \(3, 5\), but [^\n]+"),
        ((3, 12), (2, STATE), (3,), rf"initial has shape \(2, {STATE}\), but [^\n]+"),
        ((3, 12), (3, STATE), (2,), r"reset has shape \(1, 2\), but [^\n]+"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    x: tuple[int, ...], state: tuple[int, ...], reset: tuple[int, ...], message: str
) -> None:
    block = block_of()
    assert block.state_size == STATE
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError), match=f"^{message}$"):
        block.step(torch.zeros(x), torch.zeros(state), torch.zeros(reset, dtype=torch.bool))


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(("batch", "steps"), [(1, 2), (2, 1)])
def test_what_does_not_fit_a_sequence_is_refused_before_any_kernel_reads_it(batch: int, steps: int) -> None:
    layer = S7(12, d_state=7)
    x, reset = torch.zeros(2, 60_000, 12), torch.zeros(steps, 60_000, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^(initial|reset) has shape [^\n]+$"):
        layer.scan(x, layer.initial_state(batch), reset)
