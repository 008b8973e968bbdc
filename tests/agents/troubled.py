"""Environments that fail in every way, and some that do not; without torch, since worker processes import this."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class Troubled(gym.Env[Any, Any]):
    """Episodes of 3 steps, and something that happens in one step, one reset, or the constructor."""

    observation_space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, trouble: str = "none", where: str = "step", at: int = 5) -> None:
        self.trouble, self.where, self.at = trouble, where, at
        self.counts = {"step": 0, "reset": 0, "constructor": at - 1}
        self.pid = os.getpid()
        self._pass("constructor")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        self._pass("reset")
        return self._draw(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.t += 1
        self._pass("step")
        info: dict[str, Any] = {}
        if self.trouble == "unpicklable info" and self.counts["step"] == self.at:
            info["held"] = lambda: None
        return self._draw(), 1.0, self.t == 3, False, info

    def imports(self) -> list[str]:
        return sorted({name.partition(".")[0] for name in sys.modules})

    def complain(self, who: str) -> str:
        if who == self.trouble:
            raise ValueError(f"{who} complains")
        return who

    def _draw(self) -> NDArray[np.float32]:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def _pass(self, where: str) -> None:
        self.counts[where] += 1
        spared = os.environ.get("S7RL_TROUBLE_ONLY_IN_WORKERS") == str(os.getpid())
        if spared or where != self.where or self.counts[where] != self.at:
            return
        if self.trouble == "raise":
            raise ValueError("the door\nis stuck")
        if self.trouble == "SystemExit":
            sys.exit(3)
        if self.trouble == "exit":
            os._exit(7)
        if self.trouble in ("SIGKILL", "SIGSEGV"):
            os.kill(os.getpid(), getattr(signal, self.trouble))
        if self.trouble == "busy":
            while True:
                pass
        if self.trouble == "slow":
            time.sleep(0.3)
        if self.trouble == "asleep":
            time.sleep(3600)


class Pair(gym.ObservationWrapper[Any, Any, Any]):
    """What a troubled environment shows, as a Dict of numbers and an image."""

    observation_space: spaces.Space[Any] = spaces.Dict(
        {
            "point": Troubled.observation_space,
            "way": spaces.Discrete(2),
            "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        }
    )

    def observation(self, observation: Any) -> Any:
        image = np.full((8, 8, 3), 255 * abs(observation[0]), np.uint8)
        return {"point": observation, "way": int(observation[0] > 0), "image": image}


def make_pair() -> gym.Env[Any, Any]:
    """A Dict environment, for registration."""
    return Pair(Troubled())


class Pixels(Troubled):
    """An image."""

    observation_space = spaces.Box(0, 255, (40, 40, 3), np.uint8)

    def _draw(self) -> Any:
        return self.np_random.integers(0, 256, (40, 40, 3), dtype=np.uint8)


class Hopeless(Troubled):
    """Fails in its 40th step unless a file is there, the key to the door."""

    def __init__(self, key: str, trouble: str = "raise", at: int = 40) -> None:
        super().__init__(trouble, "step", at)
        self.key = key

    def _pass(self, where: str) -> None:
        if not (hasattr(self, "key") and Path(self.key).exists()):
            super()._pass(where)
