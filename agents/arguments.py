"""What the arguments of :class:`s7rl.agents.RecurrentPPO` and of its policy may be: one table for each.

The constructors hold their arguments against these tables before they make anything, so that a mistake is one line
that names the argument and leaves nothing behind.  The options of the cores are checked by the cores.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from s7rl.checks import (
    FLAG,
    OPTIONS,
    SIZE,
    Rule,
    check_arguments,
    choice,
    instance,
    instead,
    is_number,
    is_whole_number,
    number,
    shown,
    subclass,
    whole_number,
)


def _scheduled(rule: Rule) -> Rule:
    """A number, or a function of the remaining progress that is one at the start, and be it 0: SB3 users freeze so."""

    def in_range(value: Any) -> bool:
        if not callable(value):
            return rule.in_range(value)
        first = value(1.0)
        return is_number(first) and (first == 0 or rule.in_range(first))

    return replace(
        rule,
        hint=f"{rule.hint}, or a function of the remaining progress that gives one",
        # Not numpy's: SB3's schedules take none of them.
        of_kind=lambda value: callable(value) or (isinstance(value, int | float) and not isinstance(value, bool)),
        in_range=in_range,
    )


def _is_device(value: str | torch.device) -> bool:
    try:
        return value == "auto" or torch.device(value) is not None
    except RuntimeError:
        return False


def _is_architecture(value: object) -> bool:
    """Widths of layers, or a dict of them; SB3 also takes that dict in a list."""
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        return set(value) <= {"pi", "vf"} and all(_is_architecture(part) for part in value.values())
    return isinstance(value, list | tuple) and all(is_whole_number(width) for width in value)


def widths(value: Any) -> list[int]:
    """The widths of all layers of a ``net_arch``."""
    parts = value.values() if isinstance(value, dict) else value
    return [width for part in parts for width in (widths(part) if isinstance(part, list | tuple | dict) else [part])]


def _is_callback(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, BaseCallback) for part in value)
    return isinstance(value, BaseCallback) or (callable(value) and not isinstance(value, type))


TEXT = instance("it is a name", "pass a string", str)
WEIGHT = number("it is the weight of a term of the loss", least=0.0)

MOST_THREADS = 1024
"""Torch's threads on the CPU; each takes memory, and a process that cannot have them ends without a word."""

PPO_ARGUMENTS: Mapping[str, Rule] = {
    "env": instance(
        "there is nothing in it to learn from",
        "pass an SB3 VecEnv, or a Gymnasium environment, its id or a vector environment",
        str,
        gym.Env,
        VectorEnv,
        VecEnv,
    ).or_none(),
    "learning_rate": _scheduled(number("it is a step size", least=0.0)),
    "n_steps": whole_number("a rollout needs at least one step", least=1, most=2**31 - 1),
    "batch_size": whole_number("it is how many steps a minibatch has", least=1).or_none(),
    "n_epochs": whole_number("it is how often each rollout is gone through", least=1),
    "gamma": number("it discounts a reward per step", least=0.0, most=1.0),
    "gae_lambda": number("it is a trace decay", least=0.0, most=1.0),
    "clip_range": _scheduled(number("it is how far a probability ratio may move", above=0.0)),
    "clip_range_vf": _scheduled(number("it is how far a value may move", above=0.0)).or_none(),
    "normalize_advantage": FLAG,
    "ent_coef": WEIGHT,
    "vf_coef": WEIGHT,
    "max_grad_norm": number("gradients are scaled down to it", above=0.0),
    "use_sde": FLAG,
    "sde_sample_freq": whole_number("it is how many steps the noise is kept, -1 for a whole rollout", least=-1),
    "target_kl": number("it is a KL divergence to stop at", above=0.0).or_none(),
    "stats_window_size": whole_number("it is how many episodes are averaged over", least=1),
    "tensorboard_log": instance("it is a folder", "pass its path", str, PathLike).or_none(),
    "policy_kwargs": OPTIONS.or_none(),
    "verbose": Rule(
        meaning="it is how much is printed",
        hint="pass 0, 1 or 2",
        of_kind=lambda value: is_whole_number(value) or isinstance(value, bool),
        in_range=lambda value: 0 <= value <= 2,
    ),
    "seed": whole_number("numpy takes no other seed", least=0, most=2**32 - 1).or_none(),
    "device": Rule(
        meaning="torch has no such device",
        hint="pass 'auto', 'cpu', 'cuda' or another that torch knows",
        of_kind=lambda value: isinstance(value, str | torch.device),
        in_range=_is_device,
    ),
    "n_threads": Rule(
        meaning="it is a number of threads",
        hint=f"pass a whole number from 1 to {MOST_THREADS}, or 'auto'",
        of_kind=lambda value: isinstance(value, str) or is_whole_number(value),
        in_range=lambda value: value == "auto" if isinstance(value, str) else 1 <= value <= MOST_THREADS,
    ),
    "sequence_length": whole_number("it is how many steps a sequence has", least=1).or_none(),
    "refresh": choice("it is when the states that sequences start from are computed anew", ("epoch", "never")),
    "burn_in": whole_number("it is how many earlier steps warm the state up", least=0),
    "debug_anomalies": FLAG,
    "compile_policy": FLAG,
}
"""The arguments of RecurrentPPO but for ``policy``, see :func:`check_policy`."""

