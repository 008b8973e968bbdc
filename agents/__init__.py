"""Agents: the recurrent policy, its rollout buffer, PPO, and the bridge to Stable-Baselines3."""

from s7rl.agents.checkpoint import load_normalization as load_normalization
from s7rl.agents.distributed import process_group as process_group
from s7rl.agents.numerics import NumericalError as NumericalError
from s7rl.agents.policies import RecurrentActorCriticPolicy as RecurrentActorCriticPolicy
from s7rl.agents.ppo import RecurrentPPO as RecurrentPPO
from s7rl.agents.vec_env import BatchedVecEnv as BatchedVecEnv
from s7rl.agents.vec_env import make_vec_env as make_vec_env
from s7rl.agents.vec_env import prepare_env as prepare_env
