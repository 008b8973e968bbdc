"""Random configurations of an agent and its environment, all of them valid: spaces x options x cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.random import Generator
from numpy.typing import NDArray
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from s7rl import core_names
from s7rl.agents import RecurrentPPO
from s7rl.agents.distributions import mask_parts

Make = Callable[[Generator], Any]


class Drawn(gym.Env[Any, Any]):
    """Observations, rewards and ends at random, and an action that has to be in its space."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.rng = np.random.default_rng(seed)
        observation_space.seed(seed)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        terminated, truncated = self.rng.random(2) < 0.15
        return self.observation_space.sample(), float(self.rng.normal()), bool(terminated), bool(truncated), {}


class DrawnWithMasks(Drawn):
    """The same, and some actions are forbidden."""

    def action_masks(self) -> NDArray[np.bool_]:
        masks = []
        for part in mask_parts(self.action_space):
            allowed = self.rng.random(part) < 0.5
            allowed[self.rng.integers(part)] = True
            masks.append(allowed)
        return np.concatenate(masks)


@dataclass(frozen=True)
class Configuration:
    """What an agent is made of."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    policy: str
    n_envs: int
    masks: bool
    normalize: bool
    options: dict[str, Any]
    policy_kwargs: dict[str, Any]

    def env(self, seed: int) -> VecEnv:
        """New environments."""
        kind = DrawnWithMasks if self.masks else Drawn
        spaces_ = self.observation_space, self.action_space
        env: VecEnv = DummyVecEnv([partial(one_env, kind, *spaces_, seed + row) for row in range(self.n_envs)])
        return VecNormalize(env) if self.normalize else env

    def model(self, seed: int, device: str) -> RecurrentPPO:
        """A new agent."""
        settings = {"policy_kwargs": dict(self.policy_kwargs), **self.options}
        return RecurrentPPO(self.policy, self.env(seed), seed=seed, device=device, **settings)


def one_env(kind: type[Drawn], observation_space: Any, action_space: Any, seed: int) -> gym.Env[Any, Any]:
    from s7rl.envs import FlattenNested

    return FlattenNested(kind(observation_space, action_space, seed))


def draw_configuration(rng: Generator) -> Configuration:
    """One of all that there can be."""
    observation_space, policy = draw_observation_space(rng)
    action_space = draw_action_space(rng)
    box = isinstance(action_space, spaces.Box)
    use_sde = box and chance(rng, 0.4)
    n_envs, n_steps = int(rng.integers(1, 5)), int(rng.integers(2, 25))
    sequence_length = None if chance(rng, 0.5) else pick(rng, divisors(n_steps))
    policy_kwargs = draw_policy_kwargs(rng, use_sde)
    if policy == "MlpPolicy" and chance(rng, 0.1):
        policy, policy_kwargs = "MlpLstmPolicy", {"lstm_hidden_size": 8, "enable_critic_lstm": chance(rng, 0.5)}
    options = {
        "n_steps": n_steps,
        "sequence_length": sequence_length,
        "batch_size": draw_batch_size(rng, n_envs, n_steps, sequence_length),
        "n_epochs": int(rng.integers(1, 4)),
        "learning_rate": pick(rng, [1e-4, 3e-3, LinearSchedule(1e-3, 0.0, 1.0)]),
        "gamma": pick(rng, [0.0, 0.9, 1.0]),
        "gae_lambda": pick(rng, [0.0, 0.95, 1.0]),
        "clip_range": pick(rng, [0.1, 0.3, LinearSchedule(0.2, 0.1, 1.0)]),
        "clip_range_vf": pick(rng, [None, 0.2]),
        "normalize_advantage": chance(rng, 0.8),
        "ent_coef": pick(rng, [0.0, 0.01]),
        "vf_coef": pick(rng, [0.0, 0.5]),
        "max_grad_norm": pick(rng, [0.1, 0.5]),
        "use_sde": use_sde,
        "sde_sample_freq": pick(rng, [-1, 1, 3]),
        "target_kl": pick(rng, [None, None, 0.01]),
        "stats_window_size": pick(rng, [1, 100]),
        "refresh": pick(rng, ["epoch", "never"]),
        "burn_in": pick(rng, [0, 0, 1, n_steps]),
        "n_threads": pick(rng, ["auto", 1]),
    }
    return Configuration(
        observation_space=observation_space,
        action_space=action_space,
        policy=policy,
        n_envs=n_envs,
        masks=not box and chance(rng, 0.5),
        normalize=isinstance(observation_space, spaces.Box) and policy != "CnnPolicy" and chance(rng, 0.3),
        options=options,
        policy_kwargs=policy_kwargs,
    )


def draw_observation_space(rng: Generator) -> tuple[spaces.Space[Any], str]:
    """A space and the policy that takes it."""
    kind = pick(rng, ["leaf", "image", "dict", "nested"])
    if kind == "leaf":
        return draw_leaf(rng), "MlpPolicy"
    if kind == "image":
        return draw_image(rng), pick(rng, ["CnnPolicy", "MlpPolicy"])
    inner: dict[str, spaces.Space[Any]] = {"one": draw_leaf(rng), "two": pick(rng, [draw_leaf, draw_image])(rng)}
    if kind == "dict":
        return spaces.Dict(inner), "MultiInputPolicy"
    return pick(
        rng,
        [
            spaces.Dict({"inside": spaces.Dict(inner), "beside": draw_leaf(rng)}),
            spaces.Tuple([spaces.Dict(inner), draw_leaf(rng)]),
            spaces.Tuple([draw_leaf(rng), spaces.Tuple([draw_leaf(rng)])]),
        ],
    ), "MultiInputPolicy"


def draw_leaf(rng: Generator) -> Any:
    return pick(
        rng,
        [
            spaces.Box(-2.0, 2.0, draw_shape(rng), np.float32),
            spaces.Box(-2.0, 2.0, draw_shape(rng), np.float64),
            spaces.Box(0, 9, draw_shape(rng), np.int32),
            spaces.Discrete(int(rng.integers(1, 7)), start=int(rng.integers(-2, 3))),
            spaces.MultiDiscrete(rng.integers(1, 5, int(rng.integers(1, 4)))),
            spaces.MultiDiscrete(np.array([[2, 3], [4, 1]])),
            spaces.MultiBinary(int(rng.integers(1, 5))),
            spaces.MultiBinary([2, 3]),
        ],
    )


def draw_shape(rng: Generator) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, 4, int(rng.integers(0, 4))))


def draw_image(rng: Generator) -> spaces.Space[Any]:
    channels = pick(rng, [1, 3])
    height, width = (int(n) for n in pick(rng, [(7, 7), (4, 9), (36, 40), rng.integers(3, 24, 2)]))
    shape = pick(rng, [(height, width, channels), (channels, height, width)])
    return spaces.Box(0, 255, shape, np.uint8)


def draw_action_space(rng: Generator) -> Any:
    return pick(
        rng,
        [
            spaces.Discrete(int(rng.integers(1, 6)), start=int(rng.integers(-2, 3))),
            spaces.Box(-1.0, 2.0, (int(rng.integers(1, 4)),), np.float32),
            spaces.Box(-1.0, 2.0, (2, 2), np.float32),
            spaces.MultiDiscrete(rng.integers(1, 5, int(rng.integers(1, 4)))),
            spaces.MultiBinary(int(rng.integers(1, 4))),
        ],
    )


def draw_policy_kwargs(rng: Generator, use_sde: bool) -> dict[str, Any]:
    core = pick(rng, core_names())
    critic_core = pick(rng, ["shared", "separate", "none"])
    kwargs: dict[str, Any] = {
        "core": core,
        "d_model": int(rng.integers(1, 13)),
        "d_state": pick(rng, [None, 1, 6]),
        "n_blocks": pick(rng, [1, 2]),
        "core_kwargs": draw_core_kwargs(rng, core),
        "critic_core": critic_core,
        "checkpoint_steps": pick(rng, [None, None, 1, 4]),
        "share_features_extractor": critic_core == "shared" or chance(rng, 0.5),
        "dynamics_lr_factor": pick(rng, [0.0, 0.3, 1.0]),
        "net_arch": pick(rng, [None, [4], {"pi": [4, 3], "vf": []}]),
        "activation_fn": pick(rng, [torch.nn.Tanh, torch.nn.ReLU]),
        "ortho_init": chance(rng, 0.7),
        "log_std_init": pick(rng, [-1.0, 0.0]),
        "normalize_images": chance(rng, 0.8),
        "optimizer_class": pick(rng, [torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD, torch.optim.AdamW]),
    }
    if use_sde:
        kwargs |= {name: chance(rng, 0.5) for name in ("full_std", "use_expln", "squash_output")}
    return kwargs


def draw_core_kwargs(rng: Generator, core: str) -> dict[str, Any]:
    """Options that the core takes, none or some."""
    steps: dict[str, Any] = {"step_range": (0.01, 0.5)}
    selectivity = pick(rng, ["none", "diagonal", "low_rank", "full"])
    choices: dict[str, dict[str, Any]] = {
        "s7": {
            "selectivity": selectivity,
            "rank": None if selectivity in ("none", "full") else pick(rng, [None, 1, 3]),
            "horizon": (2.0, 50.0),
            "rotation": pick(rng, [0.0, 0.4, 1.0]),
            "angle_spread": pick(rng, ["even", "log"]),
            "learn_angles": chance(rng, 0.5),
            "token_shift": pick(rng, [None, 0.0, 0.9]),
            "rectified": chance(rng, 0.5),
            "readout": pick(rng, ["linear", "asinh"]),
            "input_scale": pick(rng, [0.0, 0.25, 0.5]),
            "allow_negative": chance(rng, 0.5),
            "reparameterization": pick(rng, ["stable", "stable", "exp", "sigmoid"]),
        },
        "s5": steps,
        "s4d": steps,
        "mamba": {"expand": pick(rng, [1, 2]), "d_conv": pick(rng, [1, 4]), **steps},
        "lru": {"r_range": (0.5, 0.99), "max_phase": pick(rng, [0.1, 3.0])},
        "mingru": {"horizon": (2.0, 30.0)},
        "lstm": {"horizon": pick(rng, [None, (2.0, 30.0)])},
        "gtrxl": {"window": pick(rng, [1, 5]), "n_heads": pick(rng, [1, 2]), "d_head": 4, "expansion": 1},
        "stack": {"n_frames": pick(rng, [1, 3])},
    }
    return choices.get(core, {}) if chance(rng, 0.7) else {}


def draw_batch_size(rng: Generator, n_envs: int, n_steps: int, sequence_length: int | None) -> Any:
    total, length = n_envs * n_steps, sequence_length or n_steps
    sizes = [length * number for number in divisors(total // length) if length * number > 1]
    if sequence_length is None:
        sizes += [size for size in divisors(n_steps) if size > 1]
    return pick(rng, [None, *sizes])


def divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def pick(rng: Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)
