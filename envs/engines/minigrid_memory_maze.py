"""The mazes of MiniGrid's Memory environments as tables: every place of every layout, its neighbours and its view.

In ``minigrid.envs.MemoryEnv`` nothing but the agent ever moves: ``pickup`` and ``toggle`` do nothing to a key or a
ball, and there is nothing to drop.  An episode is therefore a walk on a finite graph, whose nodes are the agent's cell
and direction in one of the layouts.  A layout has an end of the hallway, a cue and an order of the two objects.

MiniGrid takes 80 microseconds and more to compute one view.  Here the views of all nodes are computed together, by the
rule of ``minigrid.core.grid.Grid.process_vis`` (MiniGrid 3.2) over arrays, and equal ones are kept once: the 89,680
nodes of the 101 x 101 maze of random length share 347 views of 7 x 7 cells.  Tests hold the result against MiniGrid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import COLOR_TO_IDX, DIR_TO_VEC, OBJECT_TO_IDX
from numpy.typing import NDArray

NUM_DIRECTIONS = 4
NO_GOAL, UPPER_GOAL, LOWER_GOAL = range(3)

# What a cell may hold, and MiniGrid's codes of its object, colour and state.
_UNSEEN, _EMPTY, _WALL, _KEY, _BALL = range(5)
_CODES = np.array(
    [
        (OBJECT_TO_IDX["unseen"], 0, 0),
        (OBJECT_TO_IDX["empty"], 0, 0),
        (OBJECT_TO_IDX["wall"], COLOR_TO_IDX["grey"], 0),
        (OBJECT_TO_IDX["key"], COLOR_TO_IDX["green"], 0),
        (OBJECT_TO_IDX["ball"], COLOR_TO_IDX["green"], 0),
    ],
    dtype=np.uint8,
)
_CHUNK = 1 << 24
"""Cells, a byte each, of the views whose hidden parts are found together."""


@dataclass(frozen=True, kw_only=True)
class Hallway:
    """The places of all layouts with the same end of the hallway; they differ in three cells' contents only."""

    end: int
    """Column of the wall with the opening to the vertical hallway."""
    cells: NDArray[np.int64]
    """x and y of the cells that an agent can stand on, [cells, 2]; cell x - 1 is the start in column x."""
    goals: NDArray[np.int64]
    """``UPPER_GOAL`` and ``LOWER_GOAL`` for the cells beside the two objects, else ``NO_GOAL``; [cells]."""
    next_place: NDArray[np.int64]
    """The place, which is 4 cell + direction, that each action leads to; [4 cells, actions]."""


def make_hallway(size: int, end: int) -> Hallway:
    """Tabulate the places of a maze of ``size`` x ``size`` cells whose hallway ends at column ``end``."""
    middle = size // 2
    hallway = [(x, middle) for x in range(1, end + 1)]
    room = [(x, middle + 1) for x in (1, 2, 3)] + [(x, middle - 1) for x in (2, 3)]
    split = [(end + 1, middle), (end + 1, middle - 1), (end + 1, middle + 1)]
    cells = [*hallway, *room, *split]
    number = {cell: index for index, cell in enumerate(cells)}
    next_place = np.repeat(np.arange(len(cells) * NUM_DIRECTIONS)[:, np.newaxis], len(Actions), axis=1)
    for (x, y), cell in number.items():
        for direction, (step_x, step_y) in enumerate(np.array(DIR_TO_VEC).tolist()):
            place = cell * NUM_DIRECTIONS + direction
            next_place[place, Actions.left] = cell * NUM_DIRECTIONS + (direction - 1) % NUM_DIRECTIONS
            next_place[place, Actions.right] = cell * NUM_DIRECTIONS + (direction + 1) % NUM_DIRECTIONS
            ahead = number.get((x + step_x, y + step_y), cell)
            next_place[place, Actions.forward] = ahead * NUM_DIRECTIONS + direction
    goals = np.full(len(cells), NO_GOAL)
    goals[-2:] = UPPER_GOAL, LOWER_GOAL
    return Hallway(end=end, cells=np.array(cells), goals=goals, next_place=next_place)


def hallway_ends(size: int, random_length: bool) -> range:
    """Return the columns at which the hallway may end."""
    return range(4, size - 2) if random_length else range(size - 3, size - 2)


