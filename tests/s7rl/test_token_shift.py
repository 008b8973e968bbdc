"""The token shift by hand, and the kernel against the tensor operations, values and gradients.

Mutations seen to fail: the reset ignored forward, or backward; the input before taken from the wrong sequence; mu's
gradient with the other sign; the gradient of the input before the first left at zero; shapes that nobody checks.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s7rl.token_shift import token_shift


def test_by_hand() -> None:
    u = torch.tensor([[[1.0, 10.0]], [[2.0, 20.0]], [[3.0, 30.0]]])
    mu, before = torch.tensor([0.5, 1.0]), torch.tensor([[4.0, 40.0]])
    reset = torch.tensor([[False], [False], [True]])
    assert token_shift(u, mu, before, reset).tolist() == [[[-1.0, -30.0]], [[1.5, 10.0]], [[3.0, 30.0]]]


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 2**31))
def test_the_kernel_gives_values_and_gradients_of_the_tensor_operations(
    steps: int, batch: int, features: int, resets: float, seed: int
) -> None:
    torch.manual_seed(seed)
    shapes = [(steps, batch, features), (features,), (batch, features)]
    u, mu, before = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    reset, sent = torch.rand(steps, batch) < resets, torch.randn(shapes[0], dtype=torch.float64)
    found = token_shift(u, mu, before, reset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S7RL_SCAN", "torch")
        expected = token_shift(u, mu, before, reset)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    gradients = (torch.autograd.grad(result, [u, mu, before], sent) for result in (found, expected))
    for of, value in zip(*gradients, strict=True):
        torch.testing.assert_close(of, value, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("mu", "before", "reset", "message"),
    [
        (5, (3, 4), (2, 3), r"u has width 4, but mu has shape \(5,\): [^\n]+"),
        (4, (2, 4), (2, 3), r"initial has shape \(2, 4\), but [^\n]+"),
        (4, (3, 4), (2, 1), r"reset has shape \(2, 1\), but [^\n]+"),
    ],
)
def test_shapes_that_the_kernel_would_read_beyond_are_refused(
    mu: int, before: tuple[int, int], reset: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        token_shift(torch.zeros(2, 3, 4), torch.zeros(mu), torch.zeros(before), torch.zeros(reset, dtype=torch.bool))


def test_an_input_that_is_not_a_number_does_not_pass_the_start_of_an_episode() -> None:
    u = torch.full((2, 1, 3), torch.nan)
    u[1] = 1.0
    shifted = token_shift(u, torch.ones(3), torch.full((1, 3), torch.nan), torch.ones(2, 1, dtype=torch.bool))
    assert shifted[1].tolist() == [[1.0, 1.0, 1.0]]
