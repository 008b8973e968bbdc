r"""The linear scan in tensor operations, parallel in time: any device, any float dtype, no compiler.

Odd-even reduction (Blelloch 1990, Prefix Sums and Their Applications): neighbours are combined into a scan of half the
length, which gives every second state; the others follow from these in one step.  Depth 2 log T, work and memory O(T).
An element is :math:`(\lambda, b, c)`, c true where the span that it stands for starts an episode (Lu et al. 2023,
arXiv 2303.03982):

.. math:: (\lambda_i, b_i, c_i) \circ (\lambda_j, b_j, c_j) =
    (\lambda_j \lambda_i,\; b_j + [\lambda_j b_i \text{ if not } c_j],\; c_i \lor c_j)

A selection, not a product with 0, so that a state of inf or nan is dropped.  Rotating modes are complex in here.
float16 and bfloat16 are computed in float32.  Products of transitions beyond magnitude 1 can overflow where the states
do not.

The backward is the same scan in reversed time, :math:`g_t = dy_t + \bar\lambda_{t+1} g_{t+1}`, and never divides by
:math:`\lambda`; see :mod:`s7rl.kernels.cpu_scan` for the other gradients.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Inexact
from torch import Tensor
from torch.autograd.function import once_differentiable


def scan(
    a: Float[Tensor, "#T #B N"],
    b: Float[Tensor, "T B W"],
    initial: Float[Tensor, "B W"],
    reset: Bool[Tensor, "T B"],
    angle: Float[Tensor, " R"],
) -> Float[Tensor, "T B W"]:
    """:func:`s7rl.linear_scan` after its checks."""
    states: Tensor = _TorchScan.apply(a, b, initial, reset, angle)  # type: ignore[no-untyped-call]
    return states


def parallel_scan(
    transition: Inexact[Tensor, "#T #B N"], added: Inexact[Tensor, "T B N"], starts: Bool[Tensor, "T B 1"]
) -> Inexact[Tensor, "T B N"]:
    """All x_t = transition_t x_{t-1} + added_t from x = 0, the first term left out where ``starts``."""
    steps = len(added)
    if steps == 1:
        return added

    def pick(x: Tensor, which: slice) -> Tensor:
        return x if len(x) == 1 else x[which]  # a time-invariant transition stays of size 1 at every level

    left, right, later = slice(0, steps - 1, 2), slice(1, None, 2), slice(2, None, 2)
    odd = parallel_scan(
        pick(transition, right) * pick(transition, left),
        torch.where(starts[right], added[right], pick(transition, right) * added[left] + added[right]),
        starts[left] | starts[right],
    )
    states = torch.empty_like(added)
    states[0] = added[0]
    states[right] = odd
    if steps > 2:
        before = odd[: (steps - 1) // 2]
        states[later] = torch.where(starts[later], added[later], pick(transition, later) * before + added[later])
    return states


class _TorchScan(torch.autograd.Function):
    """Only the states are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor, reset: Tensor, angle: Tensor) -> Tensor:
        parts = []
        for (transition, _), added, first in zip(
            _transitions(a, angle), _split(b, angle), _split(initial, angle), strict=True
        ):
            first = torch.where(reset[0, :, None], 0.0, transition[0] * first)
            parts.append(parallel_scan(transition, torch.cat([added[:1] + first, added[1:]]), reset[..., None]))
        states = _join(parts, b.dtype)
        ctx.save_for_backward(a, initial, reset, angle, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        a, initial, reset, angle, states = ctx.saved_tensors
        starts = reset[..., None]
        # Reversed in time, a step is preceded by the one after it; nothing comes from beyond the last.
        starts_next = torch.cat([starts[1:], torch.ones_like(starts[:1])]).flip(0)
        before = torch.cat([initial[None].to(states.dtype), states[:-1]])
        parts, grads_a, grads_initial, grad_angle = [], [], [], torch.zeros_like(angle)
        for (transition, turn), dy, previous in zip(
            _transitions(a, angle), _split(grad_states, angle), _split(before, angle), strict=True
        ):
            following = transition if len(transition) == 1 else transition.roll(-1, 0).flip(0)
            g = parallel_scan(following.conj(), dy.flip(0), starts_next).flip(0)
            grad_transition = torch.where(starts, 0.0, g * previous.conj())
            grads_a.append(_real(grad_transition * turn.conj()).sum_to_size(*transition.shape))
            if turn.is_complex():
                grad_angle = (grad_transition * transition.conj()).imag.sum((0, 1)).to(angle.dtype)
            grads_initial.append(torch.where(starts[0], 0.0, transition[0].conj() * g[0]))
            parts.append(g)
        grad_a = torch.cat(grads_a, dim=-1).to(a.dtype)
        return grad_a, _join(parts, states.dtype), _join(grads_initial, initial.dtype), None, grad_angle


def _computed(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _real(x: Tensor) -> Tensor:
    return x.real if x.is_complex() else x


def _transitions(a: Tensor, angle: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Transition and its factor beside ``a``, of the modes that stand still and, if there are any, those that turn."""
    a, angle = _computed(a), _computed(angle)
    still, turning = a.split([a.shape[-1] - len(angle), len(angle)], dim=-1)
    if not len(angle):
        return [(still, still.new_ones(()))]
    turn = torch.polar(torch.ones_like(angle), angle)
    return [(still, still.new_ones(())), (turning * turn, turn)]


def _split(x: Tensor, angle: Tensor) -> list[Tensor]:
    """The columns of the modes that stand still and, if there are any, complex numbers of those that turn."""
    x = _computed(x)
    rotating = len(angle)
    still, real, imag = x.split([x.shape[-1] - 2 * rotating, rotating, rotating], dim=-1)
    return [still, torch.complex(real, imag)] if rotating else [still]


def _join(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    still, *turning = parts
    return torch.cat([still, *(half for x in turning for half in (x.real, x.imag))], dim=-1).to(dtype)
