"""Agents: the recurrent policy, its rollout buffer, PPO, and the bridge to Stable-Baselines3.

Importing this package does not import torch; the names below do when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import s7rl

if getattr(s7rl, "__file__", None) is None:
    # Half of the package would work, up to the names that s7rl itself has, such as the version in a checkpoint.
    raise ImportError(
        f"Python takes the folder {next(iter(s7rl.__path__))} for the package s7rl, as it lies beside the script, or "
        "where Python was started: rename that folder, or move the script."
    )

if TYPE_CHECKING:
    from s7rl.agents.anomalies import NumericalError as NumericalError
    from s7rl.agents.distributed import process_group as process_group
    from s7rl.agents.export import export_agent as export_agent
    from s7rl.agents.history_extractor import S7HistoryExtractor as S7HistoryExtractor
    from s7rl.agents.normalization import VecScale as VecScale
    from s7rl.agents.normalization import load_normalization as load_normalization
    from s7rl.agents.policies import RecurrentActorCriticPolicy as RecurrentActorCriticPolicy
    from s7rl.agents.ppo import RecurrentPPO as RecurrentPPO
    from s7rl.agents.shaped_reward import ShapedRewardVecEnv as ShapedRewardVecEnv
    from s7rl.agents.vec_env import BatchedVecEnv as BatchedVecEnv
    from s7rl.agents.vec_env import prepare_env as prepare_env
    from s7rl.agents.vectorization import make_vec as make_vec
    from s7rl.agents.workers import WorkerError as WorkerError
    from s7rl.agents.workers import WorkerVecEnv as WorkerVecEnv

_HOMES = {
    "BatchedVecEnv": "s7rl.agents.vec_env",
    "NumericalError": "s7rl.agents.anomalies",
    "RecurrentActorCriticPolicy": "s7rl.agents.policies",
    "RecurrentPPO": "s7rl.agents.ppo",
    "S7HistoryExtractor": "s7rl.agents.history_extractor",
    "ShapedRewardVecEnv": "s7rl.agents.shaped_reward",
    "VecScale": "s7rl.agents.normalization",
    "WorkerError": "s7rl.agents.workers",
    "WorkerVecEnv": "s7rl.agents.workers",
    "export_agent": "s7rl.agents.export",
    "load_normalization": "s7rl.agents.normalization",
    "make_vec": "s7rl.agents.vectorization",
    "prepare_env": "s7rl.agents.vec_env",
    "process_group": "s7rl.agents.distributed",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
