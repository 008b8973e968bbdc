"""What games of naming suits have in common: a shuffled deck, shown card by card, and answers that are counted.

For equal seeds the cards are those of POPGym 1.0.7 (Morad et al. 2023).
"""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from s7rl.envs.batched import BoolArray, Engine, IntArray, check_count
from s7rl.envs.engines.recall import SUCCESS_RETURN

NUM_SUITS = 4
DECK_SIZE = 52


class CardEngine(Engine):
    """Decks of ``52 * num_decks`` cards; the subclasses say which answer is right."""

    num_answers: int
    """Answers that are scored in an episode."""

    def __init__(self, num_envs: int, num_decks: int) -> None:
        """Build ``num_envs`` games."""
        super().__init__(num_envs)
        self.num_cards = DECK_SIZE * check_count("num_decks", num_decks)
        self.observation_space = spaces.Discrete(NUM_SUITS)
        self.action_space = spaces.Discrete(NUM_SUITS)
        self._rows = np.arange(num_envs)
        self._suits = np.zeros((num_envs, self.num_cards), dtype=np.int64)  # in the order in which they are shown
        self._shown = np.ones(num_envs, dtype=np.int64)
        self._right = np.zeros(num_envs, dtype=np.int64)
        self._no_row = np.zeros(num_envs, dtype=np.bool_)

    def begin_episodes(self, rows: IntArray) -> None:
        """Shuffle the decks and show their first cards."""
        for row in rows.tolist():
            # POPGym shuffles the indices of the cards in place, deals from the end, and card i has suit i mod 4.
            cards = np.arange(self.num_cards)
            self.generator(row).shuffle(cards)
            self._suits[row] = cards[::-1] % NUM_SUITS
        self._shown[rows] = 1
        self._right[rows] = 0

    def observations(self) -> IntArray:
        """Return the suit of the card shown last."""
        return self._suits[self._rows, self._shown - 1]

    def successes(self) -> BoolArray:
        """Return whether the return of the episode reached ``SUCCESS_RETURN``."""
        return 2 * self._right - self.num_answers >= SUCCESS_RETURN * self.num_answers
