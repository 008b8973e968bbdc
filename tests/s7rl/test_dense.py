"""Dense layers on oneDNN: values and gradients against float64, and torch's own wherever they do not serve.

Mutations seen to fail: the bias left out; its gradient a mean; the gradient of the weight transposed; that of the input
by the weight instead of its transpose, where it is square; other types, autocast or small products sent to oneDNN; the
gradient of a weight that needs none; the gradient of the gradient left out, or without the weight; what lies there with
strides of 0 sent on as it is; oneDNN where it is switched off.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from s7rl.cores import dense
from s7rl.cores.dense import MIN_MULTIPLICATIONS, Linear

available = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="this torch has no oneDNN",
)


@pytest.fixture(autouse=True)
def _on_a_processor_that_mkl_holds_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "one_dnn_is_faster", lambda: True)


@pytest.fixture
def _however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "MIN_MULTIPLICATIONS", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the inputs that oneDNN was given."""
    seen: list[tuple[int, ...]] = []

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.append(tuple(x.shape))
        return nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(dense, "_product", product)
    return seen


@available
@pytest.mark.usefixtures("_however_small")
@settings(max_examples=25)
@given(
    st.sampled_from([(), (5,), (3, 4)]), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 2**31)
)
def test_values_and_gradients_are_those_of_the_product_in_float64(
    batch: tuple[int, ...], inputs: int, outputs: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(7, *batch, inputs, requires_grad=True)
    layer = Linear(inputs, outputs, bias=bias)
    y = layer(x)
    sent = torch.randn_like(y)
    found = torch.autograd.grad(y, [x, *layer.parameters()], sent)

    rows, grad = x.detach().double().reshape(-1, inputs), sent.double().reshape(-1, outputs)
    weight = layer.weight.detach().double()
    values = torch.einsum("ni,oi->no", rows, weight)
    expected = [torch.einsum("no,oi->ni", grad, weight), torch.einsum("no,ni->oi", grad, rows)]
    if bias:
        values = values + layer.bias.detach().double()
        expected.append(grad.sum(0))
    close(y.detach(), values)
    for of, value in zip(found, expected, strict=True):
        close(of, value)
    with torch.no_grad():
        close(layer(x), values)


def close(found: Tensor, expected: Tensor) -> None:
    """Equal but for what float32 loses in a sum of that many terms of size 1."""
    torch.testing.assert_close(found.double().reshape(expected.shape), expected, rtol=1e-4, atol=1e-4 * scale(expected))


def scale(x: Tensor) -> float:
    return float(x.abs().max()) + 1.0


def test_only_large_products_of_float32_go_to_one_dnn(calls: list[tuple[int, ...]]) -> None:
    layer, rows = Linear(64, 64), -(-MIN_MULTIPLICATIONS // 64**2)
    layer(torch.zeros(rows - 1, 64))
    layer.double()(torch.zeros(rows, 64, dtype=torch.float64))
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.zeros(rows, 64)).dtype == torch.bfloat16
    assert not calls
    layer(torch.zeros(rows, 64, requires_grad=True)).sum().backward()
    assert calls == [(rows, 64), (rows, 64), (64, rows)]


@available
@pytest.mark.usefixtures("_however_small")
@pytest.mark.parametrize("outputs", [3, 7])
def test_gradients_have_gradients(outputs: int) -> None:
    torch.manual_seed(0)
    layer, x = Linear(6, outputs), torch.randn(5, 6, requires_grad=True)
    leaves = [x, *layer.parameters()]

    def second(y: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=True)
        return torch.autograd.grad([grad.square().sum() for grad in first], leaves)

    expected = second(nn.functional.linear(x, layer.weight, layer.bias))
    for of, value in zip(second(layer(x)), expected, strict=True):
        close(of, value.double())
    by_function = torch.func.grad(lambda x: layer(x).square().sum())(x.detach())
    close(by_function, (2 * layer(x) @ layer.weight).detach().double())


@available
@pytest.mark.usefixtures("_however_small")
def test_a_single_input_without_a_batch_has_gradients_too() -> None:
    layer, x = Linear(3, 2), torch.ones(3, requires_grad=True)
    layer(x).sum().backward()
    for leaf, expected in zip(
        [x, *layer.parameters()], [layer.weight.detach().sum(0), torch.ones(2, 3), torch.ones(2)], strict=True
    ):
        assert leaf.grad is not None
        close(leaf.grad, expected.double())


def test_one_dnn_gets_no_strides_of_0(monkeypatch: pytest.MonkeyPatch) -> None:
    strides = []

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        strides.append(x.stride())
        return nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(dense, "_product", product)
    layer = Linear(64, 64)
    layer(torch.zeros(64, requires_grad=True).expand(1000, 64)).sum().backward()
    assert strides == [(64, 1), (64, 1), (1, 64)]


@available
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_where_one_dnn_is_switched_off_torch_multiplies(calls: list[tuple[int, ...]]) -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        Linear(64, 64)(torch.zeros(1000, 64))
    assert not calls


def test_no_gradient_is_computed_that_nobody_asked_for(calls: list[tuple[int, ...]]) -> None:
    layer = Linear(64, 64).requires_grad_(False)
    layer(torch.zeros(1000, 64, requires_grad=True)).sum().backward()
    assert calls == [(1000, 64)] * 2


def test_it_is_torchs_layer_to_everyone_else() -> None:
    layer = Linear(3, 5)
    assert isinstance(layer, nn.Linear)
    assert layer.state_dict().keys() == nn.Linear(3, 5).state_dict().keys()
