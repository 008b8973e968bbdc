"""Matrices that depend on the input, applied without ever being built: products (M_k - M) v_k with M_k from u_k."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from s7rl.cores.dense import Linear


class FullModulation(nn.Module):
    r"""Every entry of the matrix depends on u_k: :math:`y_o = \sum_{ij} W_{oij}\, u_i v_j`, W zero at first.

    The matrices would be [T, B, out, in]; nothing of that size is ever kept, in either direction.

    Args:
        d_model: H, the width of u.
        d_in: the width of v.
        d_out: the width of the result.
    """

    def __init__(self, d_model: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d_out, d_model, d_in))

    def forward(self, u: Float[Tensor, "*S H"], v: Float[Tensor, "*S I"]) -> Float[Tensor, "*S O"]:
        """The product of the part of the matrix that depends on ``u`` with ``v``."""
        if not torch.is_grad_enabled():  # acting, and what is exported: TorchScript cannot write a function of Python
            return nn.functional.bilinear(u, v, self.weight)
        y: Tensor = _Bilinear.apply(u, v, self.weight)  # type: ignore[no-untyped-call]
        return y


class LowRankModulation(nn.Module):
    r"""A matrix of rank r whose r singular directions are learned and whose r weights come from u_k.

    .. math:: y = P \bigl((V u_k) \odot (Q v_k)\bigr)

    V is zero at first.  (Low-rank modulation of a static matrix: Soydan 2026, arXiv 2605.09742.)

    Args:
        d_model: H, the width of u.
        d_in: the width of v.
        d_out: the width of the result.
        rank: r.
    """

    def __init__(self, d_model: int, d_in: int, d_out: int, rank: int) -> None:
        super().__init__()
        self.weights = Linear(d_model, rank, bias=False)  # V
        self.right = Linear(d_in, rank, bias=False)  # Q
        self.left = Linear(rank, d_out, bias=False)  # P
        nn.init.zeros_(self.weights.weight)
        nn.init.normal_(self.right.weight, std=d_in**-0.5)
        nn.init.normal_(self.left.weight, std=rank**-0.5)

    def forward(self, u: Float[Tensor, "*S H"], v: Float[Tensor, "*S I"]) -> Float[Tensor, "*S O"]:
        """The product of the part of the matrix that depends on ``u`` with ``v``."""
        y: Tensor = self.left(self.weights(u) * self.right(v))
        return y


class _Bilinear(torch.autograd.Function):
    """torch's ``bilinear`` with a backward that is a few matrix products: torch's own takes 70 times the forward."""

    CHUNK = 2**18
    """Numbers of an outer product u v^T that are held at a time: 1 MB, which stays in the cache."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(u, v, weight)
        return nn.functional.bilinear(u, v, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, v, weight = ctx.saved_tensors
        flat = weight.flatten(1)
        grad_u, grad_v, grad_flat = u.new_empty(u.shape), v.new_empty(v.shape), torch.zeros_like(flat)
        rows = max(1, _Bilinear.CHUNK // flat.shape[1])
        parts = (x.reshape(-1, x.shape[-1]).split(rows) for x in (u, v, grad, grad_u, grad_v))
        for u_k, v_k, grad_k, grad_u_k, grad_v_k in zip(*parts, strict=True):
            outer = u_k[:, :, None] * v_k[:, None, :]
            grad_flat.addmm_(grad_k.t(), outer.flatten(1))
            grad_outer = (grad_k @ flat).view_as(outer)
            torch.bmm(grad_outer, v_k[:, :, None], out=grad_u_k[:, :, None])
            torch.bmm(u_k[:, None, :], grad_outer, out=grad_v_k[:, None, :])
        return grad_u, grad_v, grad_flat.view_as(weight)
