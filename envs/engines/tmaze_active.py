"""The active T-maze: the cue must be fetched first, on the side away from the decision that needs it.

The task is Memory-RL's ``TMazeClassicActive`` (Ni et al. 2023, ``envs/tmaze.py``) under the rules of our
``TMazePassive``: mistakes can be made good.  What differs and why stands there; scores of the two cannot be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from s7rl.envs.batched import BoolArray, EngineEnv, EngineVectorEnv, IntArray, check_count
from s7rl.envs.engines.tmaze import TMazePassiveEngine
from s7rl.envs.suites.suite import Facts

_FEASIBLE_WALK = 100_000_000
"""Places times steps up to which the random agent is followed through the maze: about a second."""


class TMazeActiveEngine(TMazePassiveEngine):
    """The passive maze with the start moved away from the cue; a row also knows whether it has seen the cue."""

    def __init__(self, num_envs: int, corridor_length: int = 100, oracle_distance: int = 1) -> None:
        """Build ``num_envs`` mazes of the same lengths."""
        super().__init__(num_envs, corridor_length)
        self._place(start=check_count("oracle_distance", oracle_distance))
        self._informed = np.zeros(num_envs, dtype=np.bool_)

    def begin_episodes(self, rows: IntArray) -> None:
        """Put the agents at the start and draw the goals' arms."""
        super().begin_episodes(rows)
        self._informed[rows] = False

    def _leads_nowhere(self, x_before: IntArray) -> BoolArray:
        # Who has not seen the cue yet may look for it.
        back: BoolArray = (self._x == x_before) | (self._informed & (self._x < x_before))
        self._informed |= self._x == 0
        return back

    def states(self) -> IntArray:
        """Return x, y, the y of the goal, the number of steps taken and whether the cue has been seen."""
        return np.column_stack([super().states(), self._informed])

    def render_row(self, row: int) -> str:
        """Draw the maze: A the agent, G the goal, O the oracle."""
        above, corridor, below = super().render_row(row).splitlines()
        return "\n".join([above, corridor if self._x[row] == 0 else "O" + corridor[1:], below]) + "\n"


