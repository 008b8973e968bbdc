"""The CPU kernels of a learning step against the tensor operations that define their results, and who uses them.

Mutations that were seen to fail these tests.  Of the distribution: logits not shifted by the highest; minus infinity
left in the entropy, or the bound put on the log-probability too; the entropy left out of its own slope; the gradient of
the action in place of the rest's; exponentials under the user's ``numpy.errstate``; negative actions let through;
numbers of actions not compared; masks passed by.  Of the loss: the surrogate by its maximum, or not clipped, or its
gradient not; no gradient at a tie; nan taken for a gain; no gradient on the border of the value's range; a clamp that
loses nan; the nan of an old value lost; values never clipped; the gradient of the entropy, estimated or not, with the
other sign; that of the values halved; gradients not scaled; sums in float32; two statistics swapped, or with gradient;
the border counted as clipped; approx_kl without 1; arrays in the order of memory.  A kernel that nobody calls;
``S7RL_SCAN=torch`` ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from s7rl.agents import RecurrentPPO
from s7rl.agents.distributions import MaskableCategorical, log_prob_and_entropy
from s7rl.agents.kernels import categorical
from s7rl.agents.kernels import ppo_loss as ppo_loss_kernel
from s7rl.agents.losses import ppo_loss
from s7rl.agents.rollout_buffer import Sequences

SETTINGS = {"clip_range": 0.2, "clip_range_vf": None, "normalize_advantage": False, "ent_coef": 0.03, "vf_coef": 0.7}
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def on_both(compute: Callable[[], Any]) -> tuple[Any, Any]:
    """A result by the kernels, and one by tensor operations."""
    results = []
    for backend in ("numba", "torch"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("S7RL_SCAN", backend)
            results.append(compute())
    return results[0], results[1]


def judged(logits: Tensor, actions: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability, entropy, and the gradient of something that depends on both."""
    leaf = logits.detach().clone().requires_grad_()
    distribution = MaskableCategorical(logits.shape[-1]).proba_distribution(leaf)
    if masks is not None:
        distribution.apply_masking(masks)
    log_prob, entropy = log_prob_and_entropy(distribution, actions)
    assert entropy is not None
    weights = torch.linspace(-1.0, 2.0, len(logits), dtype=logits.dtype)
    ((weights * log_prob).sum() + (weights.flip(0) * entropy).square().sum()).backward()
    assert leaf.grad is not None
    return log_prob.detach(), entropy.detach(), leaf.grad


def draw_choices(seed: int, rows: int, actions: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, actions and masks that allow them."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, actions, generator=generator, dtype=torch.float64)
    taken = torch.randint(actions, (rows,), generator=generator)
    masks = torch.rand(rows, actions, generator=generator) < 0.5
    return logits, taken, masks.scatter(1, taken[:, None], True)


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 6),
    actions=st.integers(1, 9),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    masked=st.booleans(),
)
def test_log_probability_entropy_and_their_gradient_are_those_of_tensor_operations(
    seed: int, rows: int, actions: int, scale: float, masked: bool
) -> None:
    logits, taken, masks = draw_choices(seed, rows, actions, scale)
    ours, reference = on_both(lambda: judged(logits, taken, masks if masked else None))
    for got, expected in zip(ours, reference, strict=True):
        torch.testing.assert_close(got, expected, **EXACT)
    narrow = judged(logits.float(), taken, masks if masked else None)
    for got, expected in zip(narrow, reference, strict=True):
        # The logits themselves lose digits: 1e4 has a last one of 1e-3.
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5 * max(1.0, scale))


@pytest.mark.parametrize("likeliest", [0.0, 800.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_action_that_hardly_ever_happens_has_its_log_probability_and_gradient(
    dtype: torch.dtype, likeliest: float
) -> None:
    logits = torch.tensor([[likeliest, likeliest - 2000.0, likeliest - 50.0]], dtype=dtype)
    log_prob, entropy, grad = judged(logits, torch.tensor([1]))
    assert log_prob.item() == -2000.0
    assert entropy.item() == pytest.approx(51 * math.exp(-50), rel=1e-5)
    # The weight of the log-probability is -1: the gradient is p less what was taken.
    assert grad[0].tolist() == pytest.approx([1.0, -1.0, math.exp(-50)], abs=1e-12)


def test_an_unlikely_action_is_no_error_where_the_user_has_numpy_raise_at_underflows() -> None:
    with np.errstate(all="raise"):
        log_prob, entropy, _ = judged(torch.tensor([[0.0, -200.0]]), torch.tensor([1]))
    assert log_prob.item() == -200.0
    assert entropy.item() == 0.0


@pytest.mark.parametrize("row", [[0.0, math.nan, 1.0], [math.nan, 0.0, 1.0], [math.inf, 0.0, 1.0], [-math.inf] * 3])
def test_what_is_no_number_makes_its_row_nan_and_no_other(row: list[float]) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], row, [3.0, -math.inf, 3.0]], dtype=torch.float64)
    ours, reference = on_both(lambda: judged(logits, torch.tensor([0, 2, 0])))
    for got, expected in zip(ours, reference, strict=True):
        torch.testing.assert_close(got, expected, equal_nan=True, **EXACT)
        assert got[1].isnan().all()
        assert got[[0, 2]].isfinite().all()


