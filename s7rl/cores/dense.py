"""Dense layers, which are most of what a network costs, on the library that is fast on this processor.

torch multiplies float32 matrices on the CPU by MKL, which takes its AVX-512 kernels on Intel's processors only; on
AMD's it reaches half of the speed of oneDNN, which torch brings along and uses for other types.  Where that is so,
:class:`Linear` calls oneDNN for all three products of a layer.  To compare::

    for module in torch.nn s7rl.cores.dense; do
        python -m timeit -s "import torch; from $module import Linear; layer = Linear(128, 512)" \
            -s "x, grad = torch.randn(4096, 128), torch.randn(4096, 512)" "layer(x).backward(grad)"
    done
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MIN_MULTIPLICATIONS = 2_000_000
"""Multiplications in a product from which oneDNN, which takes longer to start, is ahead."""


class Linear(nn.Linear):
    """``torch.nn.Linear``, to rounding, with the same parameters; large products know no ``torch.func.vmap``."""

    def forward(self, input: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """See :class:`torch.nn.Linear`."""
        # Compilers choose their own kernels, and asked for a size they would take it for a fixed one.
        small = torch.compiler.is_compiling() or input.numel() * self.out_features < MIN_MULTIPLICATIONS
        if small or not _takes(input, self.weight):
            return nn.functional.linear(input, self.weight, self.bias)
        product = _differentiable if torch.is_grad_enabled() else _product
        return product(input.contiguous(), self.weight, self.bias)


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad = grad.contiguous()
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            _differentiable(grad, weight.t()) if needs_x else None,
            _inner(rows, x.reshape(-1, x.shape[-1])) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _inner(x: Float[Tensor, "N I"], y: Float[Tensor, "N O"]) -> Float[Tensor, "I O"]:
    # The first operand is copied into rows of N, and the copy of the wider one takes as long as the product.
    return _differentiable(x.t(), y.t()) if x.shape[1] <= y.shape[1] else _differentiable(y.t(), x.t()).t()


def _differentiable(x: Float[Tensor, "*batch I"], weight: Float[Tensor, "O I"], bias: Tensor | None = None) -> Tensor:
    result: Tensor = _OneDnnLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


def _product(x: Float[Tensor, "*batch I"], weight: Float[Tensor, "O I"], bias: Tensor | None = None) -> Tensor:
    # x is contiguous, or the transpose of what is: with strides of 0, as sum() sends back, it would take seconds.
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _takes(x: Tensor, weight: Tensor) -> bool:
    return (
        one_dnn_is_faster()
        and bool(torch.backends.mkldnn.enabled)
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def one_dnn_is_faster() -> bool:
    """Whether torch has oneDNN, and MKL will not use what this processor can do."""
    # The operator is not documented, though torch.compile emits it.
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512" and not _is_intel()


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True  # not Linux, where AMD's processors with AVX-512 stand
