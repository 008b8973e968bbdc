"""An inspection as panels: what each shows, in words with numbers, as a picture and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from s7rl.experiments import page
from s7rl.experiments.inspection import figures
from s7rl.experiments.inspection.findings import Findings, Horizons
from s7rl.experiments.inspection.measures import Band, Probe, reach
from s7rl.experiments.inspection.recording import Recording
from s7rl.experiments.page import Section, Value
from s7rl.experiments.pictures import png
from s7rl.experiments.wording import plural

MOST_COLUMNS = 8
"""Columns of the hidden state that are drawn and put into words; the table has all."""
NAMES = ("probe", "gradient", "horizons", "norms", "gates")
"""Of all panels, and of their files."""
Row = Mapping[str, Value]


def panels_of(
    findings: Findings, recording: Recording, *, hidden_text: str, decision: int | None, memory_span: int | None
) -> list[Section]:
    """All panels, each a question with what was found, or why nothing could be.

    Args:
        findings: what was measured.
        recording: on which episodes.
        hidden_text: what the columns of the hidden state are, or nothing.
        decision: the step of the decision that was asked about; None: the last.
        memory_span: steps that the task asks to remember; None: not known.
    """
    return [
        _probe(findings, recording, hidden_text),
        _gradient(findings, decision),
        _horizons(findings, memory_span),
        _norms(findings),
        _gates(findings),
    ]


def _panel(
    *, name: str, title: str, method: str, sentences: Iterable[str], figure: Figure | None, rows: Iterable[Row]
) -> Section:
    """A question, what was found, how it was measured, and, where something was found, a picture and its numbers."""
    points = tuple(sentences)
    if figure is None:
        return Section(title=title, points=points, text=[method])
    lines = list(rows)
    values = [list(line.values()) for line in lines]
    shown = page.Figure(name=name, says=method, png=png(figure), columns=list(lines[0]), lines=values)
    return Section(title=title, points=points, figures=[shown])


def _probe(findings: Findings, recording: Recording, hidden_text: str) -> Section:
    probes, steps = findings.probes, findings.steps
    shown = probes[:MOST_COLUMNS]
    if recording.hidden is None:
        sentences = [
            "left out: the task has no get_state() that needs no arguments and gives numbers, as many at all times"
        ]
    elif not probes:
        sentences = ["left out: no column of get_state() varies between enough episodes"]
    else:
        sentences = [f"get_state(): {hidden_text}"] if hidden_text else []
        sentences += [_read_in_words(one, steps) for one in shown]
        if len(probes) > len(shown):
            sentences.append(f"{len(probes) - len(shown)} further columns are in the table only")
    return _panel(
        name="probe",
        title="What can be read from the memory?",
        method="A linear probe (ridge regression, at each step anew) from the memory to each column of the task's "
        "hidden state; fitted on every other episode, tested on the rest. The memory is read to a precision of 1 % of "
        "each number's spread. That something can be read does not mean that it is used.",
        sentences=sentences,
        figure=figures.draw_probes(steps, shown) if shown else None,
        rows=tuple(
            {
                "column": one.column,
                "measure": "accuracy" if one.is_choice else "r2",
                "step": step,
                "score": score,
                "chance": chance,
            }
            for one in probes
            for step, score, chance in zip(steps.tolist(), one.score, one.chance, strict=True)
            if np.isfinite(score)
        ),
    )


def _read_in_words(found: Probe, steps: np.ndarray) -> str:
    known = np.flatnonzero(np.isfinite(found.score))
    first, last, worst = known[0], known[-1], known[found.score[known].argmin()]
    form = ".0%" if found.is_choice else ".2f"
    beginning, end, least = (f"{found.score[t]:{form}}" for t in (first, last, worst))
    when = f"at step {steps[first]:,}, {end} at step {steps[last]:,}, {least} at worst (step {steps[worst]:,})"
    if not found.is_choice:
        return f"get_state()[{found.column}] is read with R² = {beginning} {when}"
    constant = f"the best constant answer is right in {found.chance[last]:{form}}"
    return f"get_state()[{found.column}] is read right in {beginning} of episodes {when}; {constant}"


def _gradient(findings: Findings, decision: int | None) -> Section:
    shares = findings.gradient
    which = "last decision of an episode" if decision is None else f"decision at step {decision}"
    if shares is None:
        sentences = ["left out: no episode that was kept has such a decision, or it depends on nothing that was seen"]
    else:
        peak = int(shares.argmax())
        most = f"most on what it saw {plural(peak, 'step')} before ({_percent(shares[peak])} of the gradient)"
        sentences = [
            f"the {which} rests {_percent(shares[0])} on what it sees at that moment, and {most}"
            if peak
            else f"the {which} rests most on what it sees at that moment ({_percent(shares[0])} of the gradient)",
            f"half of the gradient lies within {plural(reach(shares), 'step')}, 90% within {reach(shares, 0.9):,}",
        ]
    return _panel(
        name="gradient",
        title="How far back does a decision look?",
        method=f"The length of the gradient of log π(a) of the {which}, with respect to what the memory was given at "
        "each step up to it, as a share of the sum over all steps; mean over episodes.",
        sentences=sentences,
        figure=None if shares is None else figures.draw_gradient(shares),
        rows=() if shares is None else tuple({"lag": lag, "share": share} for lag, share in enumerate(shares.tolist())),
    )


def _horizons(findings: Findings, memory_span: int | None) -> Section:
    horizons = findings.horizons
    return _panel(
        name="horizons",
        title="How long does it last?",
        method="The time constant τ of each number of the memory, in steps: S7's w² + c, for other cores 1/(1 - a) "
        "where a share a is kept in a step; at rest, while the input is 0, and in play, as the geometric mean over "
        "episodes.",
        sentences=tuple(_horizons_in_words(name, found) for name, found in horizons.items())
        or ("left out: nothing in this memory decays",),
        figure=figures.draw_horizons(findings.steps, horizons, memory_span) if horizons else None,
        rows=tuple(_horizon_rows(findings.steps.tolist(), horizons)),
    )


def _horizons_in_words(name: str, found: Horizons) -> str:
    rest, play = found.at_rest, found.over_time
    text = f"{name}: {len(rest):,} time constants, at rest from {_steps(rest.min())} to {_steps(rest.max())} steps, "
    text += f"half of them above {_steps(float(np.median(rest)))}"
    if play is None:
        return text + "; the same at every step"
    factor = np.nanmax(play, axis=0) / np.nanmin(play, axis=0)
    text += f"; in play from {_steps(float(np.nanmin(play)))} to {_steps(float(np.nanmax(play)))}, "
    return text + f"where the median one's longest is {_steps(float(np.median(factor)))} times its shortest"


def _horizon_rows(steps: Sequence[int], horizons: Mapping[str, Horizons]) -> Iterator[Row]:
    for name, found in horizons.items():
        for number, rest in enumerate(found.at_rest.tolist()):
            yield {"layer": name, "number": number, "step": "at rest", "steps": rest}
            if found.over_time is not None:
                for step, value in zip(steps, found.over_time[:, number].tolist(), strict=True):
                    yield {"layer": name, "number": number, "step": step, "steps": value}


def _norms(findings: Findings) -> Section:
    return _panel(
        name="norms",
        title="How full is the memory?",
        method="The Euclidean length of each layer's state; mean over episodes, shaded from the 10th to the 90th "
        "percentile.",
        sentences=tuple(_norm_in_words(name, found, findings.steps) for name, found in findings.norms.items())
        or ("left out: this agent has no memory",),
        figure=figures.draw_norms(findings.steps, findings.norms) if findings.norms else None,
        rows=tuple(_band_rows(findings.steps.tolist(), {name: {"": found} for name, found in findings.norms.items()})),
    )


def _norm_in_words(name: str, found: Band, steps: np.ndarray) -> str:
    peak = int(found.mean.argmax())
    ends = f"{found.mean[0]:.3g} at first, {found.mean[-1]:.3g} at step {steps[-1]:,}"
    return f"{name}: {ends}, at most {found.mean[peak]:.3g} (step {steps[peak]:,})"


def _gates(findings: Findings) -> Section:
    gates = findings.gates
    return _panel(
        name="gates",
        title="When do its gates open?",
        method="Mean over units and episodes, shaded from the 10th to the 90th percentile. S7's input and output gates "
        "are modulations: 1 leaves things as they are.",
        sentences=tuple(
            f"{layer}: {name} {_span_in_words(found.mean, findings.steps)}"
            for layer, ones in gates.items()
            for name, found in ones.items()
        )
        or ("left out: this memory has no gates",),
        figure=figures.draw_gates(findings.steps, gates) if gates else None,
        rows=tuple(_band_rows(findings.steps.tolist(), gates)),
    )


def _span_in_words(mean: np.ndarray, steps: np.ndarray) -> str:
    least, most = mean.argmin(), mean.argmax()
    if f"{mean[least]:.2f}" == f"{mean[most]:.2f}":
        return f"{mean[least]:.2f} at every step"
    return f"from {mean[least]:.2f} (step {steps[least]:,}) to {mean[most]:.2f} (step {steps[most]:,})"


def _band_rows(steps: Sequence[int], bands: Mapping[str, Mapping[str, Band]]) -> Iterator[Row]:
    for layer, ones in bands.items():
        for name, found in ones.items():
            which = {"layer": layer} | ({"gate": name} if name else {})
            for step, mean, low, high in zip(steps, found.mean, found.low, found.high, strict=True):
                yield which | {"step": step, "mean": mean, "low": low, "high": high}


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _steps(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
