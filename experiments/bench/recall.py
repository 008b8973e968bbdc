"""`s7rl bench recall`: training on tasks of pure memory, and the accuracy on sequences never seen.

Everything but the core is the same for all: the data (by seed), the embedding, the head, the optimiser and its
schedule. One learning rate serves all; a core that would like another one is at a disadvantage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.random import Generator
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from s7rl import Core, split_dynamics
from s7rl.experiments.bench.chart import Line, Panel, draw
from s7rl.experiments.bench.config import RecallBench
from s7rl.experiments.bench.measuring import FAILED, Spread, failure
from s7rl.experiments.bench.models import chosen_cores, make_module, parameter_count
from s7rl.experiments.bench.output import BenchFolder, Cell
from s7rl.experiments.bench.progress import BenchProgress
from s7rl.experiments.bench.tasks import NOT_ASKED, SEQUENCE_TASKS, SequenceTask
from s7rl.experiments.errors import UsageError
from s7rl.experiments.suggestions import chosen
from s7rl.experiments.wording import plural, say

SOLVED = 0.999
"""Validation accuracy from which on a task counts as solved, where it lasts for ``SOLVED_TIMES`` validations."""
SOLVED_TIMES = 2
VALIDATIONS, VALIDATED_EVERY = 40, 25
"""Validations over a whole training, and the least updates between two."""
VALIDATION_SEQUENCES, TEST_SEQUENCES = 128, 512
WARM_UP = 0.1
"""Share of the updates over which the step size rises."""
WEIGHT_DECAY = 0.01
MAX_GRADIENT = 1.0
Ending: TypeAlias = Literal["solved", "all updates made", "over budget"]
TRAINING, VALIDATION, TEST = 0, 1, 2
"""Second number of the seed of each kind of data."""
COLUMNS = (
    "task",
    "length",
    "core",
    "seed",
    "accuracy",
    "chance",
    "updates",
    "seconds",
    "ended",
    "parameters",
    "d_model",
    "n_blocks",
    "batch_size",
    "learning_rate",
    "left_out",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one training."""

    accuracy: float
    """On test sequences, over the positions that ask."""
    updates: int
    """How many were made."""
    seconds: float
    """How long they took, with the validations."""
    ended: Ending
    """Why there were no more."""


class SequenceModel(nn.Module):
    """Embedding, core, and a linear layer that names a class."""

    def __init__(self, core: Core, task: SequenceTask) -> None:
        super().__init__()
        self.embedding = nn.Embedding(task.vocabulary, core.d_model)
        self.core = core
        self.head = nn.Linear(core.d_model, task.classes)

    def forward(self, tokens: Int[Tensor, "T B"], asked: Bool[Tensor, "T B"]) -> Float[Tensor, "asked classes"]:
        """Logits at the positions that ask, in the order of time."""
        reset = torch.zeros_like(asked)
        reset[0] = True
        y, _ = self.core.scan(self.embedding(tokens), self.core.initial_state(tokens.shape[1]), reset)
        logits: Tensor = self.head(y[asked])
        return logits


def bench_recall(request: RecallBench, command: Sequence[str], console: Console) -> Path:
    """Trains, and leaves a folder.

    Args:
        request: the request.
        command: the words it was made of.
        console: where everything is shown.

    Returns:
        The folder.

    Raises:
        UsageError: a task or a core is not known, a length is too short, or the folder cannot be made.
    """
    tasks = chosen_tasks(request)
    names = chosen_cores(request.cores)
    lengths = sorted(set(request.lengths))
    folder = BenchFolder("recall", COLUMNS, command, request.common)
    outcomes: dict[tuple[str, int, str], list[Outcome]] = {}
    reasons: dict[tuple[str, int, str], str] = {}
    cells = [
        (task, length, name, seed)
        for seed in range(request.seeds)  # All once, then all again: a run that is stopped has compared all.
        for task in tasks
        for length in lengths
        for name in names
    ]
    try:
        with BenchProgress(console, len(cells)) as progress:
            for task, length, name, seed in cells:
                what = f"{task}, T = {length:,}: {name}, seed {seed}"
                row, outcome = _trained(request, task, length, name, seed, _teller(progress, what))
                folder.add(row)
                if outcome is None:
                    reasons[task, length, name] = str(row["left_out"])
                else:
                    outcomes.setdefault((task, length, name), []).append(outcome)
                progress.advance()
    finally:
        if outcomes:
            _draw(folder, request, tasks, names, lengths, outcomes)
    for task in tasks:
        console.print(_table(task, names, lengths, outcomes))
    for (task, length, name), reason in reasons.items():
        say(console, f"{name}, {task}, T = {length:,}: {reason}")
    return folder.path


