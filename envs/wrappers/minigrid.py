"""MiniGrid observations for a policy: one flat vector of zeros and ones.

MiniGrid shows a dict of a small integer image (object, colour and state code of each cell in view), a direction and
a sentence.  Fed to Stable-Baselines3 as it is, the sentence has no encoding, and the image, being a uint8 box, would
pass for a picture: codes of 0 to 10 would be divided by 255.  The wrapper here gives a float32 vector instead: each
code one-hot, then the direction one-hot.  What the sentence says follows, unless it always says the same
(``minigrid_mission``).
"""

from __future__ import annotations

import functools
import itertools
import logging
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, DIR_TO_VEC, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.envs.babyai.core import roomgrid_level
from numpy.typing import NDArray

from s7rl.envs.wrappers.minigrid_mission import GrammarCode, find_mission_code

_LOGGER = logging.getLogger(__name__)

NUM_CODES = (len(OBJECT_TO_IDX), len(COLOR_TO_IDX), len(STATE_TO_IDX))
"""Number of object, colour and state codes: 11, 6 and 3 in MiniGrid 3.2."""
CELL_SIZE = sum(NUM_CODES)
NUM_DIRECTIONS = 4


def hot_indices(image: NDArray[Any], direction: int) -> NDArray[np.int64]:
    """Return the places of the ones in the vector of one observation, in ascending order.

    Args:
        image: integer codes, [width, height, 3].
        direction: the agent's heading, 0 to 3.
    """
    num_cells = image.shape[0] * image.shape[1]
    cell_starts = np.arange(num_cells)[:, np.newaxis] * CELL_SIZE
    block_starts = np.cumsum((0, *NUM_CODES[:-1]))
    codes = image.reshape(num_cells, 3).astype(np.int64)
    return np.append((cell_starts + block_starts + codes).ravel(), num_cells * CELL_SIZE + direction)


def vector_size(image_shape: tuple[int, ...]) -> int:
    """Return the length of the vector for an image of shape (width, height, 3)."""
    return image_shape[0] * image_shape[1] * CELL_SIZE + NUM_DIRECTIONS


def vector_space(image_shape: tuple[int, ...]) -> spaces.Box:
    """Return the space of the vectors."""
    return spaces.Box(0.0, 1.0, (vector_size(image_shape),), np.float32)


class MiniGridVectorObservation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Turn MiniGrid's dict into a flat float32 vector of zeros and ones, and report success.

    The vector holds, cell by cell of the view, 11 + 6 + 3 entries (object, colour, state), then 4 for the direction:
    984 numbers for the default 7x7 view, 184 for ``agent_view_size=3``.  Where the mission can change, its code follows
    (see ``minigrid_mission``): 146 numbers for all of BabyAI, up to 18 for MiniGrid.  ``info["is_success"]`` at the
    last step of an episode tells whether the last reward was positive.

    What BabyAI prints to the terminal when it draws an episode again ("Sampling rejected") goes to the log of this
    module at level DEBUG.  It also draws again where it would look for ever for a place to start from: MiniGrid's
    search takes no position that faces an object or a door, and a small room may have no other.

    Raises:
        ValueError: in one line, if the observations are not MiniGrid's or the mission cannot be encoded; while running,
            if a mission is none that the environment declares.
    """

    def __init__(self, env: gym.Env[dict[str, Any], Any]) -> None:
        """Wrap a MiniGrid environment."""
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Dict) or not {"image", "direction", "mission"} <= set(space.keys()):
            raise ValueError(
                f"env has observation space {space}, not MiniGrid's; pass an unwrapped MiniGrid environment."
            )
        self._code = find_mission_code(space["mission"])
        image_shape = space["image"].shape
        assert image_shape is not None
        self._view_size = vector_size(image_shape)
        self._starts = hot_indices(np.zeros(image_shape, dtype=np.int64), 0)
        self._mission: str | None = None
        self._mission_vector = np.zeros(self._code.size, dtype=np.float32)
        self.observation_space = spaces.Box(0.0, 1.0, (self._view_size + self._code.size,), np.float32)
        if isinstance(self._code, GrammarCode):
            _silence_babyai()
            _let_babyai_draw_again()

    def observation(self, observation: dict[str, Any]) -> NDArray[np.float32]:
        """Encode one observation."""
        if observation["mission"] != self._mission:
            self._mission_vector = self._code.encode(observation["mission"])
            self._mission = observation["mission"]
        hot = self._starts.copy()
        hot[:-1] += observation["image"].ravel()
        hot[-1] += observation["direction"]
        vector = np.zeros(self._view_size + self._code.size, dtype=np.float32)
        vector[hot] = 1.0
        vector[self._view_size :] = self._mission_vector
        return vector

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            info = {**info, "is_success": float(reward) > 0}
        return self.observation(observation), float(reward), terminated, truncated, info


@functools.cache
def _silence_babyai() -> None:
    """Send what BabyAI's level generator prints to our log.

    Its module gets a ``print`` of its own; exchanging ``sys.stdout`` during a reset would swallow what other threads
    write meanwhile.
    """

    def print_to_log(*values: object) -> None:
        _LOGGER.debug("%s", " ".join(map(str, values)))

    vars(roomgrid_level)["print"] = print_to_log


@functools.cache
def _let_babyai_draw_again() -> None:
    """Have BabyAI's levels give up a room in which its search for the agent's position would never end.

    A level that raises RecursionError is drawn again.  All others are what they were: the same numbers are drawn.
    """
    level = roomgrid_level.RoomGridLevel

    def place_agent(self: Any, i: int | None = None, j: int | None = None, rand_dir: bool = True) -> Any:
        i = self._rand_int(0, self.num_cols) if i is None else i
        j = self._rand_int(0, self.num_rows) if j is None else j
        (left, top), (width, height) = self.room_grid[j][i].top, self.room_grid[j][i].size
        for x, y in itertools.product(range(left, left + width), range(top, top + height)):
            ahead = (
                (self.grid.get(x + step_x, y + step_y) for step_x, step_y in DIR_TO_VEC)
                if self.grid.get(x, y) is None
                else ()
            )
            if any(cell is None or cell.type == "wall" for cell in ahead):
                return super(level, self).place_agent(i, j, rand_dir)
        raise RecursionError(f"room ({i}, {j}) has no place to start from")

    level.place_agent = place_agent
