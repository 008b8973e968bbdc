"""Key-to-door: a key pays only much later, after a phase whose noisy rewards have nothing to do with it.

After the tasks of Hung et al. (2019) and Mesnard et al. (2021), who built them as grid worlds seen in pixels.  Here
everything is as small as the idea allows, so that all scores are known; what differs stands in ``KeyToDoor``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.checks import FLAG, number
from s7rl.envs.batched import BoolArray, Engine, EngineEnv, EngineVectorEnv, IntArray, StepResult, check_count
from s7rl.envs.suites.suite import Facts

LEFT, RIGHT = range(2)
APPLE_REWARD = number("it is the mean reward of an apple", least=0.0)


class KeyToDoorEngine(Engine):
    """The rules of key-to-door; ``states`` says what is hidden."""

    def __init__(
        self,
        num_envs: int,
        distractor_length: int = 100,
        apple_reward: float = 0.1,
        match_color: bool = True,
        room_radius: int = 2,
    ) -> None:
        """Build ``num_envs`` games with phases of equal lengths."""
        super().__init__(num_envs)
        self.distractor_length = check_count("distractor_length", distractor_length, minimum=0)
        APPLE_REWARD.check("apple_reward", apple_reward)
        self.apple_reward = float(apple_reward)
        FLAG.check("match_color", match_color)
        self.match_color = bool(match_color)
        self.room_radius = check_count("room_radius", room_radius)
        self.num_colors = 2 if self.match_color else 1
        # The symbols after those of the key, 2 color + side.
        self.empty = 2 * self.num_colors
        self.apple = self.empty + 1
        self.door = self.apple + 2
        self.apples_begin = 2 * self.room_radius  # twice what the way to the key takes
        self.doors_begin = self.apples_begin + self.distractor_length
        self.step_limit = self.doors_begin + 2 * self.room_radius
        self.observation_space = spaces.Discrete(self.door + 2)
        self.action_space = spaces.Discrete(2)
        self._tape = self.new_tape("uniform")
        self._rows = np.arange(num_envs)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._x: IntArray = np.zeros(num_envs, dtype=np.int64)
        self._color = np.zeros(num_envs, dtype=np.int64)
        self._key_side = np.zeros(num_envs, dtype=np.int64)
        self._door_side = np.zeros(num_envs, dtype=np.int64)  # of the first color's door
        self._has_key = np.zeros(num_envs, dtype=np.bool_)
        self._apple_side: IntArray = np.zeros(num_envs, dtype=np.int64)
        self._apple_is_good: IntArray = np.zeros(num_envs, dtype=np.int64)
        self._opened = np.zeros(num_envs, dtype=np.bool_)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the key, its color, and the doors; put the agents in the middle of the first room."""
        draws = self._tape.integers(rows, 2, 3)
        self._key_side[rows] = draws[:, 0]
        self._door_side[rows] = draws[:, 1]
        self._color[rows] = draws[:, 2] * self.match_color
        self._steps[rows] = self._x[rows] = 0
        self._has_key[rows] = False
        if self.distractor_length:
            self._draw_apples(rows)

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Move every agent; it takes the key, eats the apple or enters the door that it walks into."""
        at_key, at_doors = self._steps < self.apples_begin, self._steps >= self.doors_begin
        eats = (actions == self._apple_side) & ~(at_key | at_doors)
        rewards = eats * self._apple_is_good * (2.0 * self.apple_reward)
        x = (self._x + 2 * actions - 1).clip(-self.room_radius, self.room_radius)
        self._has_key |= at_key & (x == self._place(self._key_side))
        fitting = at_doors & (x == self._place(self._door_side ^ self._color))
        entered = at_doors & (np.abs(x) == self.room_radius) if self.match_color else fitting
        self._opened = fitting & self._has_key
        self._steps += 1
        # Every room is entered in its middle, and apples come to the agent.
        self._x = x * ((self._steps < self.apples_begin) | (self._steps > self.doors_begin))
        if self.distractor_length:
            self._draw_apples(self._rows)
        return rewards + self._opened, entered | (self._steps == self.step_limit), np.zeros(self.num_envs, np.bool_)

    def observations(self) -> IntArray:
        """Return the key, or that there is none, the apple or the doors."""
        key = np.where(self._has_key, self.empty, 2 * self._color + self._key_side)
        later = np.where(self._steps < self.doors_begin, self.apple + self._apple_side, self.door + self._door_side)
        return np.where(self._steps < self.apples_begin, key, later)

    def successes(self) -> BoolArray:
        """Return whether the door was opened."""
        opened: BoolArray = self._opened.copy()
        return opened

    def states(self) -> IntArray:
        """Return steps taken, x, whether the key was taken, the sides of key, its door and apple, the apple's value.

        Sides are 0 left and 1 right; the value is 1 for an apple that pays and 0 for one that does not.
        """
        door = self._door_side ^ self._color
        columns = (self._steps, self._x, self._has_key, self._key_side, door, self._apple_side, self._apple_is_good)
        return np.stack(columns, axis=1)

    def render_row(self, row: int) -> str:
        """Draw the room: A the agent; K the key, a the apple, D the door; K and k, D and d are of one color each."""
        radius = self.room_radius
        cells = ["."] * (2 * radius + 1)
        if self._steps[row] < self.apples_begin:
            if not self._has_key[row]:
                cells[radius + self._place(self._key_side[row])] = "Kk"[self._color[row]]
        elif self._steps[row] < self.doors_begin:
            cells[radius + 2 * self._apple_side[row] - 1] = "a"
        else:
            cells[radius + self._place(self._door_side[row])] = "D"
            if self.match_color:
                cells[radius - self._place(self._door_side[row])] = "d"
        cells[radius + self._x[row]] = "A"
        return "".join(cells) + "\n"

    def _draw_apples(self, rows: IntArray) -> None:
        kinds = self._tape.integers(rows, 4, 1)[:, 0]
        self._apple_side[rows], self._apple_is_good[rows] = kinds & 1, kinds >> 1

    def _place(self, side: Any) -> Any:
        """Return the x of a side of the room."""
        return (2 * side - 1) * self.room_radius


class KeyToDoor(EngineEnv):
    """Key to door: delayed reward behind a phase of noisy rewards.

    ## Description

    Three phases follow each other at fixed times:

    1. A room with a key of one of two colors at its left or right end.  Color and side are seen until it is taken.
       Taking it pays nothing.
    2. ``distractor_length`` apples, one at each step, on the left or the right.  Eating one pays at random.
    3. A room with a door of either color at its ends.  It is seen which is where.  Entering the door of the key's color
       pays, if the agent has the key.

    What the agent does in the first phase decides about the reward in the last, and what it is paid in between is noise
    that has nothing to do with it.  So the task needs **memory**, of the color, and **credit assignment**, from the
    door back to the key.  With ``match_color=False`` there is one color and one door, at either end, and all that a
    decision needs is seen: the best agent without memory attains the optimum, and what is left is credit assignment
    alone.  An agent that solves this one and not the other lacks memory; one that solves neither does not get as far.

    ## Action Space

    `Discrete(2)`: 0 left, 1 right.  In the rooms a move of one place, unless there is a wall; in the second phase the
    side on which the agent bites.

    ## Observation Space

    `Discrete(9)`, or `Discrete(7)` with ``match_color=False``:

    | Num  | one color | Phase | Meaning                                                                  |
    |------|-----------|-------|--------------------------------------------------------------------------|
    | 0, 1 | 0, 1      | 1     | the key (of the first color) is on the left, right                       |
    | 2, 3 |           | 1     | the key of the second color is on the left, right                        |
    | 4    | 2         | 1     | the key has been taken                                                   |
    | 5, 6 | 3, 4      | 2     | the apple is on the left, right                                          |
    | 7, 8 | 5, 6      | 3     | the door (of the first color) is on the left, right (the other opposite) |

    Where the agent is in a room is hidden, and so are the time and whether it has the key in phases 2 and 3.

    ## Rewards

    * Eating an apple: 0 or 2 ``apple_reward``, with probability 1/2 each, independent of everything else.
    * Entering the door that fits, with the key: 1.
    * All else: 0.

    With D = distractor_length, r = radius of the rooms and a = apple_reward, the optimum is 1 + D a on average.  The
    best agent without memory gets 1/2 + D a; with ``match_color=False``, the optimum.  In the last room it acts on the
    arrangement of the doors, which is independent of the key's color, and begins in the middle whatever happened
    before.  So, given the arrangement, it enters the first color's door with a probability p and the other with q,
    p + q <= 1, under either color, and it opens a door with probability (p + q) / 2 <= 1/2 at most.  Taking every key
    and going to one color's door attains this, and eating all apples does not interfere.

    The random agent eats half of the apples.  It reaches a given end of a room in time with probability h, and so gets
    h^2 + D a / 2.  (With colors and two doors, either is reached with probability h: in 2 r steps nobody gets to both.)
    By the reflection principle h = P(S >= r) + P(S > r), S being the place of a simple random walk after 2 r steps:
    1/2 at r = 1, 3/8 at r = 2.

    ## Starting State

    Sides and color are independent and uniform; the agent stands in the middle of each room when its phase begins.

    ## Episode End

    1. Termination: the agent enters a door, with or without the key, or the last phase is over.  The first and the last
       phase have 2 r steps, twice the way from the middle to the end.
    2. Truncation: never.

    ``info["is_success"]`` at the last step tells whether the agent opened the door.

    ## Arguments

    * ``distractor_length`` (int, default 100, at least 0): steps of the second phase.
    * ``apple_reward`` (float, default 0.1, at least 0): mean reward of an apple.  The rewards of all apples vary with a
      standard deviation of apple_reward * sqrt(distractor_length), 1 by default, as much as the door pays.
    * ``match_color`` (bool, default True): whether there are two colors and two doors.
    * ``room_radius`` (int, default 2, at least 1): places from the middle to the end of the rooms.
    * ``render_mode`` (None or "ansi").

    ## Origin, and What Differs from It

    In Hung et al. (2019), and with rewards of low or high variance in Mesnard et al. (2021), three grid worlds are seen
    in pixels through a small window, apples lie around in the second, and the agent walks to each of them.  Here rooms
    are lines, what matters is seen as one symbol, and apples come to the agent.  The order of phases and what pays are
    theirs, with ``match_color=False``; scores cannot be compared.  The two colors are our addition.

    ## Version History

    * v0: initial version.

    ## References

    * Hung et al. (2019), "Optimizing Agent Behavior over Long Time Scales by Transporting Value", Nature Communications
      10:5223.
    * Mesnard et al. (2021), "Counterfactual Credit Assignment in Model-Free Reinforcement Learning", ICML.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 10}  # noqa: RUF012 (as Gymnasium declares it)

    engine = KeyToDoorEngine

    @classmethod
    def facts(cls, **kwargs: Any) -> Facts:
        """Return the lengths and exact scores for these arguments, as derived in the class's docstring."""
        engine = cls.engine(1, **kwargs)
        radius, length = engine.room_radius, engine.distractor_length
        apples = length * engine.apple_reward
        return Facts(
            summary=f"take a key, eat apples for {length} steps, then enter the door"
            + (" of the key's color" if engine.match_color else ""),
            episode_length=engine.step_limit,
            # The color is last seen before the key is taken; without colors there is nothing to remember.
            memory_span=radius + length + 1 if engine.match_color else None,
            optimal_return=1 + apples,
            memoryless_return=(0.5 if engine.match_color else 1) + apples,
            random_return=_chance_to_reach_an_end(radius) ** 2 + apples / 2,
            steps=max(1_000_000, 5_000 * engine.step_limit),
        )


class KeyToDoorVector(EngineVectorEnv):
    """Many games of the same lengths; rules and arguments are in ``KeyToDoor``."""

    engine = KeyToDoorEngine


def _chance_to_reach_an_end(radius: int) -> float:
    """Return the probability that a simple walk of ``2 radius`` steps visits ``radius``."""
    num_steps = 2 * radius
    paths, term = 0, 1  # term: the number of walks with ``ups`` steps up
    for ups in range(num_steps, 0, -1):
        place = 2 * ups - num_steps
        if place < radius:
            break
        paths += term * (1 if place == radius else 2)
        term = term * ups // (num_steps - ups + 1)
    return float(Fraction(paths, 2**num_steps))
