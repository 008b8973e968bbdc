"""Copy, SelectiveCopy and Reverse: watch a sequence of tokens, then say it from memory.

The three differ in how the tokens are shown and in the order in which they are asked for:

* ``Copy``: one token after the other, then a delay, then the tokens in order (Arjovsky et al. 2016, section 5.1);
* ``SelectiveCopy``: the tokens stand at random places among blanks (Gu & Dao 2023, section 4.1.1; Jing et al. 2019);
* ``Reverse``: as Copy, but the last token is asked for first, as in POPGym's Autoencode (Morad et al. 2023).

Rewards and what the three share with ``AssociativeRecall`` are in ``s7rl.envs.engines.recall``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from s7rl.envs.batched import EngineEnv, EngineVectorEnv, IntArray, check_count
from s7rl.envs.engines.recall import RecallEngine
from s7rl.envs.suites.suite import Facts


class CopyingEngine(RecallEngine):
    """Symbols below ``num_symbols`` are tokens, ``num_symbols`` is a blank, ``num_symbols + 1`` asks for an answer."""

    def __init__(
        self, num_envs: int, num_tokens: int, num_symbols: int, num_shown: int, delay: int, numbers_per_episode: int
    ) -> None:
        """Build ``num_envs`` sequences, whose tokens stand among the ``num_shown`` symbols before the delay."""
        self.num_tokens = check_count("num_tokens", num_tokens)
        self.num_symbols = check_count("num_symbols", num_symbols, minimum=2)
        super().__init__(
            num_envs, num_symbols + 2, num_symbols, num_shown=num_shown, delay=delay, num_questions=num_tokens
        )
        self._symbols[:, : num_shown + 1] = num_symbols  # during the delay, too
        self._uniform = self.new_tape("uniform", multiple_of=numbers_per_episode)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the tokens."""
        super().begin_episodes(rows)
        self._answers[rows] = self._uniform.integers(rows, self.num_symbols, self.num_tokens)


class CopyEngine(CopyingEngine):
    """The rules of ``Copy``."""

    def __init__(self, num_envs: int, num_tokens: int = 10, num_symbols: int = 8, delay: int = 100) -> None:
        """Build ``num_envs`` sequences."""
        check_count("delay", delay, minimum=0)
        super().__init__(num_envs, num_tokens, num_symbols, num_tokens, delay, numbers_per_episode=num_tokens)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the tokens and show them one after the other."""
        super().begin_episodes(rows)
        self._symbols[rows, : self.num_tokens] = self._answers[rows]


class ReverseEngine(CopyEngine):
    """The rules of ``Reverse``."""

    def __init__(self, num_envs: int, num_tokens: int = 10, num_symbols: int = 4, delay: int = 0) -> None:
        """Build ``num_envs`` sequences."""
        super().__init__(num_envs, num_tokens, num_symbols, delay)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the tokens, show them, and ask for the last one first."""
        super().begin_episodes(rows)
        self._answers[rows] = self._answers[rows, ::-1]


