"""The passive T-maze: one cue at the start, one decision at the end, nothing in between.

The task is Bakker's (2001), in the form that Memory-RL gave it (Ni et al. 2023, ``envs/tmaze.py``,
``TMazeClassicPassive``), under rules of our own: mistakes can be made good.  What differs and why stands in
``TMazePassive``; scores of the two cannot be compared.
"""

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

CUE_UP, CUE_DOWN, CORRIDOR, JUNCTION = range(4)
RIGHT, UP, LEFT, DOWN = range(4)

_MOVE_X = np.array([1, 0, -1, 0])
_MOVE_Y = np.array([0, 1, 0, -1])


class TMazePassiveEngine(Engine):
    """The rules of the passive T-maze; the state of a row is (x, y, arm of the goal, steps taken)."""

    def __init__(self, num_envs: int, corridor_length: int = 100, noise_std: float = 0.0) -> None:
        """Build ``num_envs`` mazes of the same length."""
        super().__init__(num_envs)
        self.corridor_length = check_count("corridor_length", corridor_length)
        self.noise_std = check_noise_std(noise_std)
        self._place(start=0)
        self.observation_space: spaces.Space[Any] = spaces.Discrete(4)
        if self.noise_std:
            self.observation_space = spaces.Box(-np.inf, np.inf, (4,), dtype=np.float32)
            self._noise = self.new_tape("normal", block=256)
            self._shown_noise = np.zeros((num_envs, 4))  # of the last step; an episode begins at the cue, without any
            self._rows = np.arange(num_envs)
        self.action_space = spaces.Discrete(4)
        self._x: IntArray = np.zeros(num_envs, dtype=np.int64)
        self._y: IntArray = np.zeros(num_envs, dtype=np.int64)  # -1 in the lower arm, 1 in the upper one, else 0
        self._goal_y: IntArray = np.ones(num_envs, dtype=np.int64)
        self._cue = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)

    def _place(self, start: int) -> None:
        """Lay the maze out: the cue is at x = 0, the agent begins at ``start``."""
        self.start = start
        self.junction = start + self.corridor_length
        self.step_limit = 2 * (start + self.junction + 1)  # twice what the way over the cue into an arm takes

    def begin_episodes(self, rows: IntArray) -> None:
        """Put the agents at the start and draw the goals' arms."""
        self._x[rows] = self.start
        self._y[rows] = self._steps[rows] = 0
        self._cue[rows] = [self.generator(row).integers(2) for row in rows.tolist()]
        self._goal_y[rows] = 1 - 2 * self._cue[rows]

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Move every agent; a move into a wall leaves it where it is."""
        # An episode ends in an arm, so nobody acts there: y was 0.
        self._y = _MOVE_Y[actions] * (self._x == self.junction)
        x_before = self._x
        self._x = (x_before + _MOVE_X[actions]).clip(0, self.junction)
        self._steps += 1
        terminated: BoolArray = self._y != 0
        truncated = (self._steps >= self.step_limit) & ~terminated
        lost = self._leads_nowhere(x_before) & ~terminated
        rewards = np.where(lost, -1.0 / self.corridor_length, self._y == self._goal_y)
        if self.noise_std:
            self._shown_noise = self._noise.take(self._rows, 4)
        return rewards, terminated, truncated

    def _leads_nowhere(self, x_before: IntArray) -> BoolArray:
        """Return whether the step that led from ``x_before`` to where the agents are now is to be paid for."""
        back: BoolArray = self._x <= x_before
        return back

    def observations(self) -> NDArray[Any]:
        """Return the cue at x = 0, else whether the row is in the corridor or at its end; perhaps with noise."""
        symbols: IntArray = np.where(self._x == 0, self._cue, CORRIDOR + (self._x == self.junction))
        if not self.noise_std:
            return symbols
        shown = np.eye(4, dtype=np.float32)[symbols]
        noisy = symbols == CORRIDOR
        shown[noisy] += self.noise_std * self._shown_noise[noisy]
        return shown

    def successes(self) -> BoolArray:
        """Return whether the agent stands in the arm that the cue named."""
        in_goal: BoolArray = self._y == self._goal_y
        return in_goal

    def states(self) -> IntArray:
        """Return x, y, the y of the goal and the number of steps taken."""
        return np.stack([self._x, self._y, self._goal_y, self._steps], axis=1)

    def render_row(self, row: int) -> str:
        """Draw the maze: A the agent, G the goal."""
        lines = [[" "] * self.junction + ["."], ["."] * (self.junction + 1)]
        lines.append(list(lines[0]))
        lines[1 - self._goal_y[row]][self.junction] = "G"
        lines[1 - self._y[row]][self._x[row]] = "A"
        return "\n".join("".join(line).rstrip() for line in lines) + "\n"


class TMazePassive(EngineEnv):
    """The passive T-maze.

    ## Description

                                    up
        S-----------------------------J
                                   down

    The agent starts at the left end S of a corridor, where a cue says which arm of the T-junction J holds the goal.
    From then on all places look alike until the junction, ``corridor_length`` steps later.  Only who remembers the
    cue can choose better than by a coin.

    ## Action Space

    `Discrete(4)`: 0 right, 1 up, 2 left, 3 down.  A move into a wall leaves the agent where it is: up and down
    anywhere but at the junction, left at the start, right at the junction.

    ## Observation Space

    `Discrete(4)`:

    | Num | Where                  | Meaning                     |
    |-----|------------------------|-----------------------------|
    | 0   | start                  | the goal is in the upper arm|
    | 1   | start                  | the goal is in the lower arm|
    | 2   | corridor               | nothing                     |
    | 3   | junction, either arm   | the corridor has ended      |

    Where the agent is in the corridor is hidden, and so is the time.

    With ``noise_std`` above 0 it is `Box(float32)` of four numbers: the symbol, one-hot, and in the corridor on each of
    them independent N(0, noise_std^2) at every step.  The cue and the junction are shown without noise, so that neither
    can be mistaken for the other: what is harder is to let nothing of the corridor in.

    ## Rewards

    With L = corridor_length:

    * a step to the right that brings the agent forward: 0;
    * the step into an arm: 1 if the goal is there, else 0;
    * any other step, that is, one that leads back or into a wall: -1/L.

    The optimum is 1, after L + 1 steps.

    The best agent without memory gets 0.5.  Its choice depends on the symbol that it sees and on nothing else.  The
    junction looks the same under both cues, so there it goes up with one probability u and down with another d,
    whatever the cue was and whatever happened before.  Let J_c be the expected number of its steps from the junction
    under cue c.  They may differ, for at the start it sees the cue and could wait under one of them.  It enters the
    upper arm with probability u J_c and any arm with probability (u + d) J_c, which is at most 1.  So it finds the
    goal with probability (u J_0 + d J_1) / 2 <= (u + d) max(J_0, J_1) / 2 <= 1/2.  No reward but the goal's is above
    0, hence its return is at most 1/2, which "right, then up" attains.  (The proof needs the time to be hidden: an
    agent that sees a clock can wait one step at the start under one cue, and tell the cue from the clock later.)

    The uniformly random agent pays for 3/4 of its steps and hardly ever reaches a distant junction in time: it gets
    -1.5 - 1.5/L, plus what arriving is worth, which is 0.64 at L = 1, 0.0012 at L = 10 and 4e-13 at L = 50.
    ``find_task`` has the exact value.

    ## Starting State

    x = 0; either arm holds the goal with probability 1/2.

    ## Episode End

    1. Termination: the agent enters an arm.
    2. Truncation: after 2 L + 2 steps, twice what is needed, unless the last of them enters an arm.

    ``info["is_success"]`` at the last step tells whether the agent stands in the goal's arm.

    ## Arguments

    * ``corridor_length`` (int, default 100, at least 1): steps from the cue to the junction.
    * ``noise_std`` (float, default 0, at least 0): standard deviation of the corridor's noise.
    * ``render_mode`` (None or "ansi").

    ## Origin, and Why the Scores Differ from It

    The task goes back to Bakker (2001).  Maze, actions and what is hidden are those of ``TMazeClassicPassive`` in
    Memory-RL (Ni et al. 2023), with ``penalty = -1/L``.  Our rules differ from Memory-RL's as follows:

    |                | Memory-RL                                   | here                                           |
    |----------------|---------------------------------------------|------------------------------------------------|
    | episode        | exactly L + 1 steps, wherever the agent is  | until an arm is entered, at most 2 L + 2 steps |
    | -1/L           | after step t < L + 1 if x < t               | for a step neither forward nor into an arm     |
    | goal's reward  | at step L + 1 only                          | on entering its arm                            |
    | cue            | at the start, the first time only           | whenever the agent is at the start             |
    | observation    | two numbers; the arms show which they are   | a symbol; the arms look like the junction      |

    There, one wrong step early on is paid for at every later step and makes the goal unreachable.  Nothing can be
    made good, so exploration decides whether an agent learns, and needs far more steps than memory does.  Here a
    wrong step costs once and can be made good, and what remains to be learned is to remember.  The optimum and the
    best memoryless return are 1 and 0.5 under both rules; everything in between differs, the steps that an agent
    needs to learn above all.  Do not compare results here with published ones.

    ## Version History

    * v0: initial version; ``noise_std`` was added without a change to what there was.

    ## References

    * Bakker (2001), "Reinforcement Learning with Long Short-Term Memory", NIPS 14.
    * Ni et al. (2023), "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment", NeurIPS 36,
      and its code, github.com/twni2016/Memory-RL.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 10}  # noqa: RUF012 (as Gymnasium declares it)

    engine = TMazePassiveEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return lengths and exact scores for these arguments; the class's docstring derives them."""
        engine = cls.engine(1, **kwargs)
        length, noisy = engine.corridor_length, "noisy " if engine.noise_std else ""
        return Facts(
            summary=f"remember a cue for {length} {noisy}steps, then take the arm it named",
            episode_length=2 * length + 2,
            memory_span=length,
            optimal_return=1.0,
            memoryless_return=0.5,
            random_return=_random_return(length),
            steps=budget(length),
        )


