"""What tasks of recall have in common: symbols are shown, then, after a delay, each question has one right answer.

With n questions a right answer pays 1/n and a wrong one -1/n, as in POPGym (Morad et al. 2023).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.envs.batched import BoolArray, Engine, IntArray, StepResult
from s7rl.envs.suites.suite import Facts

SUCCESS_RETURN = 0.9
"""An episode counts as solved from this return on, that is, with at least 95 % of the answers right."""


class RecallEngine(Engine):
    """Subclasses draw the symbols and the answers; the state of a row is these and the number of steps taken.

    A row shows ``num_shown`` symbols, one more throughout the delay, one at each question, and one when all is over.
    """

    def __init__(
        self, num_envs: int, num_symbols: int, num_choices: int, *, num_shown: int, delay: int, num_questions: int
    ) -> None:
        """Build ``num_envs`` rows that show the last of the symbols throughout.

        Args:
            num_envs: how many rows there are.
            num_symbols: symbols there are.
            num_choices: answers there are.
            num_shown: steps before the delay.
            delay: steps between them and the first question.
            num_questions: steps at which an answer is due.
        """
        super().__init__(num_envs)
        self.num_shown = num_shown
        self.num_questions = num_questions
        self.num_choices = num_choices
        self.first_question = num_shown + delay
        self.num_steps = self.first_question + num_questions
        self.observation_space = spaces.Discrete(num_symbols)
        self.action_space = spaces.Discrete(num_choices)
        self._rows = np.arange(num_envs)
        self._symbols: IntArray = np.full((num_envs, num_shown + num_questions + 2), num_symbols - 1)
        self._answers = np.zeros((num_envs, num_questions), dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._right = np.zeros(num_envs, dtype=np.int64)
        self._no_row = np.zeros(num_envs, dtype=np.bool_)

    def begin_episodes(self, rows: IntArray) -> None:
        """Go back to the first symbol."""
        self._steps[rows] = self._right[rows] = 0

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Score the answers that are due, then show the next symbol."""
        asked = self._steps - self.first_question
        due = asked >= 0
        right = (self._answers[self._rows, np.maximum(asked, 0)] == actions) & due
        self._right += right
        rewards = (2.0 * right - due) / self.num_questions
        self._steps += 1
        return rewards, self._steps == self.num_steps, self._no_row.copy()

    def observations(self) -> IntArray:
        """Return the symbol that is shown."""
        column = np.minimum(self._steps, self.num_shown) + np.maximum(self._steps - self.first_question + 1, 0)
        symbols: IntArray = self._symbols[self._rows, column]
        return symbols

    def successes(self) -> BoolArray:
        """Return whether the return of the episode reached ``SUCCESS_RETURN``."""
        return 2 * self._right - self.num_questions >= SUCCESS_RETURN * self.num_questions

    def states(self) -> IntArray:
        """Return the answer that is due now (0 while none is), the number of steps taken and the symbol shown."""
        asked = (self._steps - self.first_question).clip(0, self.num_questions - 1)
        due = self._answers[self._rows, asked] * (self._steps >= self.first_question)
        return np.stack([due, self._steps, self.observations()], axis=1)

    def facts(self, summary: str, memory_span: int) -> Facts:
        """Return what is known where nothing that is seen at a question tells of its answer, which is uniform."""
        chance = 2 / self.num_choices - 1
        return Facts(
            summary=summary,
            episode_length=self.num_steps,
            memory_span=memory_span,
            optimal_return=1.0,
            memoryless_return=chance,
            random_return=chance,
            steps=2_000_000,
        )