class TMazeActive(EngineEnv):
    """The active T-maze.

    ## Description

                                        up
        O---S-----------------------------J
                                       down

    The agent starts at S in a corridor.  Which arm of the T-junction J, ``corridor_length`` steps to the right, holds
    the goal is told by an oracle O, ``oracle_distance`` steps to the left.  All other places look alike until the
    junction.  The agent must find out that the detour to the left pays, long after it was made, and then remember the
    cue from the oracle to the junction: ``oracle_distance + corridor_length`` steps.

    ## Action Space

    `Discrete(4)`: 0 right, 1 up, 2 left, 3 down.  A move into a wall leaves the agent where it is: up and down
    anywhere but at the junction, left at the oracle, right at the junction.

    ## Observation Space

    `Discrete(4)`:

    | Num | Where                  | Meaning                     |
    |-----|------------------------|-----------------------------|
    | 0   | oracle                 | the goal is in the upper arm|
    | 1   | oracle                 | the goal is in the lower arm|
    | 2   | start, corridor        | nothing                     |
    | 3   | junction, either arm   | the corridor has ended      |

    Where the agent is in the corridor is hidden, and so are the time and whether the oracle has been visited.

    ## Rewards

    With L = corridor_length and o = oracle_distance:

    * the step into an arm: 1 if the goal is there, else 0;
    * a step into a wall: -1/L;
    * a step to the left after the oracle has been visited: -1/L;
    * any other step, that is, one to the right, or one to the left on the way to the oracle: 0.

    The optimum is 1, after 2 o + L + 1 steps.  Who does without the cue gets 0.5 after L + 1 steps: nothing but the
    goal itself tells that the detour pays.

    The best agent without memory gets 0.5.  Its choice at the junction is the same under both cues: up with
    probability u, down with d.  With J_c the expected number of its steps from the junction under cue c, it enters
    the upper arm with probability u J_c and any arm with probability (u + d) J_c <= 1.  So it finds the goal with
    probability (u J_0 + d J_1) / 2 <= (u + d) max(J_0, J_1) / 2 <= 1/2.  No other reward is above 0; "right, then up"
    attains 1/2.  (As in ``TMazePassive``, the proof needs the time to be hidden.)

    The uniformly random agent pays for half of its steps before it has found the oracle and for 3/4 of them
    afterwards.  Where it cannot reach the junction in time, its return is therefore exactly

        -(1/L) (T/2 + 1/4 sum_{t=o}^{T-1} (T - t) f_t),    f_t = (o/t) C(2t, t+o) / 4^t,

    with T = 4 o + 2 L + 2 steps and f_t the probability that it finds the oracle at step t: its x is half a simple
    symmetric walk of twice as many steps, whose first passage the hitting-time theorem gives (Feller 1968, III.7).
    In shorter corridors ``facts`` follows the probabilities of all places through an episode; it knows no random
    score where that would take seconds, with an oracle thousands of steps away and farther than the junction.

    ## Starting State

    x = o, the oracle being at x = 0; either arm holds the goal with probability 1/2.

    ## Episode End

    1. Termination: the agent enters an arm.
    2. Truncation: after 2 (2 o + L + 1) steps, twice what is needed, unless the last of them enters an arm.

    ``info["is_success"]`` at the last step tells whether the agent stands in the goal's arm.

    ## Arguments

    * ``corridor_length`` (int, default 100, at least 1): steps from the start to the junction.
    * ``oracle_distance`` (int, default 1, at least 1): steps from the start to the oracle.
    * ``render_mode`` (None or "ansi").

    ## Origin, and Why the Scores Differ from It

    Maze, actions and what is hidden are those of ``TMazeClassicActive`` in Memory-RL with ``penalty = -1/L``, where
    the oracle is 1 step away.  There an episode has exactly 2 o + L + 1 steps, only the last one pays for the goal, a
    step after the first o is paid for where the agent is behind the shortest way over the oracle, and the cue is shown
    once.  The table in ``TMazePassive`` says what the same changes do to the passive task, and why we made them.

    ## Version History

    * v0: initial version.

    ## References

    * Ni et al. (2023), "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment", NeurIPS 36,
      and its code, github.com/twni2016/Memory-RL.
    * Feller (1968), "An Introduction to Probability Theory and Its Applications", vol. 1, 3rd edition.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 10}  # noqa: RUF012 (as Gymnasium declares it)

    engine = TMazeActiveEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the lengths and scores for these arguments, as derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        length, distance = engine.corridor_length, engine.start
        return Facts(
            summary=f"fetch a cue from the left, remember it for {distance + length} steps, take the arm it named",
            episode_length=engine.step_limit,
            memory_span=distance + length,
            optimal_return=1.0,
            memoryless_return=0.5,
            random_return=_random_return(length, distance),
            steps=max(1_000_000, 5_000 * (length + 2 * distance)),
        )


class TMazeActiveVector(EngineVectorEnv):
    """Many active T-mazes of the same lengths; rules and arguments are in ``TMazeActive``."""

    engine = TMazeActiveEngine


def _random_return(length: int, distance: int) -> float | None:
    """Return the mean return of uniformly random actions, exact but for rounding; None where it takes too long."""
    num_steps = 4 * distance + 2 * length + 2
    # By Hoeffding's inequality the junction is reached in time with probability 4 exp(-length^2 / num_steps) at most.
    if length**2 > 64 * num_steps:
        return _random_return_without_a_junction(length, distance, num_steps)
    if (distance + length + 1) * num_steps > _FEASIBLE_WALK:
        return None
    return _random_return_by_walking(length, distance, num_steps)


def _random_return_without_a_junction(length: int, distance: int, num_steps: int) -> float:
    times = np.arange(distance, num_steps, dtype=np.float64)
    before = times[:-1]
    # C(2t, t+o) / 4^t from one t to the next, beginning with 4^-o at t = o; as logarithms, lest it underflow.
    growth = np.log((2 * before + 1) * (before + 1)) - np.log(2 * (before + 1 + distance) * (before + 1 - distance))
    logs = np.concatenate([[0.0], np.cumsum(growth)]) - distance * np.log(4.0)
    passages = distance / times * np.exp(logs)
    informed_steps = float(passages @ (num_steps - times))
    return -(num_steps / 2 + informed_steps / 4) / length


def _random_return_by_walking(length: int, distance: int, num_steps: int) -> float:
    # Probability of each place, the cue not yet seen (row 0) or seen (row 1), the episode not being over.
    at = np.zeros((2, distance + length + 1))
    at[0, distance] = 1.0
    total = 0.0
    for _ in range(num_steps):
        unseen, seen = at
        losses = unseen[:-1].sum() / 2 + unseen[-1] / 4 + 3 / 4 * seen[:-1].sum() + seen[-1] / 2
        total += (unseen[-1] + seen[-1]) / 4 - losses / length
        quarter, at = at / 4, at / 2  # up and down stay ...
        at[:, -1] = quarter[:, -1]  # ... except at the junction, where they end the episode; there, right stays
        at[:, 0] += quarter[:, 0]  # left, at the oracle
        at[:, :-1] += quarter[:, 1:]
        at[:, 1:] += quarter[:, :-1]
        at[1, 0] += at[0, 0]
        at[0, 0] = 0.0
    return float(total)
