"""VizDoom's observations for a policy: a smaller screen, a last screen, and time-outs that are no terminations.

Works on what VizDoom's Gymnasium environments return and imports nothing of VizDoom.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SCREEN_HEIGHT = 60
"""Rows of the reduced screen; 240 by 320 pixels become 60 by 80, the size of MiniWorld's."""
CATEGORIES = "labels"
"""The picture whose values are names and have no mean."""


class VizDoomObservation(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Reduce VizDoom's pictures, show the last one again at the end, and tell time-outs from terminations.

    * Every picture ([height, width, channels], uint8) is averaged over squares, so that 60 rows are left; of "labels"
      every square keeps its first pixel.  Other entries, such as "gamevariables", stay as they are.
    * VizDoom has no picture of the step that ends an episode and returns zeros.  Here the one before it is returned:
      the value after a time-out would be estimated from a black screen otherwise.
    * VizDoom (1.3) reports a time-out as termination and truncation at once.  Here it is a truncation, unless the
      player died in that step.

    Raises:
        ValueError: if the observation space is no Dict with a "screen".
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap a VizDoom environment."""
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Dict) or "screen" not in space.spaces:
            raise ValueError(f"env has observation space {space}, not VizDoom's; pass a VizDoom environment.")
        # Of a 240 by 320 screen every square has 4 by 4 pixels.
        self._factors = {
            name: max(1, part.shape[0] // SCREEN_HEIGHT)
            for name, part in space.items()
            if isinstance(part, spaces.Box) and part.dtype == np.uint8 and len(part.shape) == 3
        }
        self._last: dict[str, Any] = {}
        self.observation_space = spaces.Dict({name: self._reduced_space(name, part) for name, part in space.items()})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._seen(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated and truncated:
            terminated = bool(self.env.unwrapped.game.is_player_dead())  # type: ignore[attr-defined]
        seen = self._seen(observation) if not (terminated or truncated) else _copy(self._last)
        return seen, float(reward), bool(terminated), bool(truncated), info

    def _seen(self, observation: dict[str, Any]) -> dict[str, Any]:
        self._last = {name: self._reduced(name, part) for name, part in observation.items()}
        return _copy(self._last)

    def _reduced_space(self, name: str, space: gym.Space[Any]) -> gym.Space[Any]:
        if name not in self._factors:
            return space
        height, width, channels = space.shape or ()
        factor = self._factors[name]
        return spaces.Box(0, 255, (height // factor, width // factor, channels), np.uint8)

    def _reduced(self, name: str, part: Any) -> Any:
        factor = self._factors.get(name, 1)
        if factor == 1:
            return part
        return np.ascontiguousarray(part[::factor, ::factor]) if name == CATEGORIES else average_squares(part, factor)


def average_squares(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return the mean of each square of ``factor`` by ``factor`` pixels, rounded down.

    Args:
        picture: [height, width, channels]; rows and columns that fill no square are cut off.
        factor: side of a square in pixels.

    Returns:
        [height // factor, width // factor, channels].
    """
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    whole = picture[: height * factor, : width * factor]
    # Strided sums are several times faster than a mean over two axes.
    rows = whole[::factor].astype(np.uint32)
    for offset in range(1, factor):
        rows += whole[offset::factor]
    squares = rows[:, ::factor].copy()
    for offset in range(1, factor):
        squares += rows[:, offset::factor]
    means: NDArray[np.uint8] = (squares // factor**2).astype(np.uint8)
    return means


def _copy(observation: dict[str, Any]) -> dict[str, Any]:
    return {name: part.copy() if isinstance(part, np.ndarray) else part for name, part in observation.items()}