class TMazePassiveVector(EngineVectorEnv):
    """Many passive T-mazes of the same length; rules and arguments are in ``TMazePassive``."""

    engine = TMazePassiveEngine


def _random_return(corridor_length: int) -> float:
    """Return the mean return of uniformly random actions, exact but for rounding.

    The probabilities of all places are followed through an episode.  Above 100 places nobody reaches the junction in
    time (probability below 1e-23), and 3/4 of the 2 L + 2 steps cost 1/L each.
    """
    if corridor_length > 100:
        return -1.5 - 1.5 / corridor_length
    at = np.zeros(corridor_length + 1)  # probability of being at x, the episode not being over
    at[0] = 1.0
    total = 0.0
    for _ in range(2 * corridor_length + 2):
        goals, losses = at[-1] / 4, 3 / 4 * at[:-1].sum() + at[-1] / 2
        total += goals - losses / corridor_length
        quarter, at = at / 4, at / 2  # up and down stay ...
        at[-1] = 0.0  # ... except at the junction, where they end the episode
        at += np.append(quarter[1:], quarter[-1])  # left, and right at the junction
        at += np.insert(quarter[:-1], 0, quarter[0])  # right, and left at the start
    return float(total)


def budget(corridor_length: int) -> int:
    """Return a budget that grows with the corridor: 0.4M steps up to 100, 3M at 500, 5000 a place from 1,000 on."""
    if corridor_length > 1000:
        return 5000 * corridor_length
    return round(np.interp(corridor_length, [100, 500, 1000], [400_000, 3_000_000, 5_000_000]))
