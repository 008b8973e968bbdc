"""The sequence tasks: what is asked follows from what was shown, by solvers that know nothing of the generators."""

from collections.abc import Callable

import numpy as np
import pytest

from s7rl.experiments.bench.tasks import (
    FIRST_KEY,
    GO,
    KEYS,
    NOISE,
    NOT_ASKED,
    REMEMBERED,
    SEQUENCE_TASKS,
    VALUES,
    Batch,
)

LENGTHS = (24, 25, 64, 257)


def solve_copying(tokens: list[int]) -> list[int]:
    """A list, and who asks gets the next entry."""
    seen = [token for token in tokens if 1 <= token <= VALUES]
    answers = iter(seen)
    return [next(answers) - 1 if token == GO else NOT_ASKED for token in tokens]


def solve_recall(tokens: list[int]) -> list[int]:
    """A dictionary: a key that is followed by a value is stored, one that is not asks."""
    found: dict[int, int] = {}
    answers = []
    for token, following in zip(tokens, [*tokens[1:], NOISE], strict=True):
        is_key = FIRST_KEY <= token < FIRST_KEY + KEYS
        is_value = 1 <= following <= VALUES
        if is_key and is_value:
            assert token not in found, "a key is shown twice"
            found[token] = following - 1
        answers.append(found[token] if is_key and not is_value else NOT_ASKED)
    return answers


def solve_parity(tokens: list[int]) -> list[int]:
    """A light that every one switches."""
    on, answers = False, []
    for token in tokens:
        on = on != bool(token)
        answers.append(int(on))
    return answers


SOLVERS: dict[str, Callable[[list[int]], list[int]]] = {
    "copying": solve_copying,
    "recall": solve_recall,
    "parity": solve_parity,
}


def generated(name: str, length: int, seed: int = 0, batch_size: int = 16) -> Batch:
    return SEQUENCE_TASKS[name].generate(np.random.default_rng(seed), length, batch_size)


def test_every_task_has_a_solver() -> None:
    assert set(SOLVERS) == set(SEQUENCE_TASKS)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", SOLVERS)
def test_the_answers_follow_from_what_was_shown(name: str, length: int) -> None:
    batch = generated(name, length)
    assert batch.tokens.shape == batch.targets.shape == (length, 16)
    for tokens, targets in zip(batch.tokens.T, batch.targets.T, strict=True):
        assert SOLVERS[name](tokens.tolist()) == targets.tolist()


@pytest.mark.parametrize("name", SOLVERS)
def test_tokens_and_answers_stay_within_their_numbers_and_all_of_them_occur(name: str) -> None:
    task, batch = SEQUENCE_TASKS[name], generated(name, 64, batch_size=500)
    assert set(np.unique(batch.tokens)) == set(range(task.vocabulary))
    assert set(np.unique(batch.targets)) - {NOT_ASKED} == set(range(task.classes))
    # No answer is likelier than another: within five standard deviations of chance.
    asked = batch.targets[batch.targets != NOT_ASKED]
    shares = np.bincount(asked) / len(asked)
    assert np.abs(shares - task.chance).max() < 5 * np.sqrt(task.chance * (1 - task.chance) / len(asked))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_batch_follows_from_its_seed(name: str) -> None:
    first, again, other = generated(name, 32), generated(name, 32), generated(name, 32, seed=1)
    np.testing.assert_array_equal(first.tokens, again.tokens)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert (first.tokens != other.tokens).any()


@pytest.mark.parametrize("name", SOLVERS)
def test_the_shortest_length_has_room_and_a_shorter_one_has_not(name: str) -> None:
    shortest = SEQUENCE_TASKS[name].shortest
    batch = generated(name, shortest)
    for tokens, targets in zip(batch.tokens.T, batch.targets.T, strict=True):
        assert SOLVERS[name](tokens.tolist()) == targets.tolist()
    if shortest > 1:
        with pytest.raises(ValueError, match=r"shape|dimensions|broadcast"):
            generated(name, shortest - 1)


@pytest.mark.parametrize(("name", "shown"), [("copying", REMEMBERED), ("recall", 2 * REMEMBERED)])
def test_what_is_to_be_remembered_lies_anywhere_among_the_noise(name: str, shown: int) -> None:
    batch = generated(name, 40, batch_size=500)
    prompt = batch.tokens[: 40 - REMEMBERED]
    assert ((prompt != NOISE).sum(axis=0) == shown).all()
    assert ((batch.targets != NOT_ASKED).sum(axis=0) == REMEMBERED).all()
    # Every place of the prompt, the first and the last too.
    assert (prompt != NOISE).any(axis=1).all()


def test_keys_are_asked_for_in_another_order_than_they_were_shown() -> None:
    batch = generated("recall", 40, batch_size=500)
    prompt, asked = batch.tokens[: 40 - REMEMBERED].T, batch.tokens[40 - REMEMBERED :].T
    shown = np.array([tokens[tokens >= FIRST_KEY] for tokens in prompt])
    np.testing.assert_array_equal(np.sort(shown), np.sort(asked))
    # At random, one of eight stands where it stood.
    assert 0.09 < (shown == asked).mean() < 0.16