@dataclass(frozen=True, kw_only=True)
class Views:
    """The views of the nodes of some hallways, equal ones once."""

    index: NDArray[np.int32]
    """The view of each node; the nodes stand in the order hallway, cue, order, place."""
    images: NDArray[np.uint8]
    """MiniGrid's codes of object, colour and state, [views, width, height, 3]."""
    directions: NDArray[np.int64]
    """The direction that the agent faces, [views]."""


def compute_views(size: int, hallways: list[Hallway], view_size: int) -> Views:
    """Compute what MiniGrid shows in every node of all four layouts of each hallway."""
    windows: dict[bytes, int] = {}
    window_of: list[int] = []
    ahead_by, aside_by = _view_axes(view_size)
    for hallway in hallways:
        places = np.repeat(hallway.cells, NUM_DIRECTIONS, axis=0)
        directions = np.tile(np.arange(NUM_DIRECTIONS), len(hallway.cells))
        ahead = np.array(DIR_TO_VEC)[directions]
        aside = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
        where = places[:, :, np.newaxis, np.newaxis] + (
            ahead[:, :, np.newaxis, np.newaxis] * ahead_by + aside[:, :, np.newaxis, np.newaxis] * aside_by
        )
        where.clip(0, size - 1, out=where)  # what lies outside is wall, as in Grid.slice, and so is the border
        keys = np.empty((len(places), 1 + view_size**2), dtype=np.uint8)
        keys[:, 0] = directions
        for cue in (0, 1):
            for order in (0, 1):
                grid = _draw(size, hallway.end, cue, order)
                keys[:, 1:] = grid[where[:, 0], where[:, 1]].reshape(len(places), -1)
                window_of += [windows.setdefault(key.tobytes(), len(windows)) for key in keys]
    # Few windows are different, so the costly part is done for those alone.
    keys = np.frombuffer(b"".join(windows), np.uint8).reshape(len(windows), 1 + view_size**2).copy()
    rows = max(1, _CHUNK // view_size**2)
    for first in range(0, len(keys), rows):
        cells = keys[first : first + rows, 1:]
        cells[...] = _hide(cells.reshape(-1, view_size, view_size)).reshape(cells.shape)
    views: dict[bytes, int] = {}
    view_of = np.array([views.setdefault(key.tobytes(), len(views)) for key in keys], dtype=np.int32)
    keys = np.frombuffer(b"".join(views), np.uint8).reshape(len(views), 1 + view_size**2)
    return Views(
        index=view_of[window_of],
        images=_CODES[keys[:, 1:]].reshape(len(views), view_size, view_size, 3),
        directions=keys[:, 0].astype(np.int64),
    )


def _view_axes(view_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How far ahead and to the right of the agent each cell of a view lies; it stands at the middle of the last row."""
    i, j = np.meshgrid(np.arange(view_size), np.arange(view_size), indexing="ij")
    return view_size - 1 - j, i - view_size // 2


def _draw(size: int, end: int, cue: int, order: int) -> NDArray[np.uint8]:
    """Draw a layout as ``MemoryEnv._gen_grid`` does, [x, y]."""
    middle = size // 2
    grid = np.full((size, size), _EMPTY, dtype=np.uint8)
    grid[[0, size - 1]] = _WALL
    grid[:, [0, size - 1]] = _WALL
    for side in (-1, 1):
        grid[1:5, middle + 2 * side] = _WALL
        grid[4:end, middle + side] = _WALL
    grid[[end, end + 2]] = _WALL
    grid[end, middle] = _EMPTY
    grid[1, middle - 1] = (_KEY, _BALL)[cue]
    grid[end + 1, middle - 2] = (_BALL, _KEY)[order]
    grid[end + 1, middle + 2] = (_KEY, _BALL)[order]
    return grid


def _hide(windows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the windows, [windows, width, height], without what walls hide from the agent."""
    width, height = windows.shape[1:]
    visible = np.zeros((width, height, len(windows)), dtype=np.bool_)
    visible[width // 2, height - 1] = True
    see_through = np.moveaxis(windows != _WALL, 0, -1).copy()
    for j in reversed(range(height)):
        for sweep, step in ((range(width - 1), 1), (range(width - 1, 0, -1), -1)):
            for i in sweep:
                spreads = visible[i, j] & see_through[i, j]
                visible[i + step, j] |= spreads
                if j > 0:
                    visible[i + step, j - 1] |= spreads
                    visible[i, j - 1] |= spreads
    hidden = np.where(np.moveaxis(visible, -1, 0), windows, _UNSEEN)
    return hidden
