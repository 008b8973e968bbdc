"""What the input decides in S7: each kind of selectivity against its recurrence with every matrix written out.

Mutations seen to fail, of the readout: none, by each path; modulations that read the states themselves; symlog.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from s7rl import S7
from s7rl.cores.modulation import FullModulation, LowRankModulation
from s7rl.selective_scan import decay, modulated, transition, w_of

Array = NDArray[np.float64]
H, N = 3, 5


def layer(seed: int = 0, **options: Any) -> S7:
    """A layer all of whose parameters are random: at first nothing depends on the input."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        s7 = S7(H, d_state=N, **options).double()
        with torch.no_grad():
            for parameter in s7.parameters():
                parameter.add_(0.4 * torch.randn_like(parameter))
    return s7


def draw(steps: int, seed: int, s7: S7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(steps, 1, H, generator=generator, dtype=torch.float64)
    state = torch.randn(1, s7.state_size, generator=generator, dtype=torch.float64)
    return u, state, torch.rand(steps, 1, generator=generator) < 0.1


def weights(s7: S7) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in s7.state_dict().items()}


@settings(max_examples=25)
@given(steps=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_full_selectivity_without_our_additions_is_the_papers_recurrence(steps: int, seed: int) -> None:
    """Eq. 4 with f(w) = 1 - 1/(w^2 + 1/2), and matrices B_k [N, H] and C_k [H, N] built at every step."""
    s7 = layer(seed, selectivity="full", rotation=0.0, token_shift=None, input_scale=0.0)
    u, state, reset = draw(steps, seed, s7)
    p = weights(s7)
    a_0, w_a = p["w_0"], p["w_0"][:, None] * p["selection.weight"][:N]
    x = state[0].numpy()
    for t in range(steps):
        u_k = u[t, 0].numpy()
        a_k = 1 - 1 / ((w_a @ u_k + a_0) ** 2 + 0.5)
        b_k = p["input.weight"] + np.einsum("nhj,h->nj", p["modulate_input.weight"], u_k)
        c_k = p["output.weight"] + np.einsum("ohn,h->on", p["modulate_output.weight"], u_k)
        d_k = p["skip"] + p["selection.weight"][N:] @ u_k
        bias = p["state_bias.weight"] @ u_k + p["state_bias.bias"]
        x = a_k * (np.zeros(N) if reset[t, 0] else x) + b_k @ u_k + bias
        with torch.no_grad():
            y, _ = s7.scan(u[: t + 1], state, reset[: t + 1])
        np.testing.assert_allclose(y[t, 0], c_k @ x + d_k * u_k, rtol=1e-9, atol=1e-9)


def written_out(s7: S7, offset: float, u: Tensor, state: Tensor, reset: Tensor) -> tuple[Array, Array]:
    """The equations of the class's docstring on complex modes, with every matrix built; outputs and last modes."""
    p = weights(s7)
    rotating = len(s7.angle)
    still, width = N - rotating, N + rotating
    theta = np.concatenate([np.zeros(still), p["angle"]])

    def to_complex(parts: Array) -> Any:
        """[real halves | imaginary halves of the last modes] along the first axis."""
        zeros = np.zeros((still, *parts.shape[1:]))
        return parts[:N] + 1j * np.concatenate([zeros, parts[N:]])

    x, before = to_complex(state[0, :width].numpy()), state[0, width:].numpy()
    ys = []
    for t in range(len(u)):
        u_k = u[t, 0].numpy()
        if reset[t, 0]:
            x, before = np.zeros(N), np.zeros(H)
        b, c, gate_c = p["input.weight"], p["output.weight"], np.ones(width)
        s = p["selection.weight"] @ u_k if "selection.weight" in p else np.zeros(N + H)
        if "spread" in p:
            s = s @ p["spread"]
        if s7.selectivity == "diagonal":
            gate_b, gate_c = s[N : 2 * N], 1 + s[2 * N : 2 * N + width]
            b = (1 + np.concatenate([gate_b, gate_b[still:]]))[:, None] * b
        elif s7.selectivity == "low_rank":
            b, c = (
                matrix + p[f"{m}.left.weight"] @ np.diag(p[f"{m}.weights.weight"] @ u_k) @ p[f"{m}.right.weight"]
                for matrix, m in ((b, "modulate_input"), (c, "modulate_output"))
            )
        elif s7.selectivity == "full":
            b = b + np.einsum("nhj,h->nj", p["modulate_input.weight"], u_k)
            c = c + np.einsum("ohn,h->on", p["modulate_output.weight"], u_k)
        v = u_k - (p["mu"] * before if s7.mu is not None else 0)
        v = np.maximum(v, 0) if s7.rectified else v
        bias = p["state_bias.weight"] @ u_k + p["state_bias.bias"] if s7.state_bias is not None else np.zeros(width)
        if s7.reparameterization == "stable":
            a = 1 - 1 / ((p["w_0"] * (1 + s[:N])) ** 2 + offset)
        elif s7.reparameterization == "exp":
            a = np.exp(-np.exp(-(p["w_0"] + s[:N])))
        else:
            a = 1 / (1 + np.exp(-(p["w_0"] + s[:N])))
        x = a * np.exp(1j * theta) * x + (1 - a) ** s7.input_scale * to_complex(b @ v + bias)
        parts = np.concatenate([x.real, x.imag[still:]])
        read = gate_c * parts
        read = np.arcsinh(read) if s7.readout == "asinh" else read
        ys.append(c @ read + (p["skip"] + s[-H:]) * u_k)
        before = u_k
    return np.stack(ys), np.concatenate([parts, before if s7.mu is not None else []])


@pytest.mark.parametrize(
    "options",
    [
        {"selectivity": "diagonal"},
        {"selectivity": "diagonal", "rank": 2, "token_shift": None},
        {"selectivity": "diagonal", "allow_negative": False, "learn_angles": True},
        {"selectivity": "low_rank", "rank": 2},
        {"selectivity": "low_rank", "allow_negative": False, "rotation": 1.0, "angle_spread": "log"},
        {"selectivity": "full"},
        {"selectivity": "full", "input_scale": 0.5, "learn_angles": True},
        {"selectivity": "none"},
        {"selectivity": "none", "reparameterization": "exp", "learn_angles": True, "input_scale": 0.5},
        {"reparameterization": "exp"},
        {"reparameterization": "sigmoid", "rank": 2},
        {"selectivity": "low_rank", "reparameterization": "sigmoid"},
        {"selectivity": "full", "reparameterization": "exp", "token_shift": None},
        *({"selectivity": kind, "rectified": True} for kind in ("none", "diagonal", "low_rank", "full")),
        *({"selectivity": kind, "readout": "asinh"} for kind in ("none", "diagonal", "low_rank", "full")),
    ],
    ids=str,
)
@settings(max_examples=10)
@given(steps=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_every_kind_is_its_equations_with_the_matrices_written_out(
    options: dict[str, Any], steps: int, seed: int
) -> None:
    s7 = layer(seed, **options)
    u, state, reset = draw(steps, seed, s7)
    expected, last = written_out(s7, 0.5 if options.get("allow_negative", True) else 1.0, u, state, reset)
    with torch.no_grad():
        y, state = s7.scan(u, state, reset)
    np.testing.assert_allclose(y[:, 0], expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(state[0], last, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {"selectivity": "none"},
        {"selectivity": "low_rank"},
        {"selectivity": "full"},
        {"rank": 2},
        {"reparameterization": "exp"},
        {"reparameterization": "sigmoid"},
    ],
    ids=str,
)
@settings(max_examples=10)
@given(steps=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_every_kind_steps_as_it_scans_and_forgets_at_a_reset(options: dict[str, Any], steps: int, seed: int) -> None:
    s7 = layer(seed, **options)
    u, state, reset = draw(steps, seed, s7)
    u.requires_grad_()
    y, last = s7.scan(u, state, reset)
    ys, stepped = [], state
    for u_t, reset_t in zip(u, reset, strict=True):
        y_t, stepped = s7.step(u_t, stepped, reset_t)
        ys.append(y_t)
    torch.testing.assert_close(torch.stack(ys), y)
    torch.testing.assert_close(stepped, last)
    reset = torch.zeros_like(reset)
    reset[-1] = True
    (gradient,) = torch.autograd.grad(s7.scan(u, state, reset)[0][-1].sum(), u)
    assert not gradient[:-1].any()
    assert gradient[-1].any()


@pytest.mark.parametrize(
    "options",
    [
        {"selectivity": "none"},
        {"selectivity": "low_rank"},
        {"selectivity": "full"},
        {"reparameterization": "exp"},
        {"reparameterization": "sigmoid"},
    ],
    ids=str,
)
def test_every_kind_begins_as_the_same_time_invariant_layer(options: dict[str, Any]) -> None:
    def fresh(**options: Any) -> S7:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return S7(H, d_state=N, **options)

    one, other = fresh(**options), fresh()
    x = torch.randn(9, 2, H, generator=torch.Generator().manual_seed(1))
    reset = torch.zeros(9, 2, dtype=torch.bool)
    with torch.no_grad():
        got, expected = (s7.scan(x, s7.initial_state(2), reset)[0] for s7 in (one, other))
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(one.horizons(), other.horizons())


@pytest.mark.parametrize("selectivity", ["none", "full"])
def test_a_rank_of_what_has_none_is_refused(selectivity: str) -> None:
    with pytest.raises(ValueError, match=f"rank is 2, but selectivity '{selectivity}' has none: leave it out"):
        layer(selectivity=selectivity, rank=2)


@pytest.mark.parametrize("reparameterization", ["exp", "sigmoid"])
@given(w=st.floats(-(2.0**100), 2.0**100, width=32))
def test_the_other_reparameterizations_keep_every_mode_between_0_and_1(reparameterization: Any, w: float) -> None:
    free = torch.tensor([w], requires_grad=True)
    a, gain = transition(free, input_scale=0.25, offset=1.0, reparameterization=reparameterization)
    assert 0.0 <= a.item() <= 1.0
    assert 0.0 <= gain.item() <= 1.0
    (slope,) = torch.autograd.grad((a + gain).sum(), free)
    assert slope.isfinite().all()


@pytest.mark.parametrize("reparameterization", ["stable", "exp", "sigmoid"])
@pytest.mark.parametrize("time_constant", [50.0, 1e3, 1e6])
def test_a_mode_forgets_with_its_time_constant_and_a_modulation_of_1_percent_changes_it_by_as_much(
    reparameterization: Any, time_constant: float
) -> None:
    w = w_of(torch.tensor([time_constant]), offset=0.5, reparameterization=reparameterization)
    a, _ = transition(w, input_scale=0.25, offset=0.5, reparameterization=reparameterization)
    torch.testing.assert_close(a, torch.tensor([1 - 1 / time_constant]))
    share = 0.005 if reparameterization == "stable" else 0.01  # tau is about w^2, or exp(w)
    moved = decay(
        modulated(w, torch.tensor([share]), reparameterization), offset=0.5, reparameterization=reparameterization
    )
    assert 1 / moved.item() / time_constant == pytest.approx(1.01, abs=3e-4)


@pytest.mark.parametrize("shape", [(7,), (4, 3), (1, 1)])
def test_the_gradients_of_a_full_modulation_are_difference_quotients(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    modulation = FullModulation(3, 4, 2).double()
    u, v = (torch.randn(*shape, n, generator=generator, dtype=torch.float64, requires_grad=True) for n in (3, 4))
    weight = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)

    def product(u: Tensor, v: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(modulation, {"weight": weight}, (u, v))
        return result

    assert torch.autograd.gradcheck(product, (u, v, weight))


def test_the_gradients_of_a_full_modulation_over_many_chunks_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(3000, n, generator=generator, dtype=torch.float64, requires_grad=True) for n in (9, 11))
    modulation = FullModulation(9, 11, 4).double()
    assert 3000 * 9 * 11 > 2**18, "one chunk only"
    with torch.no_grad():
        modulation.weight.normal_(generator=generator)
    weight = torch.randn(3000, 4, generator=generator, dtype=torch.float64)
    leaves = u, v, modulation.weight
    got = torch.autograd.grad((modulation(u, v) * weight).sum(), leaves)
    reference = torch.nn.functional.bilinear(u, v, modulation.weight)
    expected = torch.autograd.grad((reference * weight).sum(), leaves)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("steps", [40])
def test_full_selectivity_keeps_no_matrix_of_any_step(steps: int) -> None:
    s7 = layer(selectivity="full").float()
    largest = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal largest
        if tensor.shape[:1] == (steps,):
            largest = max(largest, tensor.numel())
        return tensor

    x = torch.randn(steps, 2, H, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y, _ = s7.scan(x, s7.initial_state(2), torch.zeros(steps, 2, dtype=torch.bool))
        y.sum().backward()
    assert 0 < largest < steps * 2 * H * N


def test_a_low_rank_modulation_has_the_rank_that_was_asked_for() -> None:
    modulation = LowRankModulation(d_model=6, d_in=7, d_out=8, rank=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        modulation.weights.weight.normal_(generator=generator)
        u = torch.randn(6, generator=generator).expand(7, 6)
        matrix = modulation(u, torch.eye(7))
    assert torch.linalg.matrix_rank(matrix).item() == 3


def test_learned_angles_are_learned_and_fixed_ones_are_not() -> None:
    assert layer(learn_angles=True).angle.requires_grad
    assert not layer().angle.requires_grad
    assert "angle" in layer(learn_angles=True).state_dict()
    assert "angle" in layer().state_dict()


def test_log_angles_have_periods_from_2_steps_to_4_r() -> None:
    periods = 2 * torch.pi / S7(4, d_state=16, angle_spread="log").angle
    torch.testing.assert_close(periods[[0, -1]], torch.tensor([2.0, 32.0]))
    ratios = periods[1:] / periods[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(7), rtol=1e-4, atol=0)


@given(w=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_without_negative_transitions_every_real_w_gives_one_from_0_to_1(w: float) -> None:
    a, gain = transition(torch.tensor([w]), input_scale=0.5, offset=1.0)
    assert 0.0 <= a.item() <= 1.0
    assert 0.0 <= gain.item() <= 1.0
