"""The memory tasks of bsuite: some bits at the start, one question about them at the end.

``MemoryLength`` makes the wait long, ``MemorySize`` the bits many.  The tasks are those of bsuite's ``memory_len`` and
``memory_size`` experiments (Osband et al. 2020, ``bsuite/environments/memory_chain.py``, bsuite 0.3.6); the table in
``MemoryLength`` says what differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.checks import FLAG
from s7rl.envs.batched import BoolArray, Engine, EngineEnv, EngineVectorEnv, IntArray, StepResult, check_count
from s7rl.envs.suites.suite import Facts


class MemoryChainEngine(Engine):
    """The rules of both tasks; the state of a row is its bits, the one that is asked for, and the steps taken."""

    def __init__(self, num_envs: int, num_bits: int = 10, length: int = 2, show_time: bool = False) -> None:
        """Build ``num_envs`` chains: ``num_bits`` bits, asked for after ``length`` steps."""
        super().__init__(num_envs)
        self.length = check_count("length", length)
        self.num_bits = check_count("num_bits", num_bits)
        FLAG.check("show_time", show_time)
        self.show_time = bool(show_time)
        low = np.concatenate([np.zeros(self.show_time + self.num_bits), -np.ones(self.num_bits)])
        self.observation_space = spaces.Box(low.astype(np.float32), np.float32(1), dtype=np.float32)
        self.action_space = spaces.Discrete(2)
        self._tape = self.new_tape("uniform", block=max(1024, self.num_bits + 1))
        self._rows = np.arange(num_envs)
        self._bits = np.zeros((num_envs, self.num_bits), dtype=np.int64)
        self._query = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._right = np.zeros(num_envs, dtype=np.bool_)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the bits and which of them is asked for."""
        numbers = self._tape.take(rows, self.num_bits + 1)
        self._bits[rows] = numbers[:, 1:] < 0.5
        self._query[rows] = (numbers[:, 0] * self.num_bits).astype(np.int64)
        self._steps[rows] = 0

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Score the answers where the question is asked; anywhere else actions do nothing."""
        terminated = self._steps == self.length
        self._steps += 1
        rewards = np.zeros(self.num_envs)
        if terminated.any():
            self._right = actions == self._bits[self._rows, self._query]
            rewards[terminated] = np.where(self._right, 1.0, -1.0)[terminated]
        return rewards, terminated, np.zeros(self.num_envs, dtype=np.bool_)

    def observations(self) -> NDArray[np.float32]:
        """Return what is shown: the time if wanted, the query and the bits."""
        shown = np.zeros((self.num_envs, self.show_time + 2 * self.num_bits), dtype=np.float32)
        if self.show_time:
            shown[:, 0] = np.maximum(1.0 - self._steps / self.length, 0.0)
        first, asked = np.flatnonzero(self._steps == 0), np.flatnonzero(self._steps == self.length)
        if len(first):
            shown[first, self.show_time + self.num_bits :] = 2 * self._bits[first] - 1
        if len(asked):
            shown[asked, self.show_time + self._query[asked]] = 1.0
        return shown

    def successes(self) -> BoolArray:
        """Return whether the answer was right."""
        right: BoolArray = self._right.copy()
        return right

    def states(self) -> IntArray:
        """Return the right answer, the number of steps taken, which bit is asked for, and all bits."""
        answer = self._bits[self._rows, self._query]
        return np.column_stack([answer, self._steps, self._query, self._bits])


class OneBitEngine(MemoryChainEngine):
    """A chain of one bit and a longer wait."""

    def __init__(self, num_envs: int, length: int = 100, show_time: bool = False) -> None:
        """Build ``num_envs`` chains."""
        super().__init__(num_envs, 1, length, show_time)


class MemoryLength(EngineEnv):
    """One bit, remembered for any number of steps.

    ## Description

    The first observation shows a bit.  The agent waits, whatever it does, and is asked for the bit ``length`` steps
    later.

    ## Action Space

    `Discrete(2)`: the answer.  It counts where the question is asked and nowhere else.

    ## Observation Space

    `Box(float32)` of 2 numbers:

    | Num | Meaning                                                   | Range   |
    |-----|-----------------------------------------------------------|---------|
    | 0   | 1 where the question is asked, else 0                     | 0 to 1  |
    | 1   | at the first step -1 for bit 0 and 1 for bit 1, else 0    | -1 to 1 |

    With ``show_time=True`` one more stands before them: the part of the wait that is left, 1 at the first observation
    and 0 where the question is asked.

    ## Rewards

    1 for the right answer, -1 for the wrong one, 0 before.

    The optimum is 1.  An agent without memory gets 0, as a random one does: what it sees where the question is asked
    is the same for both bits (the time, if shown, is 0), so its answer is independent of the bit, which is 0 or 1 with
    probability 1/2.

    ## Starting State

    Either bit with probability 1/2.

    ## Episode End

    1. Termination: with the answer, after exactly ``length + 1`` steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step tells whether the answer was right.

    ## Arguments

    * ``length`` (int, default 100, at least 1): steps from the bit to the question.
    * ``show_time`` (bool, default False): whether the time is shown, as bsuite does.

    ## Origin, and What Differs from It

    bsuite's ``memory_len`` is ``MemoryChain(memory_length=length, num_bits=1)``, with lengths from 1 to 100 and as
    many steps per episode as here.

    |                | bsuite                                           | here                                 |
    |----------------|--------------------------------------------------|--------------------------------------|
    | time           | shown at every step                              | with ``show_time=True`` only         |
    | bits           | in the first two observations                    | in the first observation             |
    | question       | its number, in one value: 0 with one bit         | one-hot                              |
    | observation    | [1, 2 + num_bits], time, question, bits          | a vector in the same order           |
    | at the end     | time is 0                                        | time, question and bits are 0        |

    The time of a wait of fixed length says nothing about the bit, but it tells an agent when to answer, and a policy
    of wide layers can count on it.  It is left out unless asked for, so that memory alone is tested.  Rewards and the
    scores above are the same; the bit has to be held one step longer.

    ## Version History

    * v0: initial version.

    ## References

    * Osband et al. (2020), "Behaviour Suite for Reinforcement Learning", ICLR.
    """

    engine = OneBitEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the lengths and exact scores for these arguments, as derived in the class's docstring."""
        length = cls.engine(1, **kwargs).length
        return _facts(f"remember a bit for {length} steps", length)


