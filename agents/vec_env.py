"""From environments to the vectorised environments that Stable-Baselines3 trains on."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecTransposeImage,
    is_vecenv_wrapped,
)
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from s7rl.envs.wrappers.flatten import flatten_env, flatten_observation, flatten_space


def prepare_env(env: gym.Env[Any, Any] | VectorEnv | VecEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
    """Make what an agent trains on of what a user passes: an SB3 VecEnv with a flat observation space.

    It is SB3's own preparation (a Monitor around a single environment, channels of images first), and besides:

    * nested Dict and Tuple observations become one Dict, see :mod:`s7rl.envs.wrappers.flatten`;
    * a Gymnasium vector environment is wrapped in :class:`BatchedVecEnv` and monitored;
    * images whose order of channels SB3 would mistake or cannot mix stay as they are;
      :class:`s7rl.agents.encoders.ImageExtractor` takes either order.

    Args:
        env: a Gymnasium environment or vector environment, or an SB3 VecEnv; one that is prepared comes back as it is.
        verbose: 1: print it where channels of images are moved first.
        monitor_wrapper: record the returns and lengths of episodes; a VecEnv keeps the monitor that it has or has not.

    Raises:
        ValueError: in one line, if an observation cannot be flattened, or a vector environment does not reset episodes
            within the step that ends them.
    """
    if isinstance(env, gym.Env):
        single = flatten_env(env)
        if monitor_wrapper and not is_wrapped(single, Monitor):
            single = Monitor(single)
        env = DummyVecEnv([lambda: single])
    elif isinstance(env, VectorEnv):
        env = VecMonitor(BatchedVecEnv(env)) if monitor_wrapper else BatchedVecEnv(env)
    if isinstance(env, VecEnv):
        env = flatten_vec_env(env)
        if not is_vecenv_wrapped(env, VecTransposeImage) and _mistakes_channels(env.observation_space):
            env = VecTransposeImage(env, skip=True)
    # What is none of these, SB3 refuses.
    return BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)


def flatten_vec_env(venv: VecEnv) -> VecEnv:
    """The environment with flat observations: itself where they are flat already.

    Raises:
        ValueError: in one line, if an observation cannot be flattened.
    """
    return venv if flatten_space(venv.observation_space) is venv.observation_space else FlattenVecEnv(venv)


class FlattenVecEnv(VecEnvWrapper):
    """Flatten nested Dict and Tuple observations, those at the end of episodes included."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv, observation_space=flatten_space(venv.observation_space))

    def reset(self) -> VecEnvObs:
        """Start all episodes anew."""
        return self._flatten_batch(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for i in np.flatnonzero(dones):
            if "terminal_observation" in infos[i]:
                last = infos[i]["terminal_observation"]
                infos[i]["terminal_observation"] = flatten_observation(self.observation_space, last)
        # A list, as SB3 declares it; SubprocVecEnv gives a tuple.
        return self._flatten_batch(observations), rewards, dones, list(infos)

    def _flatten_batch(self, observations: Any) -> VecEnvObs:
        entries = dict(observations) if isinstance(observations, Mapping) else dict(enumerate(observations))
        if not any(isinstance(entry, np.ndarray) and entry.dtype == object for entry in entries.values()):
            flat: VecEnvObs = flatten_observation(self.observation_space, observations)
            return flat
        # SB3's SubprocVecEnv stacks what is nested deeper as objects, one per environment.
        rows = [
            flatten_observation(self.observation_space, {name: entry[i] for name, entry in entries.items()})
            for i in range(self.num_envs)
        ]
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


class BatchedVecEnv(VecEnv):
    """A Gymnasium ``VectorEnv`` as an SB3 ``VecEnv``.

    The vector environment has to reset ended episodes within the same step and to report their last observation as
    ``infos["final_obs"]``, as Gymnasium's own do in ``AutoresetMode.SAME_STEP``; SB3's users rely on that order.

    Raises:
        ValueError: if the vector environment resets in another way.
    """

    def __init__(self, vector_env: VectorEnv) -> None:
        mode = vector_env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"the vector environment's autoreset_mode is {mode}, but SB3 resets within the step that ends an "
                "episode: make it with autoreset_mode=AutoresetMode.SAME_STEP (gymnasium.make_vec takes that in "
                'vector_kwargs, with vectorization_mode="sync").'
            )
        self.vector_env = vector_env
        self._actions: NDArray[Any] | None = None
        # The constructor asks for the attribute render_mode, so the environment has to be there before.
        super().__init__(vector_env.num_envs, vector_env.single_observation_space, vector_env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Start all episodes anew, with the seed that was set since the last reset."""
        obs: VecEnvObs
        obs, _ = self.vector_env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments.  Only those whose episode ended get something into their info."""
        obs, rewards, terminated, truncated, batched = self.vector_env.step(self._actions)
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended.any():
            # Beside a final info, what stands at the top level is of the episodes that have begun or go on.
            last = batched.get("final_info", batched)
            successes, known = last.get("is_success"), last.get("_is_success", ended)
            for i in ended.nonzero()[0]:
                infos[i] = {
                    "terminal_observation": batched["final_obs"][i],
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                }
                if successes is not None and known[i] and successes[i] is not None:
                    infos[i]["is_success"] = bool(successes[i])
        return obs, rewards.astype(np.float32, copy=False), ended, infos

    def close(self) -> None:
        """Close the environments."""
        self.vector_env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the batched environment, once per environment asked for."""
        return [self._find(attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refused: the environments of a batched engine share their attributes."""
        raise NotImplementedError(f"a batched environment cannot set {attr_name!r} for single environments.")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batched environment once; its result stands for each environment asked for."""
        result = self._find(method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """No single environment stands in a wrapper of its own."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A frame of each environment where they render as ``rgb_array``; None of each where they do not."""
        frames = self.vector_env.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)  # type: ignore[arg-type]  # any kind of frame

    def _find(self, name: str) -> Any:
        # Gymnasium's wrappers of vector environments do not hand on what is not theirs.
        env: Any = self.vector_env
        while isinstance(env, VectorWrapper) and not hasattr(env, name):
            env = env.env
        return getattr(env, name)


def _mistakes_channels(space: gym.Space[Any]) -> bool:
    """Whether SB3, which takes the smallest axis for the channels, would see images of both orders or a third one."""
    leaves = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    axes = {int(np.argmin(leaf.shape)) for leaf in leaves if leaf.shape is not None and is_image_space(leaf)}
    return len(axes) > 1 or 1 in axes
