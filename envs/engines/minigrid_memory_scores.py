"""What can be scored in MiniGrid's Memory environments, computed exactly from the tables of the mazes.

All returns are means over layouts and starts.  Success at step t pays 1 - 0.9 t / max_steps, all else nothing.

**The best agent** enters an arm only when it knows that it is the right one: a guess halves the return, while looking
costs 0.36 / size + 1.8 / size^2 at most with MiniGrid's limit of 5 size^2 steps.  It then wants as few steps as
possible on average.  What it knows is a belief: the set of (layout, place) that agree with all it has seen.  Mazes move
by rules without chance, so an action leads every member of a belief on and the new view splits it into smaller ones.
``best_steps`` finds all beliefs that can come up and solves Bellman's equation over them.

**Without memory.**  If the cue cannot be seen from the cell between the arms, in whatever direction, then an agent that
acts on its last view enters an arm without knowing: whatever it did before, it came there by the same step to the
right.  It succeeds half the time, and the best it can do is to go to an arm on the shortest way (``guess_steps``).  If
the cue can be seen from there (``cue_shows_between_the_arms``), one view may show everything, and only searches tell
what is possible.

**Random actions** (``random_return``): the probabilities of all places are followed through an episode.
"""

from __future__ import annotations

import numpy as np
from minigrid.core.actions import Actions
from numpy.typing import NDArray

from s7rl.envs.engines.minigrid_memory_maze import (
    LOWER_GOAL,
    NO_GOAL,
    NUM_DIRECTIONS,
    UPPER_GOAL,
    Hallway,
    compute_views,
    hallway_ends,
    make_hallway,
)

_MOVES = (Actions.left, Actions.right, Actions.forward)
_Belief = tuple[NDArray[np.int64], NDArray[np.float64]]  # nodes, ascending, and their probabilities


def best_steps(size: int, random_length: bool = False, view_size: int = 7) -> float:
    """Return the mean steps to success of the best agent.

    The beliefs are 186 at size 7 and 17,159 at size 101, which takes 8 s; with a random length size 41 takes 15 s and
    size 101 three minutes.
    """
    hallways = [make_hallway(size, end) for end in hallway_ends(size, random_length)]
    view_of = compute_views(size, hallways, view_size).index
    next_node, goals, starts, chances = [], [], [], []
    first = 0
    for hallway in hallways:
        kinds = np.repeat(hallway.goals, NUM_DIRECTIONS)
        for cue in (0, 1):
            for order in (0, 1):
                match = UPPER_GOAL if cue != order else LOWER_GOAL
                next_node.append(first + hallway.next_place[:, _MOVES])
                goals.append(np.where(kinds == match, 1, np.where(kinds == NO_GOAL, 0, -1)))
                starts.append(first + NUM_DIRECTIONS * np.arange(hallway.end))
                chances.append(np.full(hallway.end, 1 / (4 * len(hallways) * hallway.end)))
                first += len(kinds)
    beliefs = _Beliefs(np.concatenate(next_node), np.concatenate(goals), view_of)
    return beliefs.solve(np.concatenate(starts), np.concatenate(chances))


class _Beliefs:
    """All beliefs that can come up, and what each move makes of them."""

    def __init__(self, next_node: NDArray[np.int64], goals: NDArray[np.int64], view_of: NDArray[np.int32]) -> None:
        self._next_node, self._goals, self._view_of = next_node, goals, view_of
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._new: list[_Belief] = []

    def solve(self, starts: NDArray[np.int64], chances: NDArray[np.float64]) -> float:
        """Return the least mean steps to success, for starts with these probabilities."""
        first = self._split(starts, chances)
        mass: list[float] = []
        followers: list[list[list[int]]] = []
        while len(followers) < len(self._new):  # grows while we walk along it
            belief = self._new[len(followers)]
            mass.append(float(belief[1].sum()))
            followers.append(self._follow(belief))
        to_go = [np.inf] * len(mass)
        changed = True
        while changed:
            changed = False
            # Beliefs that were found late are nearer to the goal.
            for number in reversed(range(len(mass))):
                best = min((mass[number] + sum(to_go[n] for n in after) for after in followers[number]), default=np.inf)
                if best < to_go[number] - 1e-12:
                    to_go[number] = best
                    changed = True
        return float(sum(to_go[number] for number in first))

    def _follow(self, belief: _Belief) -> list[list[int]]:
        """The beliefs after each move, but those that might enter the wrong arm."""
        nodes, chances = belief
        after = []
        for moved in self._next_node[nodes].T:
            goals = self._goals[moved]
            if (goals >= 0).all():
                on = goals == 0
                after.append(self._split(moved[on], chances[on]))
        return after

    def _split(self, nodes: NDArray[np.int64], chances: NDArray[np.float64]) -> list[int]:
        """The numbers of the beliefs that nodes belong to after their views have been seen."""
        views = self._view_of[nodes]
        numbers = []
        for view in np.unique(views):
            members, place = np.unique(nodes[views == view], return_inverse=True)
            weights: NDArray[np.float64] = np.bincount(place, chances[views == view]).astype(np.float64)
            key = (members.tobytes(), weights.round(12).tobytes())
            if key not in self._numbers:
                self._numbers[key] = len(self._new)
                self._new.append((members.astype(np.int64), weights))
            numbers.append(self._numbers[key])
        return numbers


def guess_steps(size: int, random_length: bool = False) -> float:
    """Return the mean steps of an agent that walks to the end, turns, and enters the arm before it."""
    return float(np.mean([(end + 1) / 2 + 2 for end in hallway_ends(size, random_length)]))


def cue_shows_between_the_arms(size: int, random_length: bool = False, view_size: int = 7) -> bool:
    """Return whether, for some length of the hallway, a view between the arms depends on the cue."""
    for end in hallway_ends(size, random_length):
        hallway = make_hallway(size, end)
        views = compute_views(size, [hallway], view_size).index.reshape(2, 2, len(hallway.cells), NUM_DIRECTIONS)
        between = (hallway.cells == (end + 1, size // 2)).all(axis=1)
        if (views[0] != views[1])[:, between].any():
            return True
    return False


def random_return(size: int, random_length: bool, max_steps: int) -> float:
    """Return the mean return of uniformly random actions, exact but for rounding."""
    returns = [_random_return(make_hallway(size, end), max_steps) for end in hallway_ends(size, random_length)]
    return float(np.mean(returns))


def _random_return(hallway: Hallway, max_steps: int) -> float:
    num_places = len(hallway.next_place)
    at = np.zeros(num_places)
    at[np.arange(hallway.end) * NUM_DIRECTIONS] = 1 / hallway.end
    over = np.repeat(hallway.goals, NUM_DIRECTIONS) != NO_GOAL
    # Where an action leads to is the same for four of seven; turning and walking are bijections but for walls.
    num_actions = hallway.next_place.shape[1]
    total = 0.0
    left, right, forward = (hallway.next_place[:, move] for move in _MOVES)
    for step in range(1, max_steps + 1):
        share = at / num_actions
        at = (num_actions - 3) * share
        at += share[left] + share[right]  # the place that a turn to the left leads to is left by a turn to the right
        at += np.bincount(forward, share, num_places)
        total += at[over].sum() / 2 * (1 - 0.9 * (step / max_steps))
        at[over] = 0.0
    return total