def chosen_tasks(request: RecallBench) -> tuple[str, ...]:
    """The tasks of an option ``--tasks``, all where it is empty.

    Raises:
        UsageError: there is no such task, it is named twice, or a length has no room for it.
    """
    tasks = chosen("task", request.tasks, SEQUENCE_TASKS, "--tasks")
    for name in tasks:
        shortest = SEQUENCE_TASKS[name].shortest
        if min(request.lengths) < shortest:
            raise UsageError(
                f"--lengths {min(request.lengths)} has no room for the task '{name}': give {shortest} or more"
            )
    return tasks


def train_and_test(
    model: SequenceModel, task: SequenceTask, length: int, seed: int, request: RecallBench, say: Callable[[str], None]
) -> Outcome:
    """Trains a model on fresh sequences until it has solved the task, and tests it on others.

    Args:
        model: what is trained.
        task: gives the sequences.
        length: their length.
        seed: of the sequences; those of training, validation and test never mix.
        request: updates, batch size, learning rate, budget, device.
        say: told now and then how far it is.
    """
    rng = np.random.default_rng((seed, TRAINING))
    optimizer = make_optimizer(model, request.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: learning_rate_factor(update, request.steps))
    every = max(request.steps // VALIDATIONS, VALIDATED_EVERY)
    solved, update = 0, 0
    ended: Ending = "all updates made"
    began = time.perf_counter()
    for update in range(1, request.steps + 1):
        tokens, asked, answers = _batch(task, rng, length, request.batch_size, request.common.device)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens, asked), answers)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT)
        optimizer.step()
        schedule.step()
        if update % every == 0:
            accuracy = measure_accuracy(model, task, length, seed, VALIDATION, request)
            say(f"update {update:,}, accuracy {accuracy:.3f}")
            solved = solved + 1 if accuracy >= SOLVED else 0
            if solved == SOLVED_TIMES:
                ended = "solved"
                break
        if update < request.steps and time.perf_counter() - began > request.budget_seconds:
            ended = "over budget"
            break
    seconds = time.perf_counter() - began
    return Outcome(
        accuracy=measure_accuracy(model, task, length, seed, TEST, request),
        updates=update,
        seconds=seconds,
        ended=ended,
    )


def make_optimizer(model: SequenceModel, learning_rate: float) -> torch.optim.AdamW:
    """AdamW that leaves the time scales of the core where they are put: 0 is no neutral value for them."""
    decayed, free = split_dynamics(model)
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate)


def learning_rate_factor(update: int, updates: int) -> float:
    """The learning rate as a share of the largest: a linear rise over the first tenth, then half a cosine down to 0.

    Args:
        update: from 0 on.
        updates: how many there are.
    """
    rise = max(1, round(WARM_UP * updates))
    if update < rise:
        return (update + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (update - rise) / max(1, updates - rise)))


def measure_accuracy(
    model: SequenceModel, task: SequenceTask, length: int, seed: int, kind: int, request: RecallBench
) -> float:
    """The share of right answers on the validation or test sequences of a seed, the same at every call."""
    rng = np.random.default_rng((seed, kind))
    right = asked_for = 0
    left = VALIDATION_SEQUENCES if kind == VALIDATION else TEST_SEQUENCES
    with torch.no_grad():
        while left > 0:
            tokens, asked, answers = _batch(task, rng, length, min(left, request.batch_size), request.common.device)
            right += int((model(tokens, asked).argmax(dim=-1) == answers).sum())
            asked_for += len(answers)
            left -= request.batch_size
    return right / asked_for


def _teller(progress: BenchProgress, what: str) -> Callable[[str], None]:
    return lambda how: progress.show(f"{what}, {how}")


