"""From environments to the vectorised environments that Stable-Baselines3 trains on."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from s7rl import envs

DEFAULT_N_ENVS = 16
"""Environments that run in parallel where the user names an environment by its id."""


def make_vec_env(
    env_id: str, n_envs: int = DEFAULT_N_ENVS, seed: int | None = None, env_kwargs: Mapping[str, Any] | None = None
) -> VecEnv:
    """Make ``n_envs`` environments of that id, monitored, from the batched engine where the id has one.

    Args:
        env_id: a Gymnasium id, as :func:`s7rl.envs.make_env` takes it.
        n_envs: how many run in parallel.
        seed: environment i is seeded with ``seed + i`` at the first reset; None: at random.
        env_kwargs: keyword arguments of the environment.

    Raises:
        ValueError: if there is no such environment, it does not take an argument, or its package is missing.
    """
    if n_envs < 1:
        raise ValueError(f"n_envs is {n_envs}, but training needs an environment: pass a positive number.")
    vec_env: VecEnv
    if envs.has_batched_engine(env_id, env_kwargs):
        vec_env = BatchedVecEnv(envs.make_batched(env_id, n_envs, env_kwargs))
    else:
        vec_env = DummyVecEnv([lambda: envs.make_env(env_id, env_kwargs)] * n_envs)
    vec_env = VecMonitor(vec_env)
    vec_env.seed(seed)
    return vec_env


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
                "episode: make it with autoreset_mode=AutoresetMode.SAME_STEP."
            )
        self.vector_env = vector_env
        self._actions: NDArray[Any] | None = None
        # The constructor asks for the attribute render_mode, so the environment has to be there before.
        super().__init__(vector_env.num_envs, vector_env.single_observation_space, vector_env.single_action_space)

    def reset(self) -> NDArray[Any]:
        """Start all episodes anew, with the seed that was set since the last reset."""
        obs: NDArray[Any]
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
            for i in ended.nonzero()[0]:
                infos[i] = {
                    "terminal_observation": batched["final_obs"][i],
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                }
                successes = batched.get("is_success", batched.get("final_info", {}).get("is_success"))
                if successes is not None:
                    infos[i]["is_success"] = bool(successes[i])
        return obs, rewards.astype(np.float32, copy=False), ended, infos

    def close(self) -> None:
        """Close the environments."""
        self.vector_env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the batched environment, once per environment asked for."""
        return [getattr(self.vector_env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refused: the environments of a batched engine share their attributes."""
        raise NotImplementedError(f"a batched environment cannot set {attr_name!r} for single environments.")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batched environment once; its result stands for each environment asked for."""
        result = getattr(self.vector_env, method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """No single environment stands in a wrapper of its own."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """No images: batched environments render as text only."""
        return [None] * self.num_envs
