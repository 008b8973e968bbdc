"""Everything that is measured on recorded episodes, ready to be drawn and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.experiments.inspection.gradient import decision_gradient
from s7rl.experiments.inspection.layers import Layer, Trace, horizons_at_rest, layers_of, trace
from s7rl.experiments.inspection.measures import Band, Probe, band, mean_by_lag, probe, state_norms
from s7rl.experiments.inspection.recording import Episode, Recording


@dataclass(frozen=True, kw_only=True)
class Horizons:
    """Time constants of a layer, in steps."""

    at_rest: Float[np.ndarray, " N"]
    """While the input is 0."""
    over_time: Float[np.ndarray, "T N"] | None
    """Geometric mean over episodes; None where they do not depend on the input."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found, layers by their names.  All but the gradient is by the steps that were kept."""

    steps: Int[np.ndarray, " T"]
    """Which those are."""
    norms: dict[str, Band]
    """Length of the state, over episodes; empty for an agent without memory."""
    horizons: dict[str, Horizons]
    """Empty where no layer has any."""
    gates: dict[str, dict[str, Band]]
    """By the gate's name, over its units and episodes."""
    gradient: Float[np.ndarray, " lags"] | None
    """The mean share of the decision's gradient by lag; None where there was no such decision, or no gradient."""
    probes: list[Probe]
    """Of the columns of the hidden state that vary."""


def measure(
    policy: RecurrentActorCriticPolicy,
    recording: Recording,
    *,
    decision: int | None,
    generator: np.random.Generator,
) -> Findings:
    """Measures everything.

    Args:
        policy: who played.
        recording: what it played.
        decision: the step of the decision whose gradient is taken, from 0; None: the last of each episode.
        generator: of the noise that the probe reads through.
    """
    layers, steps = layers_of(policy.core), recording.steps
    traces = [trace(policy, layers, episode) for episode in recording.whole]
    by_layer = {layer.name: [one[number] for one in traces] for number, layer in enumerate(layers)}
    norms = {
        layer.name: band(state_norms(recording.states[..., layer.start : layer.start + layer.width]))
        for layer in layers
        if layer.width
    }
    horizons = {layer.name: _horizons(layer, by_layer[layer.name], steps) for layer in layers}
    gates = {name: _gates(found, steps) for name, found in by_layer.items()}
    hidden = recording.hidden
    return Findings(
        steps=steps,
        norms=norms,
        horizons={name: found for name, found in horizons.items() if found is not None},
        gates={name: found for name, found in gates.items() if found},
        gradient=_gradient(policy, recording.whole, decision),
        probes=[] if hidden is None else probe(recording.states, hidden, generator=generator),
    )


def _horizons(layer: Layer, traces: Sequence[Trace], steps: NDArray[np.int64]) -> Horizons | None:
    at_rest = horizons_at_rest(layer.core)
    if at_rest is None:
        return None
    found = [one.horizons for one in traces if one.horizons is not None]
    over_time = np.exp(np.nanmean(np.log(_kept(found, steps)), axis=1)) if found else None
    return Horizons(at_rest=_array(at_rest), over_time=over_time)


def _gates(traces: Sequence[Trace], steps: NDArray[np.int64]) -> dict[str, Band]:
    names = list(traces[0].gates)
    return {name: band(_kept([one.gates[name] for one in traces], steps).reshape(len(steps), -1)) for name in names}


def _gradient(
    policy: RecurrentActorCriticPolicy, episodes: Sequence[Episode], decision: int | None
) -> NDArray[np.float64] | None:
    reached = [episode for episode in episodes if decision is None or decision < len(episode)]
    if not reached:
        return None
    shares = mean_by_lag([_array(decision_gradient(policy, episode, decision)) for episode in reached])
    return shares if np.isfinite(shares).all() else None


def _kept(values: Sequence[Float[Tensor, "_ K"]], steps: NDArray[np.int64]) -> Float[np.ndarray, "T E K"]:
    """Episodes side by side at the steps that are kept, NaN behind the end of each."""
    kept = np.full((len(steps), len(values), values[0].shape[1]), np.nan)
    for number, one in enumerate(values):
        reached = steps[steps < len(one)]
        kept[: len(reached), number] = _array(one)[reached]
    return kept


def _array(x: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = x.detach().cpu().double().numpy()
    return array
