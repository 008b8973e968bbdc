"""The gated Transformer-XL against its paper's equations, step by step over explicit lists of what is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s7rl import GTrXL
from s7rl.cores.gtrxl import QUERIES

Array = NDArray[Any]
WIDTH, WINDOW, HEADS, D_HEAD = 5, 4, 2, 3


def build(**options: Any) -> GTrXL:
    sizes = {"d_model": WIDTH, "window": WINDOW, "n_heads": HEADS, "d_head": D_HEAD, **options}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = GTrXL(**sizes).double()
        with torch.no_grad():
            for parameter in core.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return core


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    return np.asarray((x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gate(p: dict[str, Array], name: str, x: Array, y: Array) -> Array:
    """Parisotto et al. 2019, section 3.2, "Gated-Recurrent-Unit-type gating"."""
    w_r, w_z, w_g = np.split(p[f"{name}.from_y.weight"], 3)
    u_r, u_z = np.split(p[f"{name}.from_x.weight"], 2)
    r = sigmoid(w_r @ y + u_r @ x)
    z = sigmoid(w_z @ y + u_z @ x - p[f"{name}.bias"])
    h = np.tanh(w_g @ y + p[f"{name}.from_kept.weight"] @ (r * x))
    return np.asarray((1 - z) * x + z * h)


def sinusoid(lag: int) -> Array:
    """The sines first, then the cosines (Dai et al. 2019); one number less for an odd width."""
    frequencies = [10_000.0 ** (-2 * i / WIDTH) for i in range(math.ceil(WIDTH / 2))]
    waves = [math.sin(lag * f) for f in frequencies] + [math.cos(lag * f) for f in frequencies]
    return np.array(waves[:WIDTH])


def layer(p: dict[str, Array], seen: list[Array]) -> Array:
    """The output for the last of the inputs that are seen."""
    normed = [layer_norm(x, p["norm.weight"], p["norm.bias"]) for x in seen]
    heads = []
    for head in range(HEADS):
        rows = slice(head * D_HEAD, (head + 1) * D_HEAD)
        q = p["query.weight"][rows] @ normed[-1]
        u, v = p["content_bias"][head, 0], p["position_bias"][head, 0]
        logits = []
        for s, n in enumerate(normed):
            content = (q + u) @ (p["key.weight"][rows] @ n)
            position = (q + v) @ (p["position.weight"][rows] @ sinusoid(len(seen) - 1 - s))
            logits.append((content + position) / math.sqrt(D_HEAD))
        weights = np.exp(logits) / np.exp(logits).sum()
        heads.append(sum(w * (p["value.weight"][rows] @ n) for w, n in zip(weights, normed, strict=True)))
    attended = p["output.weight"] @ np.concatenate(heads)
    y = gate(p, "attention_gate", seen[-1], np.maximum(attended, 0))
    inside = layer_norm(y, p["perceptron.0.weight"], p["perceptron.0.bias"])
    inside = np.maximum(p["perceptron.1.weight"] @ inside + p["perceptron.1.bias"], 0)
    inside = p["perceptron.3.weight"] @ inside + p["perceptron.3.bias"]
    return gate(p, "perceptron_gate", y, np.maximum(inside, 0))


@pytest.mark.parametrize("steps", [1, 3, 2 * QUERIES + 5])
def test_every_step_is_the_papers_layer_on_the_window_of_its_episode(steps: int) -> None:
    core = build()
    p = {name: parameter.detach().numpy() for name, parameter in core.named_parameters()}
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(steps, 2, WIDTH, generator=generator, dtype=torch.double)
    reset = torch.rand(steps, 2, generator=generator) < 0.1
    # One row comes with two inputs, the other with more than the window holds.
    before = torch.randn(6, 2, WIDTH, generator=generator, dtype=torch.double)
    starts = torch.tensor([[False, True], [False] * 2, [False] * 2, [False] * 2, [True, False], [False] * 2])
    with torch.no_grad():
        _, state = core.scan(before, core.initial_state(2), starts)
        y, last = core.scan(x, state, reset)
    for row in range(2):
        episode = list(before[4 if row == 0 else 0 :, row].numpy())
        for t in range(steps):
            episode = [] if reset[t, row] else episode
            episode.append(x[t, row].numpy())
            # The sinusoids are kept in float32.
            np.testing.assert_allclose(y[t, row], layer(p, episode[-WINDOW - 1 :]), rtol=1e-6, atol=1e-7)
        kept = episode[-WINDOW:]
        held = [*[np.zeros(WIDTH)] * (WINDOW - len(kept)), *kept]
        np.testing.assert_allclose(last[row], [*np.concatenate(held), len(kept)], rtol=0, atol=0)


def test_a_step_sees_exactly_the_window_and_the_gradient_passes_through_all_of_it() -> None:
    core = build(window=70)
    x = torch.randn(200, 1, WIDTH, dtype=torch.double, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y, _ = core.scan(x, core.initial_state(1), torch.zeros(200, 1, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(y[150].square().sum(), x)
    reached = gradient[:, 0].abs().sum(-1).nonzero().flatten()
    assert reached.tolist() == list(range(80, 151))


def test_the_gates_begin_near_the_identity() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = GTrXL(32)
    assert (core.attention_gate.bias == 2.0).all()
    assert (core.perceptron_gate.bias == 2.0).all()
    x = torch.randn(50, 2, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y, _ = core.scan(x, core.initial_state(2), torch.zeros(50, 2, dtype=torch.bool))
    assert torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1] > 0.95


def test_no_tensor_that_learning_keeps_is_quadratic_in_the_number_of_steps() -> None:
    core, steps = build(), 1000
    sizes: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        core.scan(
            torch.zeros(steps, 1, WIDTH, dtype=torch.double),
            core.initial_state(1),
            torch.zeros(steps, 1, dtype=torch.bool),
        )
    assert len(sizes) > 10
    assert max(sizes) <= max(steps * 4 * WIDTH, HEADS * QUERIES * (QUERIES + WINDOW + 1))


def test_the_state_holds_the_window_and_how_much_of_it_is_filled() -> None:
    core = build()
    assert core.state_size == WINDOW * WIDTH + 1
    state = core.initial_state(1)
    held = []
    for start in [True, False, False, False, False, False, True, False]:
        _, state = core.step(torch.ones(1, WIDTH, dtype=torch.double), state, torch.tensor([start]))
        held.append(state[0, -1].item())
        assert state[0, :-1].sum().item() == WIDTH * held[-1]
    assert held == [1, 2, 3, 4, 4, 4, 1, 2]
