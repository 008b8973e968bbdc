"""Tasks written once, as rules over a batch of rows, with two Gymnasium faces.

An ``Engine`` holds the hidden state of ``num_envs`` independent episodes in arrays and moves all of them by one
step without a Python loop.  Two generic faces drive it:

* ``EngineVectorEnv``: a ``gymnasium.vector.VectorEnv`` with same-step autoreset;
* ``EngineEnv``: a ``gymnasium.Env``, which is the same engine with one row.

A task's two classes name its engine, whose constructor is the one place where arguments and defaults are written.

Both take their random numbers from one generator per row, seeded as Gymnasium seeds an environment, so row i of
``reset(seed=s)`` is, step for step and across any number of episodes, the single environment of seed s + i.
The layout of ``infos`` follows ``gymnasium.vector.SyncVectorEnv`` (Gymnasium 1.4) with same-step autoreset, with one
addition: ``is_success`` stands at the top level as well as inside ``final_info``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from s7rl.checks import number
from s7rl.envs.random_tape import Distribution, RandomTape

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
StepResult = tuple[FloatArray, BoolArray, BoolArray]

_ONLY_ROW: IntArray = np.zeros(1, dtype=np.int64)


class Engine(ABC):
    """The rules of a task over ``num_envs`` rows; it knows nothing of seeds, autoreset or infos.

    Every array that a method returns is fresh: the faces hand it to the user, and no later step may change it.
    All random choices of a row come from ``generators[row]``, either directly or through tapes (``new_tape``), which
    make them for many rows at once.
    """

    observation_space: gym.Space[Any]
    """Observation space of one row."""
    action_space: gym.Space[Any]
    """Action space of one row."""

    def __init__(self, num_envs: int) -> None:
        """Store the number of rows; a task's constructor takes its own arguments after it."""
        self.num_envs = check_count("num_envs", num_envs)
        self.generators: list[np.random.Generator | None] = [None] * self.num_envs
        self._tapes: list[RandomTape] = []

    def new_tape(self, distribution: Distribution, block: int = 1024, multiple_of: int = 1) -> RandomTape:
        """Return a tape of numbers for all rows, ``block`` of them drawn ahead for each; for constructors.

        The block is rounded to a multiple, one at least: where an episode takes that many, none is thrown away.
        """
        tape = RandomTape(self.num_envs, distribution, max(block // multiple_of, 1) * multiple_of)
        self._tapes.append(tape)
        return tape

    def set_generator(self, row: int, generator: np.random.Generator) -> None:
        """Let the row draw from another generator from now on."""
        self.generators[row] = generator
        for tape in self._tapes:
            tape.restart(row, generator)

    def generator(self, row: int) -> np.random.Generator:
        """Return the generator that the row draws from."""
        generator = self.generators[row]
        assert generator is not None, "the faces give every row a generator before its first episode"
        return generator

    @abstractmethod
    def begin_episodes(self, rows: IntArray) -> None:
        """Start new episodes in these rows."""

    @abstractmethod
    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Take one action per row and return rewards, terminated and truncated."""

    @abstractmethod
    def observations(self) -> NDArray[Any]:
        """Return what each row shows now."""

    @abstractmethod
    def successes(self) -> BoolArray:
        """Return whether each row solved its task; only meaningful for rows whose episode has just ended."""

    @abstractmethod
    def states(self) -> IntArray:
        """Return the hidden state of each row, one row of integers per environment."""

    def render_row(self, row: int) -> Any:
        """Return a picture of one row in the engine's render mode."""
        raise NotImplementedError(f"{type(self).__name__} cannot render")


class EngineEnv(gym.Env[Any, Any]):
    """One row of an engine as a ``gymnasium.Env``.

    ``info["is_success"]`` (bool) stands in the info of an episode's last step, and only there.
    """

    engine: ClassVar[type[Engine]]
    """The rules of the task."""

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        """Build an engine of one row.

        Args:
            render_mode: one of ``metadata["render_modes"]``; None draws nothing.
            **kwargs: arguments of the engine.
        """
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            modes = ", ".join(repr(mode) for mode in self.metadata["render_modes"]) or "none"
            # A TypeError, since SB3's make_vec_env asks for "rgb_array" first and does without on that alone.
            raise TypeError(f"render_mode ({render_mode!r}) is not supported here; choose None or one of: {modes}.")
        self.render_mode = render_mode
        self._engine = self.engine(1, **kwargs)
        self.observation_space = self._engine.observation_space
        self.action_space = self._engine.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; ``seed`` reseeds the generator, without it the stream goes on."""
        super().reset(seed=seed)
        if self.np_random is not self._engine.generators[0]:
            self._engine.set_generator(0, self.np_random)
        self._engine.begin_episodes(_ONLY_ROW)
        return self._engine.observations()[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action."""
        if not self.action_space.contains(action):
            raise ValueError(f"action ({action!r}) is not in {self.action_space}; pass a member of env.action_space.")
        rewards, terminated, truncated = self._engine.advance(np.asarray(action)[np.newaxis])
        ended = bool(terminated[0] or truncated[0])
        info = {"is_success": bool(self._engine.successes()[0])} if ended else {}
        return self._engine.observations()[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def get_state(self) -> IntArray:
        """Return the hidden state as a vector of integers: what an oracle may look at and an agent may not."""
        state: IntArray = self._engine.states()[0]
        return state

    def render(self) -> Any:
        """Return a picture of the episode in the render mode chosen at construction."""
        return None if self.render_mode is None else self._engine.render_row(0)


class EngineVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """All rows of an engine as a ``gymnasium.vector.VectorEnv`` with same-step autoreset.

    When episodes end, the returned observation of these rows is the first one of their next episode, and ``infos``
    holds, each with a mask of the same name and a leading underscore: ``final_obs`` (object array), ``final_info``
    (``{"is_success": ...}``) and ``is_success``.  Otherwise ``infos`` is empty.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 (as Gymnasium declares it)

    engine: ClassVar[type[Engine]]
    """The rules of the task."""

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        """Build an engine.

        Args:
            num_envs: how many rows it has, at least 1.
            **kwargs: its other arguments.
        """
        self._engine = engine = self.engine(num_envs, **kwargs)
        self.num_envs = engine.num_envs
        self.single_observation_space = engine.observation_space
        self.single_action_space = engine.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._action_shape = self.action_space.shape
        # An engine would take any number as an index of some kind.
        self._num_actions = int(engine.action_space.n) if isinstance(engine.action_space, spaces.Discrete) else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: row i is seeded with ``seed + i``, or with ``seed[i]``; None lets the generators run on.
            options: ``{"reset_mask": bool array}`` restricts the reset to some rows.
        """
        seeds, rows = row_seeds(self.num_envs, seed), rows_to_reset(self.num_envs, options)
        for row in rows.tolist():
            if self._engine.generators[row] is None or seeds[row] is not None:
                self._engine.set_generator(row, seeding.np_random(seeds[row])[0])
        self._engine.begin_episodes(rows)
        return self._engine.observations(), {}

    def step(self, actions: Any) -> tuple[NDArray[Any], FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Take one action per row; rows whose episode ends start the next one at once."""
        actions = np.asarray(actions)
        if actions.shape != self._action_shape:
            raise ValueError(
                f"actions has shape {actions.shape}, but {self.num_envs} environments need {self._action_shape}; "
                "pass one action per environment."
            )
        if self._num_actions is not None and (actions.max() >= self._num_actions or actions.min() < 0):
            raise ValueError(
                f"actions ({actions.tolist()}) are not all in {self.single_action_space}; pass members of it."
            )
        rewards, terminated, truncated = self._engine.advance(actions)
        ended = terminated | truncated
        if not ended.any():
            return self._engine.observations(), rewards, terminated, truncated, {}
        rows = np.flatnonzero(ended)
        infos = self._final_infos(ended, rows)
        self._engine.begin_episodes(rows)
        return self._engine.observations(), rewards, terminated, truncated, infos

    def get_state(self) -> IntArray:
        """Return the hidden states, one row of integers per environment."""
        return self._engine.states()

    def _final_infos(self, ended: BoolArray, rows: IntArray) -> dict[str, Any]:
        # Copies throughout: a caller who edits one entry must not change another.
        final_obs = np.full(self.num_envs, None, dtype=object)
        last_observations = self._engine.observations()
        for row in rows.tolist():
            final_obs[row] = last_observations[row].copy()
        success = self._engine.successes() & ended
        return {
            "final_obs": final_obs,
            "_final_obs": ended,
            "final_info": {"is_success": success.copy(), "_is_success": ended.copy()},
            "_final_info": ended.copy(),
            "is_success": success,
            "_is_success": ended.copy(),
        }


def row_seeds(num_envs: int, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
    """Return the seed of each row: ``seed + i``, ``seed[i]``, or None where the row's generator runs on."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + row for row in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(
            f"seed has {len(seed)} entries, but there are {num_envs} environments; "
            "pass one integer or one entry per environment."
        )
    return seed


def rows_to_reset(num_envs: int, options: dict[str, Any] | None) -> IntArray:
    """Return the rows that ``options["reset_mask"]`` names; without it, all."""
    if options is None or "reset_mask" not in options:
        return np.arange(num_envs)
    mask = np.asarray(options["reset_mask"])
    if mask.shape != (num_envs,) or mask.dtype != np.bool_:
        raise ValueError(
            f"options['reset_mask'] has shape {mask.shape} and dtype {mask.dtype}; "
            f"pass a bool array of shape ({num_envs},)."
        )
    return np.flatnonzero(mask)


def check_count(name: str, value: int, minimum: int = 1) -> int:
    """Return ``value`` as an int, or say in one line why it cannot be a count."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} ({value!r}) must be an integer; pass {minimum} or more.")
    if value < minimum:
        raise ValueError(f"{name} ({value}) must be at least {minimum}; pass {minimum} or more.")
    return int(value)


def check_noise_std(value: float) -> float:
    """Return ``value`` as a float, or say in one line why it is no standard deviation."""
    number("it is a standard deviation", least=0.0).check("noise_std", value)
    return float(value)
