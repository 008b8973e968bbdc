"""Missions of MiniGrid and BabyAI as vectors of zeros and ones.

Where the mission changes between episodes it is part of the task, and an agent must read it.  Token ids would leave it
to the agent to find out that the third word of one sentence and the eleventh of another are both a colour: one-hot at
72 places, the longest sentence of BabyAI is 2,500 numbers wide, most of them always the same.  The missions are made
from small grammars, so what a sentence says fits into fewer numbers that always stand at the same place:

* ``ChoiceCode``: MiniGrid's ``MissionSpace`` fills the gaps of one sentence from lists of words.  Each gap is one-hot.
  ``put the red ball near the blue box`` is 6 + 3 + 6 + 3 numbers.
* ``GrammarCode``: BabyAI's language (Chevalier-Boisvert et al. 2019, https://arxiv.org/abs/1810.08272, figure 2; as
  MiniGrid 3.2 writes it, ``minigrid/envs/babyai/core/verifier.py``) has up to four clauses.  Each word of a clause has
  its place, and any sentence of any level is 146 numbers, so that an agent can go from level to level.

Both are lossless: different sentences have different vectors, but for the order of words that mean the same.
"""

from __future__ import annotations

import itertools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.mission import MissionSpace
from minigrid.envs.babyai.core.roomgrid_level import BabyAIMissionSpace
from numpy.typing import NDArray

MOST_SENTENCES = 100_000
"""Sentences of a MissionSpace that are listed; MiniGrid's own have up to 324."""

VERBS = ("go to", "pick up", "open", "put")
KINDS = ("object", "box", "ball", "key", "door")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
PLACES = ("in front of you", "behind you", "on your left", "on your right")
CONNECTIVES = (", then ", " after you ")


class MissionCode(ABC):
    """A way to write the missions of an environment as vectors."""

    size: int
    """Length of the vectors; 0 where the mission never changes."""

    @abstractmethod
    def encode(self, mission: str) -> NDArray[np.float32]:
        """Return the vector of a mission, zeros and ones.

        Raises:
            ValueError: in one line, if the mission is none that the environment's space has.
        """


class ChoiceCode(MissionCode):
    """The missions of a ``MissionSpace``: one-hot, for each gap of the sentence, which word fills it.

    Raises:
        ValueError: if there are more than ``MOST_SENTENCES`` sentences.
    """

    def __init__(self, space: MissionSpace) -> None:
        """List the sentences."""
        options: Sequence[Sequence[str]] = space.ordered_placeholders or []
        # A gap with one word for it says nothing.
        counts = [len(words) for words in options]
        number = math.prod(counts)
        if number > MOST_SENTENCES:
            raise ValueError(
                f"the mission has {number} sentences, of which at most {MOST_SENTENCES} can be listed: encode it with "
                "a gymnasium.ObservationWrapper of your own."
            )
        starts = np.cumsum([0, *(count if count > 1 else 0 for count in counts)])
        self.size = int(starts[-1])
        self._hot = {
            space.mission_func(*words): [
                int(start) + choice
                for start, choice, count in zip(starts[:-1], choices, counts, strict=True)
                if count > 1
            ]
            for words, choices in zip(itertools.product(*options), itertools.product(*map(range, counts)), strict=True)
        }

    def encode(self, mission: str) -> NDArray[np.float32]:
        """Return the words that fill the gaps, one-hot side by side."""
        if mission not in self._hot:
            example = next(iter(self._hot))
            raise ValueError(
                f"mission ({mission!r}) is not one of the {len(self._hot)} that the environment declares, such as "
                f"{example!r}; correct its MissionSpace."
            )
        vector = np.zeros(self.size, dtype=np.float32)
        vector[self._hot[mission]] = 1.0
        return vector


def _one_of(name: str, words: Sequence[str]) -> str:
    return f"(?P<{name}>{'|'.join(map(re.escape, words))})"


