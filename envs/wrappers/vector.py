"""What wrappers of vector environments have in common: same-step autoreset, last observations, partial resets.

Row i of a wrapped vector environment is, step for step, the wrapped single environment of the row's seed.  So in the
step that ends an episode a row is changed twice: once as the last observation of the old episode, which stands in
``infos["final_obs"]``, and once as the first of the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from s7rl.envs.batched import IntArray, rows_to_reset

if TYPE_CHECKING:
    _VectorWrapper = VectorWrapper[Any, Any, Any, Any, NDArray[Any]]
else:
    _VectorWrapper = VectorWrapper  # takes no parameters before Gymnasium 1.4

Rows = IntArray | slice
"""Some rows by number, or all: ``ALL_ROWS``, for which an array need not be copied."""
ALL_ROWS = slice(None)


class SameStepWrapper(_VectorWrapper):
    """Base of our vector wrappers: a step, and the hooks that a wrapper fills in.

    Args:
        envs: a vector environment that starts ended episodes anew within the same step, as our engines do and
            Gymnasium's ``SyncVectorEnv`` with ``autoreset_mode=AutoresetMode.SAME_STEP``.

    Raises:
        ValueError: in one line, if the vector environment resets in another way.
    """

    def __init__(self, envs: VectorEnv[Any, Any, NDArray[Any]]) -> None:
        super().__init__(envs)
        mode = envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"envs has the autoreset_mode {mode}, but {type(self).__name__} needs episodes to start anew within "
                "the step that ends them: make it with autoreset_mode=AutoresetMode.SAME_STEP."
            )

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes, in all rows or where ``options["reset_mask"]`` is true; other rows show what they did."""
        rows = rows_to_reset(self.num_envs, options)  # first: SyncVectorEnv takes the mask out of the options
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._begin(rows)
        return self._show(observations, ALL_ROWS), infos

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take one action per row."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        rewards = self._advance(actions, rewards, ended)
        if ended.any():
            rows = np.flatnonzero(ended)
            infos = {**infos, "final_obs": self._show_last(infos["final_obs"], rows)}
            self._begin(rows)
        return self._show(observations, ALL_ROWS), rewards, terminated, truncated, infos

    def _show_in(self, space: gym.Space[Any]) -> None:
        """Declare the space of one row's observations."""
        self.single_observation_space = space
        self.observation_space = batch_space(space, self.num_envs)

    def _begin(self, rows: IntArray) -> None:
        """Prepare for the first observation of new episodes in these rows."""

    def _advance(self, actions: Any, rewards: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        """Prepare for what the actions led to, in all rows, and return the rewards to pay."""
        return rewards

    def _show(self, observations: Any, rows: Rows) -> Any:
        """Return what becomes of the observations of these rows: nothing that a later call changes."""
        return observations

    def _show_last(self, final_obs: NDArray[np.object_], rows: IntArray) -> NDArray[np.object_]:
        last = self._show(_stacked(final_obs[rows].tolist()), rows)
        shown = np.full(self.num_envs, None, dtype=object)
        for place, row in enumerate(rows.tolist()):
            shown[row] = _member(last, place)
        return shown


def _stacked(members: Sequence[Any]) -> Any:
    """A batch of observations.  Gymnasium's ``concatenate`` does it for more spaces, in ten times the time."""
    first = members[0]
    if isinstance(first, dict):
        return {key: _stacked([member[key] for member in members]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stacked(entries) for entries in zip(*members, strict=True))
    return np.array(members)


def _member(batch: Any, place: int) -> Any:
    """One observation of a batch."""
    if isinstance(batch, dict):
        return {key: _member(entries, place) for key, entries in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_member(entries, place) for entries in batch)
    return batch[place]
