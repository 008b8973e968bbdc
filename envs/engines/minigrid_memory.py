"""MiniGrid's Memory environments, batched by tabulating them.

In ``minigrid.envs.MemoryEnv`` nothing but the agent ever moves: ``pickup`` and ``toggle`` do nothing to a key or a
ball, and there is nothing to drop.  An episode is therefore a walk on the finite graph of (layout, cell, direction).
The engine asks MiniGrid itself for every node's view, once, and then only looks things up.  It gives MiniGrid's
observations (as ``MiniGridVectorObservation`` encodes them), rewards and ends exactly, seed by seed, some hundred
times faster: MiniGrid spends 97 % of a step on computing the view.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.actions import Actions
from minigrid.core.constants import DIR_TO_VEC
from minigrid.core.world_object import Ball, Key
from minigrid.envs import MemoryEnv
from numpy.typing import NDArray

from s7rl.envs.batched import BoolArray, Engine, EngineVectorEnv, IntArray, StepResult, check_count
from s7rl.envs.wrappers.minigrid import NUM_DIRECTIONS, hot_indices, vector_size, vector_space

_NO_GOAL, _SUCCESS, _FAILURE = range(3)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """One of the mazes that an episode may take place in."""

    hallway_end: int
    """Column of the wall with the opening to the vertical hallway."""
    cue: int
    """Object in the start room: 0 key, 1 ball."""
    order: int
    """Objects at the split: 0 ball above key, 1 key above ball."""


class _ScriptedMemoryEnv(MemoryEnv):  # type: ignore[misc]
    """MiniGrid's environment whose random choices are made by us, so that each layout can be asked for."""

    def build(self, layout: _Layout) -> None:
        """Build one layout; the agent stands somewhere in the hallway."""
        self._layout = layout
        self._gen_grid(self.width, self.height)
        self.carrying = None

    def _rand_int(self, low: int, high: int) -> int:
        # The first draw of a random length is the hallway's end, all others the agent's start.
        return self._layout.hallway_end if low == 4 else low

    def _rand_elem(self, iterable: Any) -> Any:
        options = list(iterable)
        return options[self._layout.cue if options == [Key, Ball] else self._layout.order]