_OBJECT = re.compile(
    rf"{_one_of('article', ('a', 'the'))} (?:{_one_of('colour', COLOURS)} )?{_one_of('kind', KINDS)}"
    rf"(?: {_one_of('place', PLACES)})?"
)
_CLAUSE = re.compile(rf"{_one_of('verb', VERBS)} (?P<first>.+?)(?: next to (?P<second>.+))?")


class GrammarCode(MissionCode):
    """The sentences of BabyAI's language, with a place for everything that any of them can say.

    ========  ======================================================================================================
    size      meaning
    ========  ======================================================================================================
    2         how the two halves are connected: "X, then Y", "X after you Y"; zeros where there is one half
    4 x 36    the clauses: first and second of the first half ("X and Y"), first and second of the second half
    ========  ======================================================================================================

    A clause is its verb (go to, pick up, open, put), then 16 numbers for its object and 16 for the object that another
    one is put next to: whether it is "the" (there is one) and not "a"; object, box, ball, key, door; red, green, blue,
    purple, yellow, grey; in front, behind, left, right.  What is not said is zeros.
    """

    _OBJECT_SIZE = 1 + len(KINDS) + len(COLOURS) + len(PLACES)
    _CLAUSE_SIZE = len(VERBS) + 2 * _OBJECT_SIZE
    size = len(CONNECTIVES) + 4 * _CLAUSE_SIZE

    def encode(self, mission: str) -> NDArray[np.float32]:
        """Return what the sentence says, part by part."""
        vector = np.zeros(self.size, dtype=np.float32)
        halves = [mission]
        for place, connective in enumerate(CONNECTIVES):
            if connective in mission:
                halves = mission.split(connective)
                vector[place] = 1.0
        clauses = [half.split(" and ") for half in halves]
        if len(halves) > 2 or max(map(len, clauses)) > 2:
            raise ValueError(_no_sentence(mission, "it has more than two halves of two clauses"))
        for half, parts in enumerate(clauses):
            for number, clause in enumerate(parts):
                start = len(CONNECTIVES) + (2 * half + number) * self._CLAUSE_SIZE
                self._write_clause(vector[start : start + self._CLAUSE_SIZE], clause, mission)
        return vector

    def _write_clause(self, vector: NDArray[np.float32], clause: str, mission: str) -> None:
        match = _CLAUSE.fullmatch(clause)
        if match is None or (match["verb"] == "put") != (match["second"] is not None):
            raise ValueError(_no_sentence(mission, f"{clause!r} is no clause of it"))
        vector[VERBS.index(match["verb"])] = 1.0
        for number, words in enumerate((match["first"], match["second"])):
            if words is not None:
                start = len(VERBS) + number * self._OBJECT_SIZE
                self._write_object(vector[start : start + self._OBJECT_SIZE], words, mission)

    def _write_object(self, vector: NDArray[np.float32], words: str, mission: str) -> None:
        match = _OBJECT.fullmatch(words)
        if match is None:
            raise ValueError(_no_sentence(mission, f"{words!r} is no object of it"))
        vector[0] = match["article"] == "the"
        start = 1
        for name, known in (("kind", KINDS), ("colour", COLOURS), ("place", PLACES)):
            if match[name] is not None:
                vector[start + known.index(match[name])] = 1.0
            start += len(known)


def find_mission_code(space: spaces.Space[Any]) -> MissionCode:
    """Return how the missions of a space are encoded.

    Raises:
        ValueError: in one line, if it is neither a ``MissionSpace`` nor BabyAI's, or has too many sentences.
    """
    if isinstance(space, BabyAIMissionSpace):
        # It declares "go" and makes any sentence of the language.
        return GrammarCode()
    if type(space) is MissionSpace:
        return ChoiceCode(space)
    raise ValueError(
        f"the mission has the space {type(space).__name__}, which may mean any sentence: give the environment a "
        "MissionSpace with ordered_placeholders."
    )


def _no_sentence(mission: str, reason: str) -> str:
    return f"mission ({mission!r}) is not in BabyAI's language: {reason}; see s7rl.envs.wrappers.minigrid_mission."
