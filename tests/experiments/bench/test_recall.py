"""Training on tasks of pure memory: optimiser, schedule, stopping, and the command end to end.

Mutations that were seen to fail these tests: a task that is named twice trained once.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from s7rl import core_names, make_core
from s7rl.experiments.bench import recall as recall_module
from s7rl.experiments.bench.config import RecallBench
from s7rl.experiments.bench.recall import (
    TEST,
    VALIDATION,
    Outcome,
    SequenceModel,
    learning_rate_factor,
    make_optimizer,
    measure_accuracy,
    train_and_test,
)
from s7rl.experiments.bench.tasks import SEQUENCE_TASKS, Batch, SequenceTask
from s7rl.experiments.cli import main
from tests.experiments.bench.results import rows

PARITY = SEQUENCE_TASKS["parity"]
REQUEST = RecallBench(steps=60, batch_size=8, d_model=8, n_blocks=1, learning_rate=0.05)


@pytest.fixture(autouse=True)
def frequent_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall_module, "VALIDATED_EVERY", 2)


def model_for(task: SequenceTask, core: str = "gru") -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(make_core(core, d_model=8), task)


def echo(rng: np.random.Generator, length: int, batch_size: int) -> Batch:
    """Say what is seen: learnt in a few updates."""
    tokens = rng.integers(0, 2, (length, batch_size))
    return Batch(tokens=tokens, targets=tokens)


ECHO = SequenceTask(summary="say what is seen", vocabulary=2, classes=2, shortest=1, generate=echo)


def silent(how: str) -> None:
    """Nobody listens."""


def test_the_learning_rate_rises_and_falls() -> None:
    # 100 updates: ten up, then half a cosine, half way down at the middle of the other ninety.
    assert [learning_rate_factor(update, 100) for update in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert learning_rate_factor(55, 100) == pytest.approx(0.5)
    assert 0.0 < learning_rate_factor(99, 100) < 0.001
    assert learning_rate_factor(0, 1) == 1.0


@pytest.mark.parametrize("name", core_names())
def test_time_scales_are_not_decayed_and_nothing_is_forgotten(name: str) -> None:
    model = model_for(PARITY, name)
    groups = {group["weight_decay"]: group["params"] for group in make_optimizer(model, 1e-3).param_groups}
    free = {id(parameter) for parameter in groups.get(0.0, [])}
    assert free == {id(parameter) for parameter in model.core.dynamics_parameters()}
    everything = [parameter for parameters in groups.values() for parameter in parameters]
    assert {id(parameter) for parameter in everything} == {id(parameter) for parameter in model.parameters()}
    assert all(decay > 0 for decay in groups if decay != 0.0)


def test_s7_has_time_scales_to_leave_alone() -> None:
    assert model_for(PARITY, "s7").core.dynamics_parameters()


def test_training_ends_once_the_task_stays_solved() -> None:
    said: list[str] = []
    outcome = train_and_test(model_for(ECHO), ECHO, 6, 0, REQUEST, said.append)
    assert outcome.ended == "solved"
    assert outcome.accuracy == 1.0
    assert outcome.updates < REQUEST.steps
    # Two validations in a row, two updates apart.
    assert said[-2:] == [
        f"update {outcome.updates - 2:,}, accuracy 1.000",
        f"update {outcome.updates:,}, accuracy 1.000",
    ]
    assert not any("1.000" in line for line in said[:-2][-1:])


def test_one_good_validation_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([1.0, 0.5, 1.0, 0.9985, 1.0, 0.999, 0.25])

    def measure(*arguments: object) -> float:
        return next(accuracies)

    monkeypatch.setattr(recall_module, "measure_accuracy", measure)
    outcome = train_and_test(model_for(ECHO), ECHO, 6, 0, REQUEST, silent)
    # The sixth validation was the second in a row; what the test says is reported.
    assert (outcome.updates, outcome.ended, outcome.accuracy) == (12, "solved", 0.25)


def test_a_training_beyond_its_budget_is_cut_and_says_so() -> None:
    outcome = train_and_test(model_for(PARITY), PARITY, 6, 0, replace(REQUEST, budget_seconds=1e-9), silent)
    assert (outcome.updates, outcome.ended) == (1, "over budget")
    whole = train_and_test(model_for(PARITY), PARITY, 6, 0, replace(REQUEST, steps=3), silent)
    assert (whole.updates, whole.ended) == (3, "all updates made")


def test_training_validation_and_test_see_different_sequences() -> None:
    seen: list[list[int]] = []

    def watched(rng: np.random.Generator, length: int, batch_size: int) -> Batch:
        batch = echo(rng, length, batch_size)
        seen.extend(batch.tokens.T.tolist())
        return batch

    task = replace(ECHO, generate=watched)
    train_and_test(model_for(task), task, 64, 0, replace(REQUEST, steps=1), silent)
    assert len(seen) == 8 + 512
    model = model_for(task)
    measure_accuracy(model, task, 64, 0, VALIDATION, REQUEST)
    measure_accuracy(model, task, 64, 1, TEST, REQUEST)
    assert len(seen) == 8 + 512 + 128 + 512
    assert len(set(map(tuple, seen))) == len(seen)
    measure_accuracy(model, task, 64, 1, TEST, REQUEST)
    assert seen[-512:] == seen[-1024:-512]


def test_only_positions_that_ask_are_counted() -> None:
    class Knowing(SequenceModel):
        """Says 0 always."""

        def forward(self, tokens: Tensor, asked: Tensor) -> Float[Tensor, "asked classes"]:
            return torch.tensor([1.0, 0.0]).expand(int(asked.sum()), 2)

    def one_in_four(rng: np.random.Generator, length: int, batch_size: int) -> Batch:
        # Asked: the first two steps, 0 and 0 in the first column, 1 and 0 in every other.
        targets = np.full((length, batch_size), -1)
        targets[0], targets[1] = 1, 0
        targets[0, 0] = 0
        return Batch(tokens=np.zeros((length, batch_size), dtype=np.int64), targets=targets)

    task = replace(ECHO, generate=one_in_four)
    model = Knowing(make_core("none", d_model=8), task)
    # In every batch of 8: 9 of 16 answers are 0.
    assert measure_accuracy(model, task, 5, 0, VALIDATION, REQUEST) == 9 / 16


def test_an_answer_depends_on_nothing_later() -> None:
    model = model_for(PARITY)
    tokens, asked = torch.zeros(5, 2, dtype=torch.int64), torch.ones(5, 2, dtype=torch.bool)
    changed = tokens.clone()
    changed[3:] = 1
    first, second = model(tokens, asked), model(changed, asked)
    torch.testing.assert_close(first[:6], second[:6])
    assert not torch.allclose(first[6:], second[6:])


TINY = "bench recall --lengths 24 --seeds 2 --steps 2 --batch-size 2 --d-model 8 --n-blocks 1 --cores gru --out x"


def test_recall_leaves_a_line_for_every_training(
    empty_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_module, "TEST_SEQUENCES", 4)
    monkeypatch.setattr(recall_module, "VALIDATION_SEQUENCES", 4)
    assert main(TINY.split()) == 0
    folder = empty_directory / "x"
    assert sorted(path.name for path in folder.iterdir()) == ["machine.json", "recall.png", "results.csv"]
    table = rows(folder)
    found = [(row["task"], row["length"], row["core"], row["seed"]) for row in table]
    wanted = [(task, "24", core, seed) for task in SEQUENCE_TASKS for core in ("s7", "gru") for seed in "01"]
    assert sorted(found) == sorted(wanted)
    assert [row["seed"] for row in table] == ["0"] * 6 + ["1"] * 6
    for row in table:
        assert (row["updates"], row["ended"], row["d_model"], row["left_out"]) == ("2", "all updates made", "8", "")
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["chance"]) == SEQUENCE_TASKS[row["task"]].chance
    assert "2 updates" in capsys.readouterr().out


def test_a_training_that_fails_is_marked_and_the_others_go_on(
    empty_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Outcome] = recall_module.train_and_test

    def train(model: SequenceModel, *arguments: object) -> Outcome:
        if "GRU" in repr(model):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nand so on")
        return real(model, *arguments)

    monkeypatch.setattr(recall_module, "train_and_test", train)
    assert main([*TINY.split(), "--tasks", "parity", "--seeds", "1"]) == 0
    marks = {row["core"]: row["left_out"] for row in rows(empty_directory / "x")}
    assert marks == {"s7": "", "gru": "failed: DefaultCPUAllocator: can't allocate memory"}
    assert "gru, parity, T = 24: failed: DefaultCPUAllocator" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--tasks copy", "s7rl bench recall: there is no task 'copy'; did you mean copying?"),
        ("--cores gruu", "s7rl bench recall: there is no core 'gruu'; did you mean gru?"),
        ("--lengths 20 64", "s7rl bench recall: --lengths 20 has no room for the task 'recall': give 24 or more"),
        (
            "--tasks copying parity copying --lengths 24 --cores gru --steps 1",
            "s7rl bench recall: --tasks names 'copying' twice: give it once",
        ),
        ("--seeds 0", "s7rl bench recall: --seeds 0 must be positive"),
        ("--stepz 3", "s7rl bench recall: there is no option --stepz; did you mean --steps?"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: str, line: str, empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "recall", *words.split()]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert output.err.startswith(line)
    assert not list(empty_directory.iterdir())
