"""Whole trainers as things to measure: rounds of one rollout and one update, on environments that are the same for all.

Ours with any core, sb3-contrib's RecurrentPPO, as it comes and built like ours, and Stable-Baselines3's memoryless PPO;
each by its own ``collect_rollouts`` and ``train``. Beside them, as a yardstick, the matrix products of our network and
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn

from s7rl import core_names
from s7rl.agents import RecurrentPPO, make_vec
from s7rl.agents.policy_names import policy_name
from s7rl.envs import find_task
from s7rl.experiments.bench.models import REFERENCE, SEED, parameter_count, synchronize
from s7rl.experiments.bench.probe import Probed
from s7rl.experiments.presets import AGENTS, SUITES
from s7rl.experiments.settings import environments, reach_of, rollout_length

SB3, SB3_CONTRIB, SHARED, PRODUCTS = "sb3", "sb3-contrib", "sb3-contrib, shared", "products of s7"
"""What is measured beside our trainer with each core."""
N_EPOCHS = 4
MINIBATCHES = 4
"""Minibatches of a pass over the rollout."""
TMAZE = "s7rl/TMazePassive-v0"
_PRESETS = {core: AGENTS[core] for core in core_names()}
NO_CONTRIB = f"{SB3_CONTRIB}'s RecurrentPPO is left out, as it is not installed: pip install sb3-contrib"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A task, and how much of it is collected before each update."""

    env_id: str
    """The environment."""
    n_steps: int
    """T, steps of each environment in a rollout."""
    n_envs: int
    """Environments side by side; ``MINIBATCHES`` divides it, so that a minibatch has whole rows."""
    corridor_length: int | None = None
    """Of a T-maze."""

    @classmethod
    def tmaze(cls, *, n_steps: int, n_envs: int, episode: int) -> Setting:
        """A T-maze whose episodes have that many steps, which is even.

        It is twice the corridor and 2, since nobody who acts at random gets to the junction before.
        """
        return cls(env_id=TMAZE, n_steps=n_steps, n_envs=n_envs, corridor_length=episode // 2 - 1)

    @classmethod
    def preset(cls, env_id: str) -> Setting:
        """A task with the rollout that `s7rl train` chooses for it."""
        task = find_task(env_id, {})
        suite = SUITES[task.suite]
        n_steps = rollout_length(reach_of(task), suite)
        return cls(env_id=env_id, n_steps=n_steps, n_envs=environments(n_steps, suite))

    @property
    def env_kwargs(self) -> Mapping[str, Any]:
        """Keyword arguments of the environment."""
        return {} if self.corridor_length is None else {"corridor_length": self.corridor_length}

    @property
    def steps(self) -> int:
        """Environment steps of a rollout."""
        return self.n_steps * self.n_envs

    @property
    def batch_size(self) -> int:
        """Steps of a minibatch."""
        return self.steps // MINIBATCHES


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Who learns, and how large its network is."""

    name: str
    """Of ``core_names()`` for ours, or ``SB3``, ``SB3_CONTRIB``, ``SHARED`` or ``PRODUCTS``."""
    d_model: int
    """Width of the features, of the LSTM, of SB3's hidden layers."""
    d_state: int | None = None
    """Modes of a state space model; None: the trainer's network has none."""

    def __str__(self) -> str:
        """As tables name it: with its modes where they are not those of the preset."""
        usual = self.d_state is None or (self.name in _PRESETS and self.d_state == _PRESETS[self.name].d_state)
        return self.name if usual else f"{self.name}, {self.d_state} modes"


@dataclass(frozen=True)
class Run:
    """A trainer in a setting."""

    setting: Setting
    """What it learns."""
    trainer: Trainer
    """Who learns it."""

    def __str__(self) -> str:
        """For messages."""
        return f"{self.trainer}, T = {self.setting.n_steps:,}"


def trainer_of(core: str, d_model: int, d_state: int | None) -> Trainer:
    """Our trainer with a core; of its preset's size where ``d_state`` is None."""
    preset = _PRESETS[core]
    return Trainer(name=core, d_model=d_model, d_state=(d_state or preset.d_state) if preset.has_modes else None)


def has_contrib() -> bool:
    """Whether sb3-contrib is installed."""
    return find_spec("sb3_contrib") is not None


class TrainerRounds:
    """A trainer, taken out of its ``learn``.

    Its step size is 0: the same work is done, but the policy stays the random one that it is at first, so that episodes
    have the same length in every round and for all trainers.
    """

    def __init__(self, setting: Setting, trainer: Trainer, device: str = "cpu") -> None:
        self._device = torch.device(device)
        torch.manual_seed(SEED)
        self.algorithm = _algorithm(setting, trainer, device)
        self.algorithm.set_logger(Logger(None, []))
        if isinstance(self.algorithm, RecurrentPPO):
            self.algorithm._set_masking(None)
        _, self._callback = self.algorithm._setup_learn(setting.steps, None)
        self._callback.on_training_start(locals(), globals())

    @property
    def parameters(self) -> int:
        """How many numbers it learns."""
        return parameter_count(self.algorithm.policy)

    def rollout(self) -> None:
        """Collects a rollout, to the end also on a GPU."""
        algorithm = self.algorithm
        assert algorithm.env is not None
        algorithm.collect_rollouts(algorithm.env, self._callback, algorithm.rollout_buffer, algorithm.n_steps)
        synchronize(self._device)

    def train(self) -> None:
        """Learns from it."""
        self.algorithm.train()
        synchronize(self._device)


def _algorithm(setting: Setting, trainer: Trainer, device: str) -> OnPolicyAlgorithm:
    env = make_vec(setting.env_id, setting.n_envs, SEED, setting.env_kwargs)
    common: dict[str, Any] = {
        "learning_rate": 0.0,
        "n_steps": setting.n_steps,
        "batch_size": setting.batch_size,
        "n_epochs": N_EPOCHS,
        "seed": SEED,
        "device": device,
    }
    policy, hidden = policy_name(env.observation_space), [trainer.d_model, trainer.d_model]
    if trainer.name == SB3:
        return PPO(policy, env, policy_kwargs={"net_arch": hidden}, **common)
    if trainer.name in (SB3_CONTRIB, SHARED):
        import sb3_contrib

        sizes = {"net_arch": hidden, "lstm_hidden_size": trainer.d_model}
        if trainer.name == SHARED:
            # As ours: one memory for actor and critic, and their heads right behind it.
            sizes |= {"net_arch": [], "shared_lstm": True, "enable_critic_lstm": False}
        return sb3_contrib.RecurrentPPO(policy.replace("Policy", "LstmPolicy"), env, policy_kwargs=sizes, **common)
    sizes = {"core": trainer.name, "d_model": trainer.d_model, "d_state": trainer.d_state}
    return RecurrentPPO(policy, env, policy_kwargs=sizes, **common)


def dense_layers(policy: nn.Module) -> list[nn.Linear]:
    """The linear layers of a policy, each of which an observation passes once; what looks vectors up is none."""
    return [module for module in policy.modules() if isinstance(module, nn.Linear)]


class ProductRounds:
    """The matrix products of linear layers and nothing else, in the shapes that a trainer has them in.

    A rollout is ``n_steps`` times each layer, forward, on the rows of all environments. Learning is three products of
    a layer and minibatch: forward, the gradient of the input, and that of the weight. The layers are taken over as they
    are, without their biases, so that the same library multiplies here as in the network while it learns. While it acts
    on a CPU, a compiled kernel may do the products of a block, and no library.
    """

    def __init__(self, layers: Sequence[nn.Linear], setting: Setting, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._setting = setting
        self.layers = [deepcopy(layer) for layer in layers]
        torch.manual_seed(SEED)
        self._seen: list[Tensor] = []
        self._inputs: list[Tensor] = []
        self._gradients: list[Tensor] = []
        for layer in self.layers:
            layer.register_parameter("bias", None)
            self._seen.append(torch.randn(setting.n_envs, layer.in_features, device=device))
            self._inputs.append(torch.randn(setting.batch_size, layer.in_features, device=device, requires_grad=True))
            self._gradients.append(torch.randn(setting.batch_size, layer.out_features, device=device))

    def rollout(self) -> None:
        """Runs the products of a rollout."""
        with torch.no_grad():
            for _ in range(self._setting.n_steps):
                for layer, x in zip(self.layers, self._seen, strict=True):
                    layer(x)
        synchronize(self._device)

    def train(self) -> None:
        """Runs those of an update."""
        for _ in range(N_EPOCHS * MINIBATCHES):
            for layer, x, gradient in zip(self.layers, self._inputs, self._gradients, strict=True):
                layer(x).backward(gradient)
                x.grad = layer.weight.grad = None
        synchronize(self._device)


def make_rounds(setting: Setting, trainer: Trainer, device: str) -> TrainerRounds | ProductRounds:
    """Makes a trainer or the yardstick, ready for its first rollout; the same for every call."""
    if trainer.name == PRODUCTS:
        network = TrainerRounds(
            setting, Trainer(name=REFERENCE, d_model=trainer.d_model, d_state=trainer.d_state), device
        )
        return ProductRounds(dense_layers(network.algorithm.policy), setting, device)
    return TrainerRounds(setting, trainer, device)


@dataclass(frozen=True, kw_only=True)
class RoundProbe(Probed):
    """The first round of a trainer, with all that it makes: environments, network, rollout, gradients."""

    modules: ClassVar[tuple[str, ...]] = (__name__,)

    setting: Setting
    """The task."""
    trainer: Trainer
    """Who learns it."""

    def warm_up(self) -> None:
        """Runs one in miniature."""
        small = Setting(
            env_id=self.setting.env_id, corridor_length=self.setting.corridor_length, n_steps=8, n_envs=MINIBATCHES
        )
        self._round(small)

    def make(self) -> Callable[[], object]:
        """It is the first step of a round to make everything."""
        return lambda: self._round(self.setting)

    def _round(self, setting: Setting) -> None:
        rounds = make_rounds(setting, self.trainer, self.device)
        rounds.rollout()
        rounds.train()
