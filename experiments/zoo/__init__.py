"""``RecurrentPPO`` and our environments in RL Baselines3 Zoo (rl_zoo3, extra ``zoo``): importing this registers both.

The zoo knows its algorithms by a dict, and reads it before it imports what ``--gym-packages`` names.  What it imports
sooner is a module ``custom_envs``, where there is one: in the folder that the command is typed in, say, with the line
``import s7rl.experiments.zoo``.  Then ``python -m rl_zoo3.train --algo ppo_s7``, ``rl_zoo3.enjoy`` and every other
script of the zoo have the algorithm ``ppo_s7``, its hyperparameters (``ppo_s7.yml`` beside this file, unless
``--conf-file`` names another), what Optuna searches (that of ``s7rl tune``), and the ids of :mod:`s7rl.envs`.
A script of one's own imports this module before it calls ``rl_zoo3.train.train``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from optuna.trial import BaseTrial, FixedTrial
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from rl_zoo3.utils import ALGOS

from s7rl.agents import RecurrentActorCriticPolicy, RecurrentPPO
from s7rl.envs import register_envs
from s7rl.experiments.settings import UNKNOWN_SPAN
from s7rl.experiments.tuning.search_spaces import COMMON, space_of_core

ALGORITHM = "ppo_s7"
"""What ``--algo`` calls it."""
HYPERPARAMETERS = Path(__file__).with_name(f"{ALGORITHM}.yml")
"""The settings of each environment."""

_PPO = frozenset(inspect.signature(RecurrentPPO).parameters)
_POLICY = frozenset(inspect.signature(RecurrentActorCriticPolicy).parameters)


def sample(trial: BaseTrial, n_actions: int = 0, n_envs: int = 1, further: object = None) -> dict[str, Any]:
    """Arguments of ``RecurrentPPO`` that a trial draws.

    ``n_steps`` and ``batch_size`` stay those of the file: whatever is drawn, minibatches fit the rollout.

    Args:
        trial: of Optuna.
        n_actions: what the zoo hands over; it changes nothing here, and neither do the last two.
        n_envs: see ``n_actions``.
        further: see ``n_actions``.
    """
    space = {**COMMON, **space_of_core("s7", UNKNOWN_SPAN)}
    drawn = {name: ask(trial, name) for name, ask in space.items()}  # type: ignore[arg-type]
    ppo = {name: value for name, value in drawn.items() if name in _PPO}
    policy = {name: value for name, value in drawn.items() if name in _POLICY - _PPO}
    core = {name: value for name, value in drawn.items() if name not in _POLICY | _PPO}
    return {**ppo, "policy_kwargs": {**policy, "core_kwargs": core}}


def convert(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments from a trial's parameters in a study, for ``--trial-id``."""
    return sample(FixedTrial(dict(drawn)))


def register() -> None:
    """Tell the zoo of the algorithm, and Gymnasium of our environments; calling it again changes nothing."""
    register_envs()
    if ALGORITHM in ALGOS:
        return
    ALGOS[ALGORITHM] = RecurrentPPO
    HYPERPARAMS_SAMPLER[ALGORITHM] = sample
    HYPERPARAMS_CONVERTER[ALGORITHM] = convert
    make = ExperimentManager.__init__

    @wraps(make)
    def make_with_our_file(
        manager: ExperimentManager, args: Any, algo: str, *others: Any, config: str | None = None, **options: Any
    ) -> None:
        # The zoo would look for the file among its own.
        config = config or (str(HYPERPARAMETERS) if algo == ALGORITHM else None)
        make(manager, args, algo, *others, config=config, **options)

    ExperimentManager.__init__ = make_with_our_file


register()