class SelectiveCopyEngine(CopyingEngine):
    """The rules of ``SelectiveCopy``."""

    def __init__(self, num_envs: int, num_tokens: int = 10, num_symbols: int = 8, length: int = 100) -> None:
        """Build ``num_envs`` sequences."""
        check_count("num_tokens", num_tokens)
        if check_count("length", length) < num_tokens:
            raise ValueError(
                f"length ({length}) must have a place for each of the {num_tokens} tokens; "
                f"pass length >= {num_tokens} or fewer tokens."
            )
        super().__init__(num_envs, num_tokens, num_symbols, length, 0, numbers_per_episode=num_tokens + length)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the tokens and their places."""
        super().begin_episodes(rows)
        # The places of the smallest of ``length`` numbers are a set drawn without replacement.
        numbers = self._uniform.take(rows, self.num_shown)
        places = numbers.argpartition(self.num_tokens - 1, axis=1)[:, : self.num_tokens]
        self._symbols[rows, : self.num_shown] = self.num_symbols
        self._symbols[rows[:, np.newaxis], np.sort(places, axis=1)] = self._answers[rows]


class Copy(EngineEnv):
    """Copy: say a sequence after a delay.

    ## Description

    ``num_tokens`` tokens are shown, one a step, then ``delay`` blanks.  Then the agent is asked ``num_tokens`` times,
    and names the tokens in the order in which they came.  It needs a memory that holds the whole sequence at once and
    knows how many answers it has given.

        shown     3 1 7 - - - ? ? ?        (num_tokens=3, delay=3; - is a blank, ? asks)
        answers               3 1 7

    ## Action Space

    `Discrete(num_symbols)`: the token.  It matters only where an answer is asked for.

    ## Observation Space

    `Discrete(num_symbols + 2)`: a token; num_symbols is a blank; num_symbols + 1 asks for an answer, and is also what
    is shown after the last one.

    ## Rewards

    1/num_tokens for a right answer and -1/num_tokens for a wrong one, as in POPGym's Autoencode; elsewhere 0.

    The optimum is 1.  Tokens are independent and uniform, and none is in sight when an answer is due, so an agent
    without memory is right with probability 1/num_symbols whatever it says: 2/num_symbols - 1 is both the best score
    without memory and that of random answers.

    ## Starting State

    The first token is shown; tokens are drawn uniformly and independently.

    ## Episode End

    1. Termination: after exactly 2 num_tokens + delay steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step: the return reached 0.9, that is, at least 95 % of the answers were right.

    ## Arguments

    * ``num_tokens`` (int, default 10): length of the sequence.
    * ``num_symbols`` (int >= 2, default 8): size of the alphabet.
    * ``delay`` (int >= 0, default 100): blanks between the last token and the first answer.

    The defaults are the smallest task of Arjovsky et al.

    ## Version History

    * v0: initial version.

    ## References

    * Hochreiter & Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8).
    * Arjovsky, Shah & Bengio (2016), "Unitary Evolution Recurrent Neural Networks", ICML, section 5.1.
    """

    engine = CopyEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the exact scores and lengths for these arguments; derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        tokens, span = engine.num_tokens, engine.first_question
        return engine.facts(f"say {tokens} tokens in order, {span - tokens} steps after the last was shown", span)


class CopyVector(EngineVectorEnv):
    """Many sequences of Copy; rules and arguments are in ``Copy``."""

    engine = CopyEngine


class SelectiveCopy(EngineEnv):
    """SelectiveCopy: pick the tokens out of the blanks, then say them in order.

    ## Description

    For ``length`` steps blanks are shown, but for ``num_tokens`` of them, drawn anew for each episode, which show a
    token.  Then the agent is asked ``num_tokens`` times, and names the tokens in the order in which they came.  It
    needs a memory that takes up what matters and lets the rest pass, however long that takes: no fixed lag helps.

        shown     - 3 - - 1 7 ? ? ?        (num_tokens=3, length=6; - is a blank, ? asks)
        answers               3 1 7

    ## Action Space

    `Discrete(num_symbols)`: the token.  It matters only where an answer is asked for.

    ## Observation Space

    `Discrete(num_symbols + 2)`: a token; num_symbols is a blank; num_symbols + 1 asks for an answer, and is also what
    is shown after the last one.

    ## Rewards

    1/num_tokens for a right answer and -1/num_tokens for a wrong one, as in POPGym's Autoencode; elsewhere 0.

    The optimum is 1.  As in ``Copy``, nothing in sight tells of the token that is asked for: 2/num_symbols - 1 is both
    the best score without memory and that of random answers.

    ## Starting State

    Tokens are drawn uniformly and independently; every choice of num_tokens of the ``length`` places is equally likely.

    ## Episode End

    1. Termination: after exactly length + num_tokens steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step: the return reached 0.9, that is, at least 95 % of the answers were right.

    ## Arguments

    * ``num_tokens`` (int, default 10): tokens in the sequence.
    * ``num_symbols`` (int >= 2, default 8): size of the alphabet.
    * ``length`` (int >= num_tokens, default 100): steps, blanks included, before the first answer.

    Gu & Dao use 16 tokens of 16 symbols among 4096 steps.

    ## Version History

    * v0: initial version.

    ## References

    * Jing et al. (2019), "Gated Orthogonal Recurrent Units: On Learning to Forget", Neural Computation 31(4).
    * Gu & Dao (2023), "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", section 4.1.1.
    """

    engine = SelectiveCopyEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the exact scores and lengths for these arguments; derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        length = engine.num_shown
        # The i-th token comes at step i or later and is asked for at step length + i.
        return engine.facts(f"say in order {engine.num_tokens} tokens met in {length} steps", length)


class SelectiveCopyVector(EngineVectorEnv):
    """Many sequences of SelectiveCopy; rules and arguments are in ``SelectiveCopy``."""

    engine = SelectiveCopyEngine


class Reverse(EngineEnv):
    """Reverse: say a sequence backwards, as in POPGym's Autoencode.

    ## Description

    ``num_tokens`` tokens are shown, one a step, then ``delay`` blanks.  Then the agent is asked ``num_tokens`` times,
    and names the last token first.  It needs a memory that works as a stack.

        shown     3 1 2 ? ? ?        (num_tokens=3, delay=0; ? asks)
        answers         2 1 3

    ## Action Space

    `Discrete(num_symbols)`: the token.  It matters only where an answer is asked for.

    ## Observation Space

    `Discrete(num_symbols + 2)`: a token; num_symbols is a blank; num_symbols + 1 asks for an answer, and is also what
    is shown after the last one.

    ## Rewards

    1/num_tokens for a right answer and -1/num_tokens for a wrong one, as in POPGym's Autoencode; elsewhere 0.

    The optimum is 1.  As in ``Copy``, nothing in sight tells of the token that is asked for: 2/num_symbols - 1 is both
    the best score without memory and that of random answers.

    ## Starting State

    The first token is shown; tokens are drawn uniformly and independently.

    ## Episode End

    1. Termination: after exactly 2 num_tokens + delay steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step: the return reached 0.9, that is, at least 95 % of the answers were right.

    ## Arguments

    * ``num_tokens`` (int, default 10): length of the sequence.
    * ``num_symbols`` (int >= 2, default 4): size of the alphabet.
    * ``delay`` (int >= 0, default 0): blanks between the last token and the first answer.

    52, 104 and 156 tokens of 4 symbols have the size of POPGym's Easy, Medium and Hard.  What differs: POPGym deals a
    shuffled deck, where the last cards follow from the others, and still shows the last card when it is asked for,
    which gives one answer away and makes the episode a step shorter; it shows suit 0 with a flag where we ask.

    ## Version History

    * v0: initial version.

    ## References

    * Morad et al. (2023), "POPGym: Benchmarking Partially Observable Reinforcement Learning", ICLR.
    """

    engine = ReverseEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the exact scores and lengths for these arguments; derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        return engine.facts(f"say {engine.num_tokens} tokens, the last one first", engine.num_steps - 1)


class ReverseVector(EngineVectorEnv):
    """Many sequences of Reverse; rules and arguments are in ``Reverse``."""

    engine = ReverseEngine
