"""Tasks that need memory, and one way to make any Gymnasium environment for a policy.

Importing this package registers our environments with Gymnasium: the memory tasks, larger Memory mazes of MiniGrid, and
those of the suites control, mujoco and atari, whose packages are imported when one is made.  It needs gymnasium and
numpy, and never torch.
"""

from s7rl.envs.batched import Engine, EngineEnv, EngineVectorEnv
from s7rl.envs.registry import has_batched_engine, make_batched, make_env, register_envs
from s7rl.envs.tasks import Task, find_task, task_ids
from s7rl.envs.wrappers.by_name import parse_wrapper, wrap, wrap_vector
from s7rl.envs.wrappers.flatten import FlattenNested, flatten_observation, flatten_space
from s7rl.envs.wrappers.history import HistoryWrapper

__all__ = [
    "Engine",
    "EngineEnv",
    "EngineVectorEnv",
    "FlattenNested",
    "HistoryWrapper",
    "Task",
    "find_task",
    "flatten_observation",
    "flatten_space",
    "has_batched_engine",
    "make_batched",
    "make_env",
    "parse_wrapper",
    "register_envs",
    "task_ids",
    "wrap",
    "wrap_vector",
]

register_envs()