def test_the_gradient_of_the_distribution_is_that_of_finite_differences() -> None:
    logits, taken, _ = draw_choices(0, 3, 4, 1.0)
    leaf = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: categorical.log_prob_and_entropy(x, taken), leaf)


def test_logits_and_actions_may_lie_in_memory_in_any_order() -> None:
    logits, taken, _ = draw_choices(1, 4, 5, 1.0)
    scattered = torch.stack([taken, taken], dim=1)[:, 0].int()
    log_prob, entropy = categorical.log_prob_and_entropy(logits.T.contiguous().T, scattered)
    plain = categorical.log_prob_and_entropy(logits, taken)
    assert torch.equal(log_prob, plain[0])
    assert torch.equal(entropy, plain[1])


@pytest.mark.parametrize("action", [-1, 3])
def test_an_action_that_there_is_no_logit_for_is_refused(action: int) -> None:
    with pytest.raises(ValueError, match=r"^an action lies outside 0 to A - 1, the columns of the logits\.$"):
        categorical.log_prob_and_entropy(torch.zeros(2, 3), torch.tensor([0, action]))


@pytest.mark.usefixtures("as_users_run_it")
def test_another_number_of_actions_than_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^there are 3 actions, but logits for 2: pass one for each\.$"):
        categorical.log_prob_and_entropy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))


NAMES = ("values", "log_probs", "entropies", "advantages", "old_log_probs", "old_values", "returns")


def draw_batch(seed: int, steps: int, rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.5 * torch.randn(steps, rows, generator=generator, dtype=torch.float64) for name in NAMES}


