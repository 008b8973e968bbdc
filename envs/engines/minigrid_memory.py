"""MiniGrid's Memory environments, batched: a walk on tables.

Observations (as ``MiniGridVectorObservation`` encodes them), rewards and ends are MiniGrid's exactly, seed by seed,
some hundred times faster: MiniGrid spends 97 % of a step on computing the view, which is looked up here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.envs.batched import BoolArray, Engine, EngineVectorEnv, IntArray, StepResult, check_count
from s7rl.envs.engines.minigrid_memory_maze import (
    LOWER_GOAL,
    NO_GOAL,
    NUM_DIRECTIONS,
    UPPER_GOAL,
    compute_views,
    hallway_ends,
    make_hallway,
)
from s7rl.envs.wrappers.minigrid import hot_indices, vector_space

SMALLEST_SIZE = 7


class MemoryEngine(Engine):
    """The rules of MiniGrid's MemoryEnv; the state of a row is its node in the graph of all layouts and the step."""

    def __init__(
        self,
        num_envs: int,
        size: int = 11,
        random_length: bool = False,
        max_steps: int | None = None,
        agent_view_size: int = 7,
    ) -> None:
        """Tabulate the mazes; ``MemoryVector`` describes the arguments."""
        super().__init__(num_envs)
        if size == 5:
            raise ValueError(
                "size (5) must be at least 7 here; pass --engine minigrid or workers='single', and minigrid plays it."
            )
        self.size = check_odd("size", size, SMALLEST_SIZE)
        self.random_length = random_length
        self.max_steps = check_count("max_steps", 5 * size**2 if max_steps is None else max_steps)
        check_odd("agent_view_size", agent_view_size, 3)
        self.action_space = spaces.Discrete(7)
        self._hallways = [make_hallway(size, end) for end in hallway_ends(size, random_length)]
        self._tabulate_graph()
        views = compute_views(size, self._hallways, agent_view_size)
        self.observation_space = vector_space(views.images.shape[1:])
        self._view_of = views.index.astype(np.int64)
        self._vectors = np.zeros((len(views.images), *self.observation_space.shape), dtype=np.float32)
        for vector, image, direction in zip(self._vectors, views.images, views.directions, strict=True):
            vector[hot_indices(image, int(direction))] = 1.0
        self._nodes = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the layouts and the agents' places."""
        for row in rows.tolist():
            self._nodes[row] = self._draw_start(self.generator(row))
        self._steps[rows] = 0

    def _draw_start(self, rng: np.random.Generator) -> int:
        # In MiniGrid's order.
        first_end = self._hallways[0].end
        end = int(rng.integers(first_end, self.size - 2)) if self.random_length else first_end
        x = int(rng.integers(1, end + 1))
        layout = 2 * int(rng.integers(2)) + int(rng.integers(2))
        hallway = end - first_end
        return int(self._first_node[hallway, layout]) + (x - 1) * NUM_DIRECTIONS

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Walk one edge of the graph."""
        self._nodes = self._next_node[self._nodes, actions]
        self._steps += 1
        succeeded = self._success[self._nodes]
        rewards = succeeded * (1 - 0.9 * (self._steps / self.max_steps))
        return rewards, succeeded | self._failure[self._nodes], self._steps >= self.max_steps

    def observations(self) -> NDArray[np.float32]:
        """Return the encoded views."""
        vectors: NDArray[np.float32] = self._vectors.take(self._view_of[self._nodes], axis=0)
        return vectors

    def successes(self) -> BoolArray:
        """Return whether each agent stands beside the matching object."""
        at_match: BoolArray = self._success[self._nodes]
        return at_match

    def states(self) -> IntArray:
        """Return x, y, direction, end of the hallway, cue, order of the objects and the number of steps.

        Cue 0 is a key and 1 a ball; order 0 is the ball above the key, 1 the key above the ball.
        """
        return np.column_stack([self._places[self._nodes], self._steps])

    def _tabulate_graph(self) -> None:
        """Number the nodes by hallway, cue, order, cell and direction, and join the hallways' tables."""
        next_node, success, failure, places = [], [], [], []
        self._first_node = np.zeros((len(self._hallways), 4), dtype=np.int64)
        first = 0
        for number, hallway in enumerate(self._hallways):
            goals = np.repeat(hallway.goals, NUM_DIRECTIONS)
            directions = np.tile(np.arange(NUM_DIRECTIONS), len(hallway.cells))
            cells = np.repeat(hallway.cells, NUM_DIRECTIONS, axis=0)
            for cue in (0, 1):
                for order in (0, 1):
                    # The upper object is a ball for order 0 and a key for order 1.
                    goal = UPPER_GOAL if cue != order else LOWER_GOAL
                    self._first_node[number, 2 * cue + order] = first
                    next_node.append(first + hallway.next_place)
                    success.append(goals == goal)
                    failure.append((goals != goal) & (goals != NO_GOAL))
                    same = np.broadcast_to((hallway.end, cue, order), (len(goals), 3))
                    places.append(np.column_stack([cells, directions, same]).astype(np.int16))
                    first += len(goals)
        self._next_node = np.concatenate(next_node)
        self._success = np.concatenate(success)
        self._failure = np.concatenate(failure)
        self._places = np.concatenate(places)


def check_odd(name: str, value: int, minimum: int) -> int:
    """Return ``value`` as an int, or say in one line why it cannot be a side of a maze or a view."""
    value = check_count(name, value, minimum)
    if value % 2 == 0:
        raise ValueError(f"{name} ({value}) must be odd, as it has a middle; pass {value - 1} or {value + 1}.")
    return value


class MemoryVector(EngineVectorEnv):
    """Many of MiniGrid's Memory environments, encoded as by ``MiniGridVectorObservation``.

    ## Arguments

    Those of MiniGrid's MemoryEnv that a policy can tell from each other:

    * ``size`` (odd int, default 11, at least 7): cells of a side of the maze, walls included.
    * ``random_length`` (bool, default False): whether the length of the hallway is drawn anew for every episode.
    * ``max_steps`` (int, default 5 size^2, at least 1): steps after which an episode is truncated.
    * ``agent_view_size`` (odd int, default 7, at least 3): cells of a side of the square that the agent sees.
    """

    engine = MemoryEngine
