"""What an agent did last and what it got for it, shown beside the observation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from s7rl.checks import FLAG, check_arguments, shown
from s7rl.envs.batched import IntArray
from s7rl.envs.wrappers.flat_encoding import FLAT_KINDS, FlatEncoding
from s7rl.envs.wrappers.vector import Rows, SameStepWrapper

__all__ = ["PreviousActionReward", "PreviousActionRewardVector"]

_KEYS = ("previous_action", "previous_reward", "episode_start")


class PreviousActionReward(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Show the previous action, the previous reward and the start of an episode beside the observation.

    That is what an agent needs that must learn within an episode how the environment answers (Wang et al. 2016,
    "Learning to reinforcement learn"; Duan et al. 2016, "RL^2"), and what POPGym's published agents see.

    * Of a Box, Discrete, MultiDiscrete or MultiBinary observation, the result is one float32 vector for "MlpPolicy":
      the observation (one-hot where it is discrete, laid out as by ``gymnasium.spaces.flatten``), the previous action
      (likewise), the previous reward, and 1 at the first observation of an episode, else 0.
    * Of an image (a uint8 Box of two axes or more), it is a Dict for "MultiInputPolicy" with the keys "observation",
      "previous_action" (a float32 vector), "previous_reward" and "episode_start" (each of shape (1,), float32).
    * Of a Dict, it is the same Dict with these last three keys besides.

    At the first step the previous action is zeros, and the previous reward 0.  Rewards are those of the environment
    inside: a wrapper that changes rewards counts if it stands inside.

    Args:
        env: an environment whose actions are Box, Discrete, MultiDiscrete or MultiBinary.
        action: show the previous action.
        reward: show the previous reward.
        start: show whether an episode starts.

    Raises:
        ValueError: in one line, if nothing is to be shown, the spaces have no encoding, or a Dict has such a key.
        TypeError: in one line, if one of the three is not True or False.

    Example:
        >>> import gymnasium as gym
        >>> env = PreviousActionReward(gym.make("MountainCar-v0"))
        >>> env.reset(seed=0)[0][2:]
        array([0., 0., 0., 0., 1.], dtype=float32)
        >>> env.step(2)[0][2:]
        array([ 0.,  0.,  1., -1.,  0.], dtype=float32)
    """

    def __init__(self, env: gym.Env[Any, Any], action: bool = True, reward: bool = True, start: bool = True) -> None:
        RecordConstructorArgs.__init__(self, action=action, reward=reward, start=start)
        gym.Wrapper.__init__(self, env)
        self._layout = _Layout(env.observation_space, env.action_space, action, reward, start)
        self.observation_space = self._layout.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._show(observation, self._layout.at_the_start[np.newaxis]), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        past = self._layout.past(np.asarray(action)[np.newaxis], np.array([float(reward)]))
        return self._show(observation, past), reward, terminated, truncated, info

    def _show(self, observation: Any, past: NDArray[np.float32]) -> Any:
        if not self._layout.is_flat:
            entries = self._layout.show(observation, past)
            return {key: entry[0] if key in self._layout.columns else entry for key, entry in entries.items()}
        return self._layout.show(np.asarray(observation)[np.newaxis], past)[0]


