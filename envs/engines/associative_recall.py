"""AssociativeRecall: key-value pairs are shown, then keys, and the agent names their values.

The task by which associative memories are measured (Ba et al. 2016, section 4.1), with several queries as in Arora et
al. (2023).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from s7rl.envs.batched import EngineEnv, EngineVectorEnv, IntArray, check_count
from s7rl.envs.engines.recall import RecallEngine
from s7rl.envs.suites.suite import Facts


class AssociativeRecallEngine(RecallEngine):
    """The rules of associative recall.

    Symbols below ``num_keys`` are keys, the ``num_values`` after them values, and the last one is a blank.
    """

    def __init__(
        self,
        num_envs: int,
        num_pairs: int = 8,
        num_keys: int = 16,
        num_values: int = 8,
        num_queries: int = 8,
        delay: int = 0,
    ) -> None:
        """Build ``num_envs`` lists of pairs."""
        self.num_pairs = check_count("num_pairs", num_pairs)
        self.num_keys = check_count("num_keys", num_keys)
        self.num_values = check_count("num_values", num_values, minimum=2)
        check_count("num_queries", num_queries)
        check_count("delay", delay, minimum=0)
        if num_keys < num_pairs:
            raise ValueError(
                f"num_keys ({num_keys}) must be at least num_pairs ({num_pairs}), as no key comes twice; "
                f"pass num_keys >= {num_pairs} or fewer pairs."
            )
        if num_queries > num_pairs:
            raise ValueError(
                f"num_queries ({num_queries}) must be at most num_pairs ({num_pairs}), as no key is asked for twice; "
                f"pass num_queries <= {num_pairs} or more pairs."
            )
        num_symbols = num_keys + num_values + 1
        super().__init__(
            num_envs, num_symbols, num_values, num_shown=2 * num_pairs, delay=delay, num_questions=num_queries
        )
        self._numbers_per_episode = num_keys + 2 * num_pairs
        self._uniform = self.new_tape("uniform", multiple_of=self._numbers_per_episode)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the keys, their values, and which pairs are asked for in which order."""
        super().begin_episodes(rows)
        numbers = self._uniform.take(rows, self._numbers_per_episode)
        # The order of uniform numbers is a permutation, and its beginning a draw without replacement.
        keys = numbers[:, : self.num_keys].argsort(axis=1)[:, : self.num_pairs]
        values = (numbers[:, self.num_keys : -self.num_pairs] * self.num_values).astype(np.int64)
        asked = numbers[:, -self.num_pairs :].argsort(axis=1)[:, : self.num_questions]
        self._symbols[rows, 0 : self.num_shown : 2] = keys
        self._symbols[rows, 1 : self.num_shown : 2] = self.num_keys + values
        self._symbols[rows, self.num_shown + 1 : -1] = np.take_along_axis(keys, asked, axis=1)
        self._answers[rows] = np.take_along_axis(values, asked, axis=1)


class AssociativeRecall(EngineEnv):
    """Associative recall: name the value that a key came with.

    ## Description

    ``num_pairs`` pairs are shown, each as a key and, one step later, its value; no key comes twice.  After ``delay``
    blanks, ``num_queries`` of the keys are shown again in random order, none twice, and at each the agent names the
    value that followed it.  It needs a memory that is written and read by content: neither the order nor the time
    helps to find a value.

        shown     k5 v2 k1 v0 k7 v2 -- k1 k5        (num_pairs=3, num_queries=2, delay=1; -- is a blank)
        answers                         0  2

    ## Action Space

    `Discrete(num_values)`: the value.  It matters only at a query.

    ## Observation Space

    `Discrete(num_keys + num_values + 1)`: keys from 0 on, values from num_keys on; num_keys + num_values is a blank,
    which is also what is shown after the last answer.  A query looks as the key did in its pair, but comes second.

    ## Rewards

    1/num_queries for a right answer and -1/num_queries for a wrong one, as in POPGym's tasks; elsewhere 0.

    The optimum is 1.  At a query the agent sees a key.  Values are uniform, independent of each other, of the keys and
    of what is asked, so the key by itself says nothing about its value: an agent without memory is right with
    probability 1/num_values whatever it says at which key, and 2/num_values - 1 is both the best score without memory
    and that of random answers.

    ## Starting State

    The first key is shown.  Every ordered choice of num_pairs of the num_keys keys is equally likely, and so is every
    ordered choice of num_queries of the pairs; values are drawn uniformly and independently.

    ## Episode End

    1. Termination: after exactly 2 num_pairs + delay + num_queries steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step: the return reached 0.9, that is, at least 95 % of the answers were right.

    ## Arguments

    * ``num_pairs`` (int, default 8): pairs to remember.
    * ``num_keys`` (int >= num_pairs, default 16): keys there are.
    * ``num_values`` (int >= 2, default 8): values there are.
    * ``num_queries`` (int, 1 to num_pairs, default 8): questions.
    * ``delay`` (int >= 0, default 0): blanks between the last value and the first query.

    ## Version History

    * v0: initial version.

    ## References

    * Ba et al. (2016), "Using Fast Weights to Attend to the Recent Past", NeurIPS, section 4.1.
    * Arora et al. (2023), "Zoology: Measuring and Improving Recall in Efficient Language Models".
    """

    engine = AssociativeRecallEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the exact scores and lengths for these arguments; derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        summary = f"name the values that {engine.num_questions} of {engine.num_pairs} keys came with"
        return engine.facts(summary, engine.num_steps - 2)  # from the first value to the last query


class AssociativeRecallVector(EngineVectorEnv):
    """Many lists of pairs; rules and arguments are in ``AssociativeRecall``."""

    engine = AssociativeRecallEngine