class MemoryLengthVector(EngineVectorEnv):
    """Many chains of one bit; rules and arguments are in ``MemoryLength``."""

    engine = OneBitEngine


class MemorySize(EngineEnv):
    """Many bits, one of which is asked for.

    ## Description

    The first observation shows ``num_bits`` bits.  A few steps later the agent is asked for one of them, and it does
    not know beforehand for which.

    ## Action Space

    `Discrete(2)`: the answer.  It counts where the question is asked and nowhere else.

    ## Observation Space

    `Box(float32)` of 2 num_bits numbers: one-hot which bit is asked for, where the question is asked, else 0; then
    the bits, -1 for 0 and 1 for 1, at the first step, else 0.  With ``show_time=True`` one more stands before them: the
    part of the wait that is left, 1 at the first observation and 0 where the question is asked.

    ## Rewards

    1 for the right answer, -1 for the wrong one, 0 before.

    The optimum is 1.  An agent without memory gets 0, as a random one does: where the question is asked it sees which
    bit is meant and nothing else, so its answer is independent of that bit, which is 0 or 1 with probability 1/2.
    Who remembers m of the bits gets m / num_bits.

    ## Starting State

    All bits and the question are independent and uniform.

    ## Episode End

    1. Termination: with the answer, after exactly ``length + 1`` steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step tells whether the answer was right.

    ## Arguments

    * ``num_bits`` (int, default 10, at least 1): how many bits are shown.
    * ``length`` (int, default 2, at least 1): steps from the bits to the question.
    * ``show_time`` (bool, default False): whether the time is shown, as bsuite does.

    ## Origin, and What Differs from It

    bsuite's ``memory_size`` is ``MemoryChain(memory_length=2, num_bits=num_bits)``, with 1 to 40 bits and 3 steps per
    episode.  The table in ``MemoryLength`` says what differs.

    ## Version History

    * v0: initial version.

    ## References

    * Osband et al. (2020), "Behaviour Suite for Reinforcement Learning", ICLR.
    """

    engine = MemoryChainEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the lengths and exact scores for these arguments, as derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        return _facts(f"remember {engine.num_bits} bits for {engine.length} steps; one is asked for", engine.length)


class MemorySizeVector(EngineVectorEnv):
    """Many chains of many bits; rules and arguments are in ``MemorySize``."""

    engine = MemoryChainEngine


def _facts(summary: str, length: int) -> Facts:
    return Facts(
        summary=summary,
        episode_length=length + 1,
        memory_span=length,
        optimal_return=1.0,
        memoryless_return=0.0,
        random_return=0.0,
        steps=max(1_000_000, 5_000 * length),
    )