def _batch(
    task: SequenceTask, rng: Generator, length: int, batch_size: int, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, which positions ask, and the answers of those in the order of time."""
    batch = task.generate(rng, length, batch_size)
    tokens, targets = (torch.from_numpy(numbers).to(device) for numbers in (batch.tokens, batch.targets))
    asked = targets != NOT_ASKED
    return tokens, asked, targets[asked]


def _trained(
    request: RecallBench, task: str, length: int, name: str, seed: int, say: Callable[[str], None]
) -> tuple[dict[str, Cell], Outcome | None]:
    """One line of the table, and the outcome unless it failed."""
    say("starts")
    torch.manual_seed(seed)
    core = make_module(name, request.d_model, length, request.n_blocks)
    assert isinstance(core, Core)
    model = SequenceModel(core, SEQUENCE_TASKS[task]).to(request.common.device)
    row: dict[str, Cell] = {
        "task": task,
        "length": length,
        "core": name,
        "seed": seed,
        "chance": SEQUENCE_TASKS[task].chance,
        "parameters": parameter_count(model),
        "d_model": request.d_model,
        "n_blocks": request.n_blocks,
        "batch_size": request.batch_size,
        "learning_rate": request.learning_rate,
    }
    try:
        outcome = train_and_test(model, SEQUENCE_TASKS[task], length, seed, request, say)
    except (RuntimeError, MemoryError) as error:
        return row | {"left_out": failure(error)}, None
    row |= {
        "accuracy": round(outcome.accuracy, 5),
        "updates": outcome.updates,
        "seconds": round(outcome.seconds, 2),
        "ended": outcome.ended,
    }
    return row, outcome


def _accuracies(outcomes: Sequence[Outcome]) -> Spread:
    return Spread.of(np.array([outcome.accuracy for outcome in outcomes]))


def _table(
    task: str,
    names: Sequence[str],
    lengths: Sequence[int],
    outcomes: Mapping[tuple[str, int, str], list[Outcome]],
) -> Table:
    it = SEQUENCE_TASKS[task]
    table = Table(
        title=f"{task}: {it.summary}\naccuracy, median of the seeds (least to most); chance is {it.chance:.3f}",
        title_justify="left",
    )
    table.add_column("core")
    for length in lengths:
        table.add_column(f"T = {length:,}", justify="right")
    for name in names:
        table.add_row(name, *(_cell(outcomes.get((task, length, name), [])) for length in lengths))
    return table


def _cell(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return FAILED
    accuracies = _accuracies(outcomes)
    shown = f"{accuracies.median:.3f}"
    if len(outcomes) > 1:
        shown += f" ({accuracies.minimum:.3f} to {accuracies.maximum:.3f})"
    updates = float(np.median([outcome.updates for outcome in outcomes]))
    cut = sum(outcome.ended == "over budget" for outcome in outcomes)
    marked = f", {cut} of {len(outcomes)} over budget" if cut else ""
    return f"{shown}\n{updates:,.0f} updates{marked}"


def _draw(
    folder: BenchFolder,
    request: RecallBench,
    tasks: Sequence[str],
    names: Sequence[str],
    lengths: Sequence[int],
    outcomes: Mapping[tuple[str, int, str], list[Outcome]],
) -> None:
    panels = []
    for task in tasks:
        lines = []
        for position, name in enumerate(names):
            known = [
                (length, _accuracies(outcomes[task, length, name]))
                for length in lengths
                if (task, length, name) in outcomes
            ]
            points = tuple((float(length), its.median, its.minimum, its.maximum) for length, its in known)
            lines.append(Line(name=name, points=points, position=position))
        panels.append(
            Panel(
                title=f"{task}: {SEQUENCE_TASKS[task].summary}",
                xlabel="steps T of the sequences",
                ylabel="accuracy on unseen sequences",
                lines=lines,
                share=True,
                floor=("chance", SEQUENCE_TASKS[task].chance),
            )
        )
    title = (
        f"recall: {request.n_blocks} blocks of width {request.d_model}, at most {request.steps:,} updates of "
        f"{request.batch_size} sequences, median and range of {plural(request.seeds, 'seed')}"
    )
    draw([panels], folder.picture, title=title)
