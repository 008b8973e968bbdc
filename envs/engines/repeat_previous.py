"""RepeatPrevious: name the suit of the card that was shown k - 1 steps ago, at every step.

Rules, rewards and, for equal seeds, the very cards are those of ``popgym.envs.repeat_previous`` (POPGym 1.0.7,
Morad et al. 2023); arguments are free where POPGym registers three fixed difficulties.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s7rl.envs.batched import EngineEnv, EngineVectorEnv, IntArray, StepResult, check_count
from s7rl.envs.engines.cards import CardEngine
from s7rl.envs.suites.suite import Facts


class RepeatPreviousEngine(CardEngine):
    """The rules of RepeatPrevious; the state of a row is its deck and the number of cards shown."""

    def __init__(self, num_envs: int, num_decks: int = 2, k: int = 32) -> None:
        """Build ``num_envs`` games with decks of ``52 * num_decks`` cards."""
        super().__init__(num_envs, num_decks)
        self.k = check_count("k", k)
        if self.k >= self.num_cards:
            raise ValueError(
                f"k ({k}) must be smaller than the {self.num_cards} cards of num_decks={num_decks}; "
                f"pass k <= {self.num_cards - 1} or more decks."
            )
        self.num_answers = self.num_cards - self.k

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Score the answers, then show the next card."""
        asked = self._shown - self.k
        right = self._suits[self._rows, np.maximum(asked, 0)] == actions
        scored = asked >= 0
        self._right += right & scored
        rewards = np.where(right, 1.0, -1.0) * scored / self.num_answers
        self._shown += 1
        return rewards, self._shown == self.num_cards, self._no_row.copy()

    def states(self) -> IntArray:
        """Return the answer that is due now (0 while none is), the number of cards shown and the last card's suit."""
        due = self._suits[self._rows, np.maximum(self._shown - self.k, 0)] * (self._shown >= self.k)
        return np.stack([due, self._shown, self.observations()], axis=1)


class RepeatPrevious(EngineEnv):
    """RepeatPrevious, as in POPGym.

    ## Description

    Cards are shown one by one.  At each step the agent names the suit of the card that was shown ``k - 1`` steps
    before the one it sees now: k = 1 asks for the present card, k = 2 for the one before.  It needs a memory that
    holds the last k cards in order, and overwrites one of them at each step.

    ## Action Space

    `Discrete(4)`: the suit.

    ## Observation Space

    `Discrete(4)`: the suit of the present card.

    ## Rewards

    With N = 52 num_decks cards, from the moment k cards have been shown: 1/(N - k) for a right answer and
    -1/(N - k) for a wrong one.  Before that: 0.

    The optimum is 1.  The best agent without memory, k >= 2, names any suit but the present one: whatever place of
    the shuffled deck is asked for, it holds a given other suit with probability (N/4) / (N - 1), so the agent gets
    N / (2 (N - 1)) - 1, a little above the -0.5 of random answers.

    ## Starting State

    A shuffled deck, its first card shown.

    ## Episode End

    1. Termination: after exactly N - 1 steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step: the return reached 0.9, that is, at least 95 % of the answers were right.

    ## Arguments

    * ``num_decks`` (int, default 2): decks of 52 cards that are shuffled together; it sets the length.
    * ``k`` (int, default 32): which card is asked for, 1 being the present one.

    POPGym's Easy is (1, 4), Medium, the default, (2, 32), Hard (3, 64).

    ## Version History

    * v0: initial version; equal to POPGym 1.0.7, seed by seed.

    ## References

    * Morad et al. (2023), "POPGym: Benchmarking Partially Observable Reinforcement Learning", ICLR.
    """

    engine = RepeatPreviousEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return lengths and exact scores for these arguments; the class's docstring derives them."""
        engine = cls.engine(1, **kwargs)
        num_cards, k = engine.num_cards, engine.k
        return Facts(
            summary=f"name the suit of the card shown {k - 1} steps ago, at every step",
            episode_length=num_cards - 1,
            memory_span=k - 1,
            optimal_return=1.0,
            memoryless_return=1.0 if k == 1 else num_cards / (2 * (num_cards - 1)) - 1,
            random_return=-0.5,
            steps=2_000_000,
        )


class RepeatPreviousVector(EngineVectorEnv):
    """Many games of RepeatPrevious; rules and arguments are in ``RepeatPrevious``."""

    engine = RepeatPreviousEngine
