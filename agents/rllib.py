"""S7, or any other core, as an RLModule of Ray RLlib's new API stack, for its PPO.

    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from s7rl.agents.rllib import S7RLModule

    options = dict(core="s7", d_model=64, max_seq_len=128)
    config = PPOConfig().environment(...).rl_module(
        rl_module_spec=RLModuleSpec(module_class=S7RLModule, model_config=options)
    )

Environments, workers, connectors, the loss and checkpoints are RLlib's.  The network is that of
:mod:`s7rl.agents.recurrent_network`.  RLlib keeps the state after each step of an episode.  To learn, it cuts each
episode into sequences of ``max_seq_len`` steps, hands over the state before the first step of each, and pads those that
are shorter: padding stands behind what counts, so that nothing of it reaches a result or, by RLlib's mask, a gradient.
No sequence goes over the end of an episode, so there is no reset within one.
"""

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from s7rl.agents.arguments import check_keywords
from s7rl.agents.observations import Observations, map_observations, with_padding_in
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.policy_names import POLICIES, policy_name
from s7rl.checks import SIZE, check_arguments

try:
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
    from ray.rllib.core.rl_module.torch import TorchRLModule
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"s7rl.agents.rllib needs Ray RLlib 2.60 or newer, but there is no {error.name}: pip install 's7rl[rllib]'.",
        name=error.name,
    ) from None

MEMORY = "memory"
"""The key of the one tensor in a state as RLlib keeps it."""
_ADDED_BY_RLLIB = ("vf_share_layers",)  # to every model_config of PPO; here it is critic_core that says it
_OF_THE_TRAINER = {
    "dynamics_lr_factor": "RLlib has one learning rate for all parameters",
    "optimizer_class": "RLlib makes the optimiser",
    "optimizer_kwargs": "RLlib makes the optimiser",
    **dict.fromkeys(("use_sde", "full_std", "use_expln", "squash_output"), "the distribution of actions is RLlib's"),
}


