"""RepeatFirst: name the suit of the first card, at every step, while other cards go by.

Rules, rewards and, for equal seeds, the very cards are those of ``popgym.envs.repeat_first`` (POPGym 1.0.7, Morad et
al. 2023); the number of decks is free where POPGym registers three fixed difficulties.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s7rl.envs.batched import EngineEnv, EngineVectorEnv, IntArray, StepResult
from s7rl.envs.engines.cards import CardEngine
from s7rl.envs.suites.suite import Facts


class RepeatFirstEngine(CardEngine):
    """The rules of RepeatFirst; the state of a row is its deck and the number of cards shown."""

    def __init__(self, num_envs: int, num_decks: int = 8) -> None:
        """Build ``num_envs`` games with decks of ``52 * num_decks`` cards."""
        super().__init__(num_envs, num_decks)
        self.num_answers = self.num_cards - 1

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Score the answers, then show the next card."""
        right = self._suits[:, 0] == actions
        self._right += right
        rewards = (2.0 * right - 1.0) / self.num_answers
        self._shown += 1
        return rewards, self._shown == self.num_cards, self._no_row.copy()

    def states(self) -> IntArray:
        """Return the answer (the first card's suit), the number of cards shown and the last card's suit."""
        return np.stack([self._suits[:, 0], self._shown, self.observations()], axis=1)


class RepeatFirst(EngineEnv):
    """RepeatFirst, as in POPGym.

    ## Description

    Cards are shown one by one.  At each step the agent names the suit of the card that the episode began with.  It
    needs a memory that is written once and read at every step, and that no later card of the same four suits
    overwrites.

    ## Action Space

    `Discrete(4)`: the suit.

    ## Observation Space

    `Discrete(4)`: the suit of the present card.  Nothing marks the first card but that it is the first.

    ## Rewards

    With N = 52 num_decks cards: 1/(N - 1) for a right answer and -1/(N - 1) for a wrong one, at every step.

    The optimum is 1, and random answers get -0.5.  The best agent without memory names the suit that it sees.  That
    is right at the first of the N - 1 steps; at each of the others the first card has the same suit as the present
    one with probability (N/4 - 1) / (N - 1), since one card of that suit lies on the table.  Naming any other suit is
    wrong at the first step and right with probability (N/4) / (N - 1) at each of the others.  Over an episode the
    seen suit is ahead by 1 - (N - 2) / (N - 1) = 1 / (N - 1) right answers, whichever suit it is, and since no answer
    changes what is shown, mixing answers gains nothing.  The best score is therefore
    2 / (N - 1) * (1 + (N - 2) (N/4 - 1) / (N - 1)) - 1: -0.4994 with one deck.

    ## Starting State

    A shuffled deck, its first card shown.

    ## Episode End

    1. Termination: after exactly N - 1 steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step: the return reached 0.9, that is, at least 95 % of the answers were right.

    ## Arguments

    * ``num_decks`` (int, default 8): decks of 52 cards that are shuffled together; it sets the length.

    POPGym's Easy is 1, Medium, the default, 8, Hard 16.

    ## Version History

    * v0: initial version; equal to POPGym 1.0.7, seed by seed.

    ## References

    * Morad et al. (2023), "POPGym: Benchmarking Partially Observable Reinforcement Learning", ICLR.
    """

    engine = RepeatFirstEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the exact scores and lengths for these arguments; derived in the class's docstring."""
        num_cards = cls.engine(1, **kwargs).num_cards
        right = 1 + (num_cards - 2) * (num_cards / 4 - 1) / (num_cards - 1)
        return Facts(
            summary=f"name the suit of the first card at each of {num_cards - 1} steps",
            episode_length=num_cards - 1,
            memory_span=num_cards - 2,
            optimal_return=1.0,
            memoryless_return=2 * right / (num_cards - 1) - 1,
            random_return=-0.5,
            steps=2_000_000,
        )


class RepeatFirstVector(EngineVectorEnv):
    """Many games of RepeatFirst; rules and arguments are in ``RepeatFirst``."""

    engine = RepeatFirstEngine