POLICY_ARGUMENTS: Mapping[str, Rule] = {
    "core": TEXT,
    "critic_core": choice("it is the core that the critic has", ("shared", "separate", "none")),
    "checkpoint_steps": SIZE.or_none(),
    "d_model": SIZE,
    "d_state": SIZE.or_none(),
    "n_blocks": SIZE,
    "core_kwargs": OPTIONS.or_none(),
    "dynamics_lr_factor": number("it is a share of the learning rate", least=0.0),
    "net_arch": Rule(
        meaning="it is the widths of the layers before the heads",
        hint="pass a list of positive whole numbers, or a dict of such lists for pi and vf",
        of_kind=_is_architecture,
        in_range=lambda value: all(width >= 1 for width in widths(value)),
    ).or_none(),
    "activation_fn": subclass("it is the class of an activation", nn.Module),
    "ortho_init": FLAG,
    "log_std_init": number("it is the logarithm of a standard deviation"),
    "use_sde": FLAG,
    "full_std": FLAG,
    "use_expln": FLAG,
    "squash_output": FLAG,
    "features_extractor_class": subclass("it is the class of an encoder", BaseFeaturesExtractor).or_none(),
    "features_extractor_kwargs": OPTIONS.or_none(),
    "share_features_extractor": FLAG,
    "normalize_images": FLAG,
    "optimizer_class": subclass("it is the class of an optimiser", torch.optim.Optimizer),
    "optimizer_kwargs": OPTIONS.or_none(),
}
"""The policy's keyword arguments, all that stand in ``policy_kwargs``."""

LSTM_ARGUMENTS: Mapping[str, Rule] = {
    "lstm_hidden_size": SIZE,
    "n_lstm_layers": SIZE,
    "shared_lstm": FLAG,
    "enable_critic_lstm": FLAG,
    "lstm_kwargs": OPTIONS.or_none(),
}
"""What ``policy_kwargs`` may hold besides where the policy has one of sb3-contrib's names."""

LEARN_ARGUMENTS: Mapping[str, Rule] = {
    # Not only whole numbers: learn(1e6) is in many scripts.
    "total_timesteps": number("it is how many environment steps to train for", least=0.0),
    "callback": Rule(
        meaning="nothing of it can be called",
        hint="pass a callback of SB3's, a list of them, or a function",
        of_kind=_is_callback,
    ).or_none(),
    "log_interval": whole_number("it is how many rollouts lie between two dumps", least=1).or_none(),
    "tb_log_name": TEXT,
    "reset_num_timesteps": FLAG,
    "progress_bar": FLAG,
    "use_masking": FLAG.or_none(),
}
"""The arguments of ``RecurrentPPO.learn``."""


def check_policy(policy: object, aliases: Collection[str], parent: type[BasePolicy]) -> None:
    """Check that it is the name of a policy, or the class of one.

    Raises:
        ValueError: if there is no policy of that name.
        TypeError: if it is neither.
    """
    if isinstance(policy, str):
        if policy not in aliases:
            raise ValueError(f"policy is {policy!r}, but there is none of that name: {instead(policy, aliases)}")
    elif not (isinstance(policy, type) and issubclass(policy, parent)):
        raise TypeError(
            f"policy is {shown(policy)}, but it is the name of one or a subclass of {parent.__name__}: "
            f"{instead('', aliases)}"
        )


def check_policy_kwargs(policy_kwargs: Mapping[str, Any], policy_class: Callable[..., Any]) -> None:
    """Check that a policy takes the options in ``policy_kwargs``, and their values where there is a rule.

    Raises:
        ValueError: if an option is out of range.
        TypeError: if the policy takes no such option, or one is of the wrong kind.
    """
    own = ("observation_space", "action_space", "lr_schedule", "use_sde")
    check_keywords("policy_kwargs", policy_kwargs, policy_class, without=own)
    check_given(policy_kwargs, POLICY_ARGUMENTS)
    defaults = inspect.signature(policy_class).parameters
    for kind, without in (("features_extractor", ("observation_space",)), ("optimizer", ("params", "lr"))):
        taker = policy_kwargs.get(f"{kind}_class")
        if taker is None and f"{kind}_class" in defaults:
            taker = defaults[f"{kind}_class"].default or getattr(policy_class, f"default_{kind}", None)
        if taker is not None:
            check_keywords(f"{kind}_kwargs", policy_kwargs.get(f"{kind}_kwargs") or {}, taker, without=without)


def check_given(arguments: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    """Check those of the arguments for which there is a rule."""
    check_arguments(arguments, **{name: rule for name, rule in rules.items() if name in arguments})


def check_keywords(
    name: str, keywords: Mapping[str, Any], callee: Callable[..., Any], *, without: Collection[str] = ()
) -> None:
    """Check that a class or function takes these keyword arguments.

    Args:
        name: the argument that holds them.
        keywords: what it holds.
        callee: what takes them.
        without: arguments that are given it anyway and cannot be given twice.

    Raises:
        TypeError: if it does not take one.
    """
    parameters = inspect.signature(callee).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [parameter for parameter in parameters if parameter not in without]
    for keyword in keywords:
        if keyword not in known:
            taker = getattr(callee, "__name__", repr(callee))
            raise TypeError(f"{name} holds {keyword!r}, which {taker} does not take: {instead(keyword, known)}")
