"""The recurrent actor-critic policy: how it is built, acts, learns and answers ``predict``.

The network is that of :mod:`s7rl.agents.recurrent_network`; outside, its state is a numpy array.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from s7rl.agents.action_masks import check_action_masks
from s7rl.agents.anomalies import NumericalError
from s7rl.agents.arguments import POLICY_ARGUMENTS
from s7rl.agents.distributions import Maskable, log_prob_and_entropy
from s7rl.agents.encoders import ImageExtractor, MultiInputExtractor, VectorExtractor
from s7rl.agents.gradient_checkpointing import recur_in_pieces
from s7rl.agents.observations import Observations, check_shape, to_batch, to_tensors
from s7rl.agents.recurrent_network import RecurrentNetwork
from s7rl.agents.spaces import check_spaces, flat_actions, to_action_space
from s7rl.checks import check_arguments
from s7rl.cores import split_dynamics


class RecurrentActorCriticPolicy(RecurrentNetwork):
    """Actor and critic on a recurrent core, by default on one that gets the gradient of both.

    Args:
        observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these.
        action_space: Discrete, Box, MultiDiscrete or MultiBinary.
        lr_schedule: learning rate as a function of the remaining progress (1 to 0).
        core: name of the sequence model, see :func:`s7rl.core_names`.
        d_model: H, the width of encoder, core and features.
        d_state: N, the number of modes of a state space core; None leaves it to the core, and other cores ignore it.
        n_blocks: how many blocks the core has.
        core_kwargs: further options of the core, see :func:`s7rl.core_options`.
        critic_core: what the critic remembers with: "shared", the actor's core, trained by both; "separate", encoder
            and core of its own; "none", an encoder of its own and no memory.
        dynamics_lr_factor: learning rate of the parameters that set the core's time scales, as a share of that of all
            others; they are never decayed.  See :meth:`s7rl.Core.dynamics_parameters`.
        checkpoint_steps: K, keep only the memory's state every K steps of a sequence while learning, and compute what
            lies between again for the gradient: less memory, more time; None: keep everything.  A batch norm in the
            features extractor then normalises by K steps.
        net_arch: hidden layers between core and heads, as in SB3; none by default: the core's block is deep enough.
        activation_fn: activation of those layers.
        ortho_init: orthogonal initialisation of encoder and heads, as in SB3.
        use_sde: exploration noise of a Box action that depends on the features (gSDE), as in SB3.
        log_std_init: initial log standard deviation of a Box action.
        full_std: with ``use_sde``, a deviation for each pair of feature and action, as in SB3.
        use_expln: with ``use_sde``, keep the deviation from growing fast, as in SB3.
        squash_output: with ``use_sde``, squash actions into the bounds by tanh, as in SB3.
        features_extractor_class: as in SB3.
        features_extractor_kwargs: as in SB3.
        share_features_extractor: False gives the critic a features extractor of its own; its core then cannot be
            shared.
        normalize_images: divide images of bytes by 255, as in SB3.
        optimizer_class: as in SB3.
        optimizer_kwargs: as in SB3; for Adam eps is 1e-5 and the fused implementation is used.

    Raises:
        TypeError: if an option is of the wrong kind.
        ValueError: if a space is not supported, an option is out of range, or options do not fit together.
    """

    default_features_extractor: type[BaseFeaturesExtractor] = VectorExtractor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        core: str = "s7",
        d_model: int = 64,
        d_state: int | None = None,
        n_blocks: int = 1,
        core_kwargs: dict[str, Any] | None = None,
        critic_core: str = "shared",
        dynamics_lr_factor: float = 1.0,
        checkpoint_steps: int | None = None,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.Tanh,
        ortho_init: bool = True,
        use_sde: bool = False,
        log_std_init: float = 0.0,
        full_std: bool = True,
        use_expln: bool = False,
        squash_output: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        share_features_extractor: bool = True,
        normalize_images: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        check_spaces(observation_space, action_space)
        check_arguments(locals(), **POLICY_ARGUMENTS)
        if critic_core == "shared" and not share_features_extractor:
            raise ValueError(
                "share_features_extractor is False, but a shared core has one input: pass critic_core='separate' or "
                "'none' with it."
            )
        if squash_output and not use_sde:
            raise ValueError(
                "squash_output is True, but only gSDE squashes actions: pass use_sde=True, or leave it out."
            )
        if optimizer_kwargs is None and optimizer_class is torch.optim.Adam:
            optimizer_kwargs = {"eps": 1e-5, "fused": True}
        self.core_name = core
        self.d_model, self.d_state, self.n_blocks = d_model, d_state, n_blocks
        self.core_kwargs = dict(core_kwargs or {})
        self.critic_core_name = critic_core
        self.checkpoint_steps = checkpoint_steps
        self.dynamics_lr_factor = dynamics_lr_factor
        features_extractor_class = features_extractor_class or self.default_features_extractor
        if not normalize_images and issubclass(features_extractor_class, ImageExtractor | MultiInputExtractor):
            features_extractor_kwargs = {**(features_extractor_kwargs or {}), "normalized_image": True}
        super().__init__(
            observation_space,
            flat_actions(action_space),
            lr_schedule,
            net_arch=[] if net_arch is None else net_arch,
            activation_fn=activation_fn,
            ortho_init=ortho_init,
            use_sde=use_sde,
            log_std_init=log_std_init,
            full_std=full_std,
            use_expln=use_expln,
            squash_output=squash_output,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            share_features_extractor=share_features_extractor,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.action_space = action_space

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        others, dynamics = split_dynamics(self)
        groups: list[dict[str, Any]] = [{"params": others}, {"params": dynamics, "weight_decay": 0.0}]
        self.optimizer = self.optimizer_class(groups, lr=lr_schedule(1.0), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate, and that of the core's time scales to their share of it."""
        others, dynamics = self.optimizer.param_groups
        others["lr"], dynamics["lr"] = learning_rate, learning_rate * self.dynamics_lr_factor

    def optimized_parameters(self) -> list[nn.Parameter]:
        """What the optimiser moves."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        # SB3 says None where gSDE is not used.
        parameters = {name: value for name, value in parameters.items() if value is not None}
        parameters.update(
            core=self.core_name,
            d_model=self.d_model,
            d_state=self.d_state,
            n_blocks=self.n_blocks,
            core_kwargs=self.core_kwargs,
            critic_core=self.critic_core_name,
            checkpoint_steps=self.checkpoint_steps,
            dynamics_lr_factor=self.dynamics_lr_factor,
            share_features_extractor=self.share_features_extractor,
        )
        return parameters

    def forward(  # type: ignore[override]
        self,
        obs: Observations,
        state: Float[Tensor, "B S"],
        episode_starts: Bool[Tensor, " B"],
        deterministic: bool = False,
        action_masks: Bool[Tensor, "B M"] | None = None,
    ) -> tuple[Shaped[Tensor, "B ..."], Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, "B S"]]:
        """Act: actions, values, log-probabilities of the actions, and the state after this step."""
        latent_pi, latent_vf, state = self._recur(obs, state, episode_starts)
        distribution = self._distribution(latent_pi, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        log_probs = distribution.log_prob(actions)
        return actions.reshape(-1, *self._action_shape), self._values(latent_vf), log_probs, state

    def evaluate_actions(  # type: ignore[override]
        self,
        obs: Observations,
        actions: Shaped[Tensor, "T B ..."],
        state: Float[Tensor, "B S"],
        episode_starts: Bool[Tensor, "T B"],
        action_masks: Bool[Tensor, "T B M"] | None = None,
    ) -> tuple[Float[Tensor, "T B"], Float[Tensor, "T B"], Float[Tensor, "T B"] | None, Float[Tensor, "B S"]]:
        """Learn: values, log-probabilities and entropies of whole sequences, in one scan.

        Args:
            obs: observations, time-major.
            actions: the actions that were taken.
            state: the state of the memory before the first step.
            episode_starts: true where an observation is the first of an episode.
            action_masks: true where an action was allowed; None: all were.

        Returns:
            Values, log-probabilities, entropies (None where they have no closed form), and the state after the last
            step.
        """
        shape = episode_starts.shape
        latent_pi, latent_vf, state = self._recur_to_learn(obs, state, episode_starts)
        distribution = self._distribution(latent_pi, None if action_masks is None else action_masks.flatten(0, 1))
        one_number = isinstance(self.action_space, spaces.Discrete)
        taken = actions.flatten() if one_number else actions.reshape(shape.numel(), -1)
        log_probs, entropies = log_prob_and_entropy(distribution, taken)
        values = self._values(latent_vf).view(shape)
        return values, log_probs.view(shape), None if entropies is None else entropies.view(shape), state

    def _recur_to_learn(
        self, obs: Observations, state: Float[Tensor, "B S"], episode_starts: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N H"], Float[Tensor, "B S"]]:
        """Consume whole sequences, of which ``checkpoint_steps`` says what is kept for the gradient."""
        if self.checkpoint_steps is not None and torch.is_grad_enabled():
            return recur_in_pieces(self._recur, self.checkpoint_steps, obs, state, episode_starts)
        return self._recur(obs, state, episode_starts)

    def predict_values(  # type: ignore[override]
        self, obs: Observations, state: Float[Tensor, "B S"], episode_starts: Bool[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """The values of observations that follow ``state``."""
        _, latent_vf, _ = self._recur(obs, state, episode_starts)
        return self._values(latent_vf)

    def get_distribution(  # type: ignore[override]
        self,
        obs: Observations,
        state: Float[Tensor, "B S"],
        episode_starts: Bool[Tensor, " B"],
        action_masks: Bool[Tensor, "B M"] | None = None,
    ) -> tuple[Distribution, Float[Tensor, "B S"]]:
        """The distribution over actions, and the state after this step."""
        latent_pi, _, state = self._recur(obs, state, episode_starts)
        return self._distribution(latent_pi, action_masks), state

    def advance(
        self, obs: Observations, state: Float[Tensor, "B S"], episode_starts: Bool[Tensor, "T B"]
    ) -> Float[Tensor, "B S"]:
        """The state after whole sequences, and nothing else."""
        return self._recur(obs, state, episode_starts)[2]

    def predict(  # type: ignore[override]
        self,
        observation: Any,
        state: NDArray[np.float32] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Choose actions; hand the returned state back with the next observation.

        Args:
            observation: one observation, or one per environment.
            state: what the previous call returned, ``[B, S]``; None: nothing was seen yet.
            episode_start: true where the observation is the first of an episode; None: nowhere.
            deterministic: take the most likely action instead of sampling one.
            action_masks: true where an action is allowed, ``[B, M]``; None: all are.

        Raises:
            ValueError: if state or episode starts belong to another policy or number of environments, or masks do not
                fit the actions.
            NumericalError: if the probabilities to choose by are nan, or infinite.
        """
        self.set_training_mode(False)
        obs, vectorized = self.obs_to_tensor(observation)
        batch = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        if state is None:
            state_tensor = self.initial_state(batch)
        else:
            check_shape("state", state, (batch, self.state_size), "pass what the last call of predict returned")
            state_tensor = torch.as_tensor(state, dtype=torch.float32, device=self.device)
        if episode_start is not None:
            check_shape("episode_start", np.ravel(episode_start), (batch,), "pass one for each")
        starts = np.zeros(batch, dtype=bool) if episode_start is None else np.reshape(episode_start, batch).astype(bool)
        masks = None
        if action_masks is not None:
            allowed = check_action_masks(action_masks, batch, self.action_space)
            masks = torch.as_tensor(allowed, device=self.device)
        with torch.no_grad():
            distribution, state_tensor = self.get_distribution(
                obs, state_tensor, torch.as_tensor(starts, device=self.device), masks
            )
            chosen = distribution.get_actions(deterministic=deterministic)
            _check_log_probs(distribution.log_prob(chosen).cpu().numpy())
        actions = chosen.cpu().numpy()
        actions = self.to_action_space(actions.reshape(-1, *self._action_shape))
        return actions if vectorized else actions.squeeze(axis=0), state_tensor.cpu().numpy()

    def to_action_space(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Actions as the environment takes them."""
        if self.squash_output:
            actions = self.unscale_action(actions)
        return to_action_space(actions, self.action_space)

    @property
    def _action_shape(self) -> tuple[int, ...]:
        return self.action_space.shape or ()

    def obs_to_tensor(self, observation: Any) -> tuple[Observations, bool]:
        """A user's observation as a batch on the policy's device, and whether it was a batch before."""
        batch, vectorized = to_batch(observation, self.observation_space)
        return to_tensors(batch, self.device), vectorized

    def _values(self, latent: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
        values: Tensor = self.value_net(self.mlp_extractor.forward_critic(latent) if self.net_arch else latent)
        return values.flatten()

    def _distribution(self, latent: Float[Tensor, "N H"], action_masks: Bool[Tensor, "N M"] | None) -> Distribution:
        distribution = self._get_action_dist_from_latent(
            self.mlp_extractor.forward_actor(latent) if self.net_arch else latent
        )
        if action_masks is not None:
            assert isinstance(distribution, Maskable)
            distribution.apply_masking(action_masks)
        return distribution


def _check_log_probs(log_probs: NDArray[np.floating]) -> None:
    bad = np.flatnonzero(~np.isfinite(log_probs))
    if len(bad):
        raise NumericalError(
            f"the log-probability of the action for observation {bad[0]} is {log_probs[bad[0]]}: look for nan or "
            "infinity in the observation, in the state that came with it and in the weights."
        )