class MemoryEngine(Engine):
    """The rules of MiniGrid's MemoryEnv; the state of a row is (node, success position, failure position, step)."""

    def __init__(
        self,
        num_envs: int,
        size: int,
        random_length: bool = False,
        max_steps: int | None = None,
        agent_view_size: int = 7,
    ) -> None:
        """Tabulate the mazes of ``size`` x ``size`` cells; the arguments are those of MiniGrid's MemoryEnv."""
        super().__init__(num_envs)
        self.size = check_count("size", size, minimum=7)
        self.random_length = random_length
        self.max_steps = check_count("max_steps", 5 * size**2 if max_steps is None else max_steps)
        env = _ScriptedMemoryEnv(size, random_length, self.max_steps, agent_view_size=agent_view_size)
        image_shape = (agent_view_size, agent_view_size, 3)
        self._vector_size = vector_size(image_shape)
        self.observation_space = vector_space(image_shape)
        self.action_space = spaces.Discrete(len(Actions))
        self._tabulate(env)
        self._rows = np.arange(num_envs)[:, np.newaxis]
        self._nodes = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw the layouts and the agents' places."""
        for row in rows.tolist():
            self._nodes[row] = self._draw_start(self.generator(row))
        self._steps[rows] = 0

    def _draw_start(self, rng: np.random.Generator) -> int:
        # In MiniGrid's order.
        hallway_end = int(rng.integers(4, self.size - 2)) if self.random_length else self.size - 3
        x = int(rng.integers(1, hallway_end + 1))
        cue = int(rng.integers(0, 2))
        order = int(rng.integers(0, 2))
        layout = _Layout(hallway_end=hallway_end, cue=cue, order=order)
        return self._node_of[layout, x, self.size // 2, 0]

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Walk one edge of the graph."""
        self._nodes = self._next_node[self._nodes, actions]
        self._steps += 1
        goals = self._goal[self._nodes]
        rewards = (goals == _SUCCESS) * (1 - 0.9 * (self._steps / self.max_steps))
        return rewards, goals != _NO_GOAL, self._steps >= self.max_steps

    def observations(self) -> NDArray[np.float32]:
        """Return the encoded views."""
        vectors = np.zeros((self.num_envs, self._vector_size), dtype=np.float32)
        vectors[self._rows, self._hot[self._nodes]] = 1.0
        return vectors

    def successes(self) -> BoolArray:
        """Return whether each agent stands beside the matching object."""
        at_match: BoolArray = self._goal[self._nodes] == _SUCCESS
        return at_match

    def states(self) -> IntArray:
        """Return x, y, direction, end of the hallway, cue, order of the objects and the number of steps."""
        return np.concatenate([self._places[self._nodes], self._steps[:, np.newaxis]], axis=1)

    def _tabulate(self, env: _ScriptedMemoryEnv) -> None:
        """Fill the tables: the node of a place, its neighbours, its view and whether the episode ends there."""
        places = list(_places(env))
        self._node_of = {place: node for node, place in enumerate(places)}
        self._next_node = np.empty((len(places), len(Actions)), dtype=np.int64)
        self._goal = np.full(len(places), _NO_GOAL)
        self._hot = np.empty((len(places), env.agent_view_size**2 * 3 + 1), dtype=np.int64)
        self._places = np.array([(x, y, d, p.hallway_end, p.cue, p.order) for p, x, y, d in places])
        built: _Layout | None = None
        for node, (layout, x, y, direction) in enumerate(places):
            if layout != built:
                env.build(layout)
                built = layout
            env.agent_pos, env.agent_dir = (x, y), direction
            view = env.gen_obs()
            self._hot[node] = hot_indices(view["image"], view["direction"])
            if (x, y) == env.success_pos:
                self._goal[node] = _SUCCESS
            elif (x, y) == env.failure_pos:
                self._goal[node] = _FAILURE
            self._next_node[node] = node
            self._next_node[node, Actions.left] = self._node_of[layout, x, y, (direction - 1) % NUM_DIRECTIONS]
            self._next_node[node, Actions.right] = self._node_of[layout, x, y, (direction + 1) % NUM_DIRECTIONS]
            ahead = (layout, x + int(DIR_TO_VEC[direction][0]), y + int(DIR_TO_VEC[direction][1]), direction)
            self._next_node[node, Actions.forward] = self._node_of.get(ahead, node)


def _places(env: _ScriptedMemoryEnv) -> Iterator[tuple[_Layout, int, int, int]]:
    """Yield every (layout, x, y, direction) that an agent can reach, layout by layout."""
    ends = range(4, env.size - 2) if env.random_length else [env.size - 3]
    for layout in (
        _Layout(hallway_end=end, cue=cue, order=order) for end in ends for cue in (0, 1) for order in (0, 1)
    ):
        env.build(layout)
        for x, y in _reachable_cells(env, (1, env.size // 2)):
            yield from ((layout, x, y, direction) for direction in range(NUM_DIRECTIONS))


def _reachable_cells(env: _ScriptedMemoryEnv, start: tuple[int, int]) -> list[tuple[int, int]]:
    cells = [start]
    for x, y in cells:  # grows while we walk along it: a flood fill
        for step_x, step_y in DIR_TO_VEC:
            neighbour = (x + int(step_x), y + int(step_y))
            if neighbour not in cells and env.grid.get(*neighbour) is None:
                cells.append(neighbour)
    return cells


class MemoryVector(EngineVectorEnv):
    """Many of MiniGrid's Memory environments, encoded as by ``MiniGridVectorObservation``."""

    def __init__(
        self,
        num_envs: int = 1,
        size: int = 11,
        random_length: bool = False,
        max_steps: int | None = None,
        agent_view_size: int = 7,
    ) -> None:
        """Build ``num_envs`` mazes; the arguments are those of MiniGrid's MemoryEnv."""
        super().__init__(MemoryEngine(num_envs, size, random_length, max_steps, agent_view_size))