class PreviousActionRewardVector(SameStepWrapper):
    """:class:`PreviousActionReward` for a vector environment."""

    def __init__(
        self, envs: VectorEnv[Any, Any, NDArray[Any]], action: bool = True, reward: bool = True, start: bool = True
    ) -> None:
        super().__init__(envs)
        self._layout = _Layout(envs.single_observation_space, envs.single_action_space, action, reward, start)
        self._past = np.tile(self._layout.at_the_start, (self.num_envs, 1))
        self._show_in(self._layout.space)

    def _begin(self, rows: IntArray) -> None:
        self._past[rows] = self._layout.at_the_start

    def _advance(self, actions: Any, rewards: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        self._past = self._layout.past(actions, rewards)
        return rewards

    def _show(self, observations: Any, rows: Rows) -> Any:
        return self._layout.show(observations, self._past[rows])


class _Layout:
    """Where everything stands; it works on batches.  The past is an array [batch, size] of what is added."""

    def __init__(
        self, observations: gym.Space[Any], actions: gym.Space[Any], action: bool, reward: bool, start: bool
    ) -> None:
        check_arguments({"action": action, "reward": reward, "start": start}, action=FLAG, reward=FLAG, start=FLAG)
        if not (action or reward or start):
            raise ValueError("action, reward and start are all False, so nothing would be added: pass True for one.")
        self._actions = _encoding("action", actions) if action else None
        low, high = _bounds_of_past(self._actions, reward, start)
        widths = (self._actions.size if self._actions is not None else 0, int(reward), int(start))
        ends = np.cumsum(widths).tolist()
        self.columns = {
            key: slice(end - width, end) for key, width, end in zip(_KEYS, widths, ends, strict=True) if width
        }
        """Columns of the past under each key that is shown."""
        self.at_the_start: NDArray[np.float32] = np.zeros(len(low), dtype=np.float32)
        """The past of a first observation."""
        if start:
            self.at_the_start[-1] = 1.0
        self.is_flat = not isinstance(observations, spaces.Dict) and not _is_image(observations)
        if self.is_flat:
            self._observations = _encoding("observation", observations)
            low, high = (
                np.concatenate([of, past])
                for of, past in ((self._observations.low, low), (self._observations.high, high))
            )
            self.space: gym.Space[Any] = spaces.Box(low, high, dtype=np.float32)
        else:
            self._is_dict = isinstance(observations, spaces.Dict)
            old = observations.spaces if isinstance(observations, spaces.Dict) else {"observation": observations}
            taken = next((key for key in self.columns if key in old), None)
            if taken is not None:
                raise ValueError(
                    f"the observation space has an entry {taken!r} already: leave it out of PreviousActionReward, or "
                    "rename it with a gymnasium.ObservationWrapper."
                )
            new = {key: spaces.Box(low[at], high[at], dtype=np.float32) for key, at in self.columns.items()}
            self.space = spaces.Dict([*old.items(), *new.items()])

    def past(self, actions: Any, rewards: NDArray[Any]) -> NDArray[np.float32]:
        """Return what is added after these actions and rewards."""
        past = np.zeros((len(rewards), len(self.at_the_start)), dtype=np.float32)
        if self._actions is not None:
            self._actions.write(actions, past[:, self.columns["previous_action"]])
        if "previous_reward" in self.columns:
            past[:, self.columns["previous_reward"]] = rewards[:, np.newaxis]
        return past

    def show(self, observations: Any, past: NDArray[np.float32]) -> Any:
        """Return observations with the past."""
        if not self.is_flat:
            old = observations if self._is_dict else {"observation": observations}
            return {**old, **{key: past[:, at].copy() for key, at in self.columns.items()}}
        size = self._observations.size
        vectors = np.zeros((len(past), size + past.shape[1]), dtype=np.float32)
        self._observations.write(observations, vectors[:, :size])
        vectors[:, size:] = past
        return vectors


def _encoding(which: str, space: gym.Space[Any]) -> FlatEncoding:
    if not isinstance(space, FLAT_KINDS):
        remedy = "flatten it with s7rl.envs.FlattenNested" if which == "observation" else "pass action=False"
        raise ValueError(
            f"the {which} space is {shown(space)}, but PreviousActionReward encodes Box, Discrete, MultiDiscrete "
            f"and MultiBinary: {remedy}."
        )
    return FlatEncoding(space)


def _bounds_of_past(
    actions: FlatEncoding | None, reward: bool, start: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low: list[Any] = [[-np.inf] * reward, [0.0] * start]
    high: list[Any] = [[np.inf] * reward, [1.0] * start]
    if actions is not None:
        # Zeros stand for no action.
        low.insert(0, np.minimum(actions.low, 0))
        high.insert(0, np.maximum(actions.high, 0))
    return np.concatenate(low).astype(np.float32), np.concatenate(high).astype(np.float32)


def _is_image(space: gym.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) > 1