def learned(tensors: dict[str, Tensor], changed: dict[str, Any], closed_form: bool = True) -> dict[str, Tensor]:
    """The loss, its statistics, and three times its gradient."""
    of_now = {name: tensors[name].detach().clone().requires_grad_() for name in NAMES[:3]}
    advantages, old_log_probs, old_values, returns = (tensors[name] for name in NAMES[3:])
    nothing = torch.zeros(advantages.shape[1], 0, dtype=advantages.dtype)
    starts = torch.zeros(advantages.shape, dtype=torch.bool)
    batch = Sequences(
        advantages, advantages, None, old_log_probs, old_values, advantages, returns, starts, nothing, nothing
    )
    values, log_probs, entropies = of_now.values()
    given_entropies = entropies if closed_form else None
    loss, numbers = ppo_loss(batch, values, log_probs, given_entropies, **{**SETTINGS, **changed})
    assert not any(number.requires_grad for number in numbers.values())
    (3 * loss).backward()
    grads = {f"grad_{name}": leaf.grad for name, leaf in of_now.items() if leaf.grad is not None}
    assert len(grads) == 2 + closed_form
    return {"the loss": loss.detach(), **{name: x.to(loss.dtype) for name, x in numbers.items()}, **grads}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], **tolerance: Any) -> None:
    torch.testing.assert_close(
        {name: x.double() for name, x in got.items()}, {name: x.double() for name, x in expected.items()}, **tolerance
    )


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 5),
    rows=st.integers(2, 4),
    changed=st.fixed_dictionaries(
        {},
        optional={
            "clip_range": st.sampled_from([0.0, 0.05, 1.5]),
            "clip_range_vf": st.sampled_from([0.0, 0.3, 5.0]),
            "normalize_advantage": st.just(True),
            "ent_coef": st.just(0.0),
        },
    ),
    closed_form=st.booleans(),
)
def test_the_loss_its_statistics_and_its_gradient_are_those_of_tensor_operations(
    seed: int, steps: int, rows: int, changed: dict[str, Any], closed_form: bool
) -> None:
    tensors = draw_batch(seed, steps, rows)
    ours, reference = on_both(lambda: learned(tensors, changed, closed_form))
    # The share of a count is float32 there.
    assert_same(ours, {**reference, "clip_fraction": ours["clip_fraction"]}, **EXACT)
    torch.testing.assert_close(ours["clip_fraction"], reference["clip_fraction"], rtol=1e-6, atol=0.0)
    narrow = learned({name: x.float() for name, x in tensors.items()}, changed, closed_form)
    assert_same(narrow, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip_range", [0.2, 0.0])
@pytest.mark.parametrize("clip_range_vf", [None, 0.25, 0.0])
def test_on_the_borders_of_the_clip_ranges_the_gradient_passes(clip_range: float, clip_range_vf: float | None) -> None:
    # The policy has not moved: the ratio is 1 everywhere.  The values have, by as much as they may, exactly.
    tensors = draw_batch(0, 3, 2)
    tensors["old_log_probs"] = tensors["log_probs"]
    tensors["old_values"] = tensors["old_values"].mul(8).round() / 8
    tensors["values"] = tensors["old_values"] + (clip_range_vf or 0.0)
    ours, reference = on_both(
        lambda: learned(tensors, {"clip_range": clip_range, "clip_range_vf": clip_range_vf, "vf_coef": 1.0})
    )
    assert_same(ours, reference, **EXACT)
    torch.testing.assert_close(ours["grad_log_probs"], -3 * tensors["advantages"] / 6, **EXACT)
    torch.testing.assert_close(ours["grad_values"], 3 * 2 * (tensors["values"] - tensors["returns"]) / 6, **EXACT)


@pytest.mark.parametrize("clip_range_vf", [None, 0.3])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_ends_where_it_ends_in_tensor_operations(
    name: str, number: float, clip_range_vf: float | None
) -> None:
    tensors = draw_batch(2, 3, 2)
    tensors[name][1, 1] = number
    ours, reference = on_both(lambda: learned(tensors, {"clip_range_vf": clip_range_vf}))
    assert_same(ours, reference, equal_nan=True, rtol=1e-6, atol=1e-12)
    read = name != "old_values" or clip_range_vf is not None
    assert bool(ours["loss"].isnan()) or not (math.isnan(number) and read)


@pytest.mark.parametrize("advantage", [1.0, 0.0, -1.0])
def test_a_ratio_that_overflows_is_what_it_is_in_tensor_operations(advantage: float) -> None:
    tensors = draw_batch(3, 2, 2)
    tensors["log_probs"][0, 0] = 800.0
    tensors["advantages"][0, 0] = advantage
    ours, reference = on_both(lambda: learned(tensors, {}))
    assert_same(ours, reference, equal_nan=True, rtol=1e-6, atol=1e-12)


def test_the_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    tensors = draw_batch(4, 3, 2)
    of_now = [tensors[name].requires_grad_() for name in NAMES[:3]]
    constants = tuple(tensors[name] for name in NAMES[3:])
    for given_entropies in (of_now[2], None):
        assert torch.autograd.gradcheck(
            lambda values, log_probs, entropies=given_entropies: ppo_loss_kernel.loss_and_statistics(
                values, log_probs, entropies, constants, (0.2, 0.3, 0.03, 0.7)
            )[0],
            of_now[:2] if given_entropies is None else [of_now[0], of_now[1], given_entropies],
        )


def test_sums_over_many_steps_keep_the_digits_of_float32() -> None:
    # Sequential sums in float32 lose four of seven digits here.
    tensors = {name: x.abs() + 1.0 for name, x in draw_batch(5, 1000, 100).items()}
    narrow = learned({name: x.float() for name, x in tensors.items()}, {})
    assert_same(narrow, learned(tensors, {}), rtol=1e-5, atol=1e-6)


def test_steps_may_lie_in_memory_in_any_order() -> None:
    tensors = draw_batch(6, 4, 3)
    across = {name: x.T.contiguous().T for name, x in tensors.items()}
    assert_same(learned(across, {"clip_range_vf": 0.3}), learned(tensors, {"clip_range_vf": 0.3}), rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("env", "backend", "expected"),
    [
        ("s7rl/TMazePassive-v0", "numba", {"distribution", "loss"}),
        ("s7rl/TMazePassive-v0", "torch", set()),
        ("Pendulum-v1", "numba", {"loss"}),
    ],
)
def test_learning_uses_the_kernels_where_they_serve(
    env: str, backend: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S7RL_SCAN", backend)
    on_distribution = Mock(side_effect=categorical.log_prob_and_entropy)
    on_loss = Mock(side_effect=ppo_loss_kernel.loss_and_statistics)
    monkeypatch.setattr(categorical, "log_prob_and_entropy", on_distribution)
    monkeypatch.setattr(ppo_loss_kernel, "loss_and_statistics", on_loss)
    RecurrentPPO("MlpPolicy", env, n_steps=8, n_epochs=1, seed=0, policy_kwargs={"d_model": 4, "d_state": 4}).learn(8)
    used = {name for name, spy in (("distribution", on_distribution), ("loss", on_loss)) if spy.called}
    assert used == expected
