"""The needle: one cue somewhere in a long noisy stream, asked for at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.envs.batched import (
    BoolArray,
    Engine,
    EngineEnv,
    EngineVectorEnv,
    IntArray,
    StepResult,
    check_count,
    check_noise_std,
)
from s7rl.envs.suites.suite import Facts

EARLY = 10
"""The cue comes within the first ``length // EARLY`` observations, or is the first one."""


class NeedleEngine(Engine):
    """The rules of the needle; the state of a row is its cue, when it is shown, and the steps taken."""

    def __init__(
        self, num_envs: int, length: int = 10_000, num_cues: int = 4, noise_dim: int = 8, noise_std: float = 1.0
    ) -> None:
        """Build ``num_envs`` streams of the same length."""
        super().__init__(num_envs)
        self.length = check_count("length", length, minimum=2)
        self.num_cues = check_count("num_cues", num_cues, minimum=2)
        self.noise_dim = check_count("noise_dim", noise_dim, minimum=0)
        self.noise_std = check_noise_std(noise_std)
        self.cue_window = max(1, self.length // EARLY)
        limit = np.concatenate([np.ones(1 + self.num_cues), np.full(self.noise_dim, np.inf)])
        low = np.where(np.isinf(limit), -np.inf, 0.0)
        self.observation_space = spaces.Box(low.astype(np.float32), limit.astype(np.float32), dtype=np.float32)
        self.action_space = spaces.Discrete(self.num_cues)
        self._draws = self.new_tape("uniform", block=64)
        self._noise = self.new_tape("normal", block=64 * max(1, self.noise_dim))
        self._rows = np.arange(num_envs)
        self._cue = np.zeros(num_envs, dtype=np.int64)
        self._cue_time = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._shown_noise = np.zeros((num_envs, self.noise_dim))
        self._right = np.zeros(num_envs, dtype=np.bool_)
        self._no_row = np.zeros(num_envs, dtype=np.bool_)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the cues and when they are shown."""
        numbers = self._draws.take(rows, 2)
        self._cue[rows] = (numbers[:, 0] * self.num_cues).astype(np.int64)
        self._cue_time[rows] = (numbers[:, 1] * self.cue_window).astype(np.int64)
        self._steps[rows] = 0
        self._shown_noise[rows] = self._noise.take(rows, self.noise_dim)

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Score the answers at the end; anywhere else actions do nothing."""
        self._steps += 1
        self._shown_noise = self._noise.take(self._rows, self.noise_dim)
        terminated = self._steps == self.length
        self._right = actions == self._cue
        return (self._right & terminated).astype(np.float64), terminated, self._no_row.copy()

    def observations(self) -> NDArray[np.float32]:
        """Return the query, the cue and the noise."""
        shown = np.zeros((self.num_envs, 1 + self.num_cues + self.noise_dim), dtype=np.float32)
        shown[:, 0] = self._steps == self.length - 1
        rows = np.flatnonzero(self._steps == self._cue_time)
        shown[rows, 1 + self._cue[rows]] = 1.0
        np.multiply(self._shown_noise, self.noise_std, out=shown[:, 1 + self.num_cues :], casting="same_kind")
        return shown

    def successes(self) -> BoolArray:
        """Return whether the last answer was right."""
        right: BoolArray = self._right.copy()
        return right

    def states(self) -> IntArray:
        """Return the cue, the number of the observation that shows it, and the number of steps taken."""
        return np.stack([self._cue, self._cue_time, self._steps], axis=1)


class Needle(EngineEnv):
    """A needle in a haystack: one cue among thousands of noisy observations.

    ## Description

    A stream of ``length`` observations is noise, but one of the first tenth also shows a cue.  The last observation
    asks which cue it was.  The agent must notice the one step that counts, keep it, and let nothing of the noise of
    thousands of later steps in.

    ## Action Space

    `Discrete(num_cues)`: the answer.  It counts where the question is asked and nowhere else.

    ## Observation Space

    `Box(float32)` of 1 + num_cues + noise_dim numbers:

    | Num                     | Meaning                                       | Range       |
    |-------------------------|-----------------------------------------------|-------------|
    | 0                       | 1 where the question is asked, else 0         | 0 to 1      |
    | 1 ... num_cues          | the cue, one-hot, in one observation, else 0  | 0 to 1      |
    | num_cues + 1 ...        | independent N(0, noise_std^2) at every step   | unbounded   |

    No noise lies on the cue: it can be missed, but not mistaken.

    ## Rewards

    1 for the right answer at the end, else 0.

    The optimum is 1.  The best agent without memory gets 1/num_cues, as a random one does: what it sees where the
    question is asked is independent of the cue, which is uniform, so any answer is right with probability
    1/num_cues.

    ## Starting State

    The cue is uniform, and so is the observation that shows it among the first max(1, length // 10).

    ## Episode End

    1. Termination: with the answer, after exactly ``length`` steps.
    2. Truncation: never.

    ``info["is_success"]`` at the last step tells whether the answer was right.

    ## Arguments

    * ``length`` (int, default 10,000, at least 2): observations up to the question, that one included.
    * ``num_cues`` (int, default 4, at least 2): different cues.
    * ``noise_dim`` (int, default 8, at least 0): how many numbers are noise.
    * ``noise_std`` (float, default 1, at least 0): standard deviation of the noise.

    ## Version History

    * v0: initial version.
    """

    engine = NeedleEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the lengths and exact scores for these arguments, as derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        chance = 1 / engine.num_cues
        return Facts(
            summary=f"notice one of {engine.num_cues} cues in {engine.length} noisy steps, and name it at the end",
            episode_length=engine.length,
            memory_span=engine.length - 1,
            optimal_return=1.0,
            memoryless_return=chance,
            random_return=chance,
            steps=max(1_000_000, 500 * engine.length),
        )


class NeedleVector(EngineVectorEnv):
    """Many streams of the same length; rules and arguments are in ``Needle``."""

    engine = NeedleEngine