class _Network(RecurrentActorCriticPolicy):
    """The network, taken apart as RLlib wants it."""

    def latents(
        self, obs: Observations, state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"], Float[Tensor, "B S"]]:
        """What actor and critic make of sequences ``[B, T, ...]`` within episodes, and the state after the last."""
        obs = map_observations(lambda x: x.transpose(0, 1), with_padding_in(self.observation_space, obs))
        leaf = next(iter(obs.values())) if isinstance(obs, dict) else obs
        starts = torch.zeros(leaf.shape[:2], dtype=torch.bool, device=leaf.device)
        if len(starts) == 1:  # acting: one step is cheaper than a scan of one
            pi, vf, state = self._recur(map_observations(lambda x: x[0], obs), state, starts[0])
        else:
            pi, vf, state = self._recur_to_learn(obs, state, starts)
        return self._batch_first(pi, starts.shape), self._batch_first(vf, starts.shape), state

    def logits(self, latent: Float[Tensor, "B T H"]) -> Float[Tensor, "B T L"]:
        """What RLlib makes a distribution of: log-probabilities up to a constant, or means and log deviations."""
        logits: Tensor = self.action_net(self.mlp_extractor.forward_actor(latent))
        if isinstance(self.action_space, spaces.Box):
            return torch.cat([logits, self.log_std.expand_as(logits)], dim=-1)
        return logits

    def values(self, latent: Float[Tensor, "B T H"]) -> Float[Tensor, "B T"]:
        """The critic's values."""
        return self._values(latent.flatten(0, 1)).view(latent.shape[:2])

    @staticmethod
    def _batch_first(x: Float[Tensor, "N H"], shape: torch.Size) -> Float[Tensor, "B T H"]:
        sequences: Tensor = x.unflatten(0, shape)
        return sequences.transpose(0, 1)


class S7RLModule(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]  # RLlib is not typed
    """The module that ``RLModuleSpec(module_class=S7RLModule, model_config=...)`` builds; S7 unless ``core`` says else.

    Observations may be Box, images among them, Discrete, MultiDiscrete, MultiBinary or a Dict of these: RLlib's
    FlattenObservations is not needed.  Actions may be Discrete, counted from 0, or a Box with one axis.

    Its ``model_config`` holds:

    - ``max_seq_len``: the number of steps that a sequence to learn from has, and that gradients go back.  All are
      padded to it, and padding costs what steps cost: an episode's length, or less.
    - any options of :class:`s7rl.agents.RecurrentActorCriticPolicy`: ``core``, ``d_model``, ``d_state``, ``n_blocks``,
      ``core_kwargs``, ``critic_core``, ``checkpoint_steps``, ``net_arch``, ``log_std_init`` and so on; not those of the
      optimiser, nor of gSDE.

    Raises:
        TypeError: if ``model_config`` holds what is no option, or of the wrong kind.
        ValueError: if a space is not supported, ``max_seq_len`` is missing, or an option is out of range.
    """

    def __init__(self, *args: Any, catalog_class: Any = None, **kwargs: Any) -> None:
        # PPO's catalog would warn of spaces that it knows no network for.
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Build the network.  Called by RLlib."""
        options = {name: value for name, value in (self.model_config or {}).items() if name not in _ADDED_BY_RLLIB}
        if "max_seq_len" not in options:
            raise ValueError(
                "model_config has no max_seq_len, the number of steps that gradients go back: add it, such as "
                "{'max_seq_len': 128}."
            )
        check_arguments({"max_seq_len": options.pop("max_seq_len")}, max_seq_len=SIZE)
        for name, reason in _OF_THE_TRAINER.items():
            if name in options:
                raise ValueError(f"model_config has {name!r}, but {reason}: leave it out.")
        given = ("observation_space", "action_space", "lr_schedule")
        check_keywords("model_config", options, RecurrentActorCriticPolicy, without=given)
        _check_actions(self.action_space)
        fitting = POLICIES[policy_name(self.observation_space)].default_features_extractor
        options = {"features_extractor_class": fitting, **options}
        self.network = _Network(self.observation_space, self.action_space, lambda _: 0.0, **options)
        del self.network.optimizer  # RLlib's learner has one

    def get_initial_state(self) -> dict[str, Float[Tensor, " S"]]:
        """The state before anything was seen, of one episode."""
        return {MEMORY: self.network.initial_state(1)[0]}

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Act in one step ``[B, 1, ...]``, or in several ``[B, T, ...]``."""
        latent, _, state = self._latents(batch)
        return self._outputs(latent, state)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Learn from padded sequences ``[B, T, ...]``: what :meth:`_forward` gives, and features for the critic."""
        latent_pi, latent_vf, state = self._latents(batch)
        return {**self._outputs(latent_pi, state), Columns.EMBEDDINGS: latent_vf}

    def compute_values(
        self, batch: dict[str, Any], embeddings: Float[Tensor, "B T H"] | None = None
    ) -> Float[Tensor, "B T"]:
        """The values of observations; of ``embeddings`` where :meth:`forward_train` has made them already."""
        return self.network.values(self._latents(batch)[1] if embeddings is None else embeddings)

    def _latents(
        self, batch: dict[str, Any]
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"], Float[Tensor, "B S"]]:
        return self.network.latents(batch[Columns.OBS], batch[Columns.STATE_IN][MEMORY])

    def _outputs(self, latent: Float[Tensor, "B T H"], state: Float[Tensor, "B S"]) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.network.logits(latent), Columns.STATE_OUT: {MEMORY: state}}


def _check_actions(space: spaces.Space[Any]) -> None:
    """Refuse what RLlib's categorical and Gaussian distributions do not say."""
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return
    raise ValueError(
        f"the action space is {space}, but S7RLModule takes Discrete, counted from 0, and a Box with one axis: map it "
        "to one of these with a gymnasium.ActionWrapper."
    )
