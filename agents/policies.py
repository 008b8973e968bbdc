"""The recurrent actor-critic policy: encoder, core, heads.

It is SB3's ``ActorCriticPolicy`` with a core of :mod:`s7rl.cores` between the features extractor and the heads:

    observation -> features extractor -> encoder -> core -> net_arch -> action and value heads

The encoder is linear, ReLU, linear; an embedding where the observation is one symbol.  The state of the core is one
float tensor ``[B, S]``, a numpy array outside.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from s7rl.agents.categorical import LogitsCategorical
from s7rl.cores import core_options, make_core, split_dynamics


class RecurrentActorCriticPolicy(ActorCriticPolicy):
    """Actor and critic on one shared recurrent core, which gets the gradient of both.

    Args:
        observation_space: Box, Discrete, MultiDiscrete or MultiBinary; flattened, discrete ones one-hot.
        action_space: Discrete, Box, MultiDiscrete or MultiBinary.
        lr_schedule: learning rate as a function of the remaining progress (1 to 0).
        core: name of the sequence model, see :func:`s7rl.core_names`.
        d_model: H, the width of encoder, core and features.
        d_state: N, the number of modes of a state space core; None leaves it to the core, and other cores ignore it.
        n_blocks: how many blocks the core has.
        core_kwargs: further options of the core, see :func:`s7rl.core_options`.
        dynamics_lr_factor: learning rate of the parameters that set the core's time scales, as a share of that of all
            others; they are never decayed.  See :meth:`s7rl.Core.dynamics_parameters`.
        net_arch: hidden layers between core and heads, as in SB3; none by default: the core's block is deep enough.
        activation_fn: activation of those layers.
        ortho_init: orthogonal initialisation of encoder and heads, as in SB3.
        log_std_init: initial log standard deviation of a Box action.
        features_extractor_class: as in SB3.
        features_extractor_kwargs: as in SB3.
        normalize_images: as in SB3.
        optimizer_class: as in SB3.
        optimizer_kwargs: as in SB3; for Adam eps is 1e-5 and the fused implementation is used.
        use_sde: not supported; True is refused.
    """

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
        dynamics_lr_factor: float = 1.0,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.Tanh,
        ortho_init: bool = True,
        log_std_init: float = 0.0,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        use_sde: bool = False,
    ) -> None:
        check_spaces(observation_space, action_space)
        if use_sde:
            raise ValueError("use_sde is True, but state-dependent exploration is not supported: leave it out.")
        if optimizer_kwargs is None and optimizer_class is torch.optim.Adam:
            optimizer_kwargs = {"eps": 1e-5, "fused": True}
        if not dynamics_lr_factor >= 0.0:
            raise ValueError(f"dynamics_lr_factor is {dynamics_lr_factor}, but it is a share: pass a number from 0 on.")
        self.core_name = core
        self.d_model, self.d_state, self.n_blocks = d_model, d_state, n_blocks
        self.core_kwargs = dict(core_kwargs or {})
        self.dynamics_lr_factor = dynamics_lr_factor
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[] if net_arch is None else net_arch,
            activation_fn=activation_fn,
            ortho_init=ortho_init,
            log_std_init=log_std_init,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        others, dynamics = split_dynamics(self)
        groups: list[dict[str, Any]] = [{"params": others}, {"params": dynamics, "weight_decay": 0.0}]
        self.optimizer = self.optimizer_class(groups, lr=lr_schedule(1.0), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate, and that of the core's time scales to their share of it."""
        others, dynamics = self.optimizer.param_groups
        others["lr"], dynamics["lr"] = learning_rate, learning_rate * self.dynamics_lr_factor

    def _build_mlp_extractor(self) -> None:
        """Build encoder, core and the layers before the heads.  Called by SB3 before it builds the optimiser."""
        self._embeds = (
            isinstance(self.observation_space, spaces.Discrete) and type(self.features_extractor) is FlattenExtractor
        )
        if self._embeds:
            # What a linear layer would make of the one-hot vector, without making the vector.
            self.encoder: nn.Module = nn.Embedding(self.features_dim, self.d_model)
            if self.ortho_init:
                nn.init.orthogonal_(self.encoder.weight, gain=2**0.5)
        else:
            layers = nn.Linear(self.features_dim, self.d_model), nn.ReLU(), nn.Linear(self.d_model, self.d_model)
            self.encoder = nn.Sequential(*layers)
            if self.ortho_init:
                self.encoder.apply(partial(self.init_weights, gain=2**0.5))
        options = dict(self.core_kwargs)
        if self.d_state is not None and "d_state" in core_options(self.core_name):
            options.setdefault("d_state", self.d_state)
        self.core = make_core(self.core_name, d_model=self.d_model, n_blocks=self.n_blocks, **options)
        self.mlp_extractor = MlpExtractor(self.d_model, net_arch=self.net_arch, activation_fn=self.activation_fn)
        if isinstance(self.action_dist, CategoricalDistribution):
            self.action_dist = LogitsCategorical(self.action_dist.action_dim)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        for name in ("use_sde", "squash_output", "full_std", "use_expln"):
            parameters.pop(name, None)
        parameters.update(
            core=self.core_name,
            d_model=self.d_model,
            d_state=self.d_state,
            n_blocks=self.n_blocks,
            core_kwargs=self.core_kwargs,
            dynamics_lr_factor=self.dynamics_lr_factor,
        )
        return parameters

    def initial_state(self, batch_size: int) -> Float[Tensor, "B S"]:
        """The core's state before anything was seen."""
        return self.core.initial_state(batch_size)

    def forward(  # type: ignore[override]
        self,
        obs: Shaped[Tensor, "B ..."],
        state: Float[Tensor, "B S"],
        episode_starts: Bool[Tensor, " B"],
        deterministic: bool = False,
    ) -> tuple[Shaped[Tensor, "B ..."], Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, "B S"]]:
        """Act: actions, values, log-probabilities of the actions, and the state after this step."""
        latent, state = self.core.step(self._encode(obs), state, episode_starts)
        distribution, values = self._heads(latent)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions.reshape(-1, *self._action_shape), values, distribution.log_prob(actions), state

    def evaluate_actions(  # type: ignore[override]
        self,
        obs: Shaped[Tensor, "T B ..."],
        actions: Shaped[Tensor, "T B ..."],
        state: Float[Tensor, "B S"],
        episode_starts: Bool[Tensor, "T B"],
    ) -> tuple[Float[Tensor, "T B"], Float[Tensor, "T B"], Float[Tensor, "T B"] | None]:
        """Learn: values, log-probabilities and entropies of whole sequences, in one scan.

        Args:
            obs: observations, time-major.
            actions: the actions that were taken.
            state: the core's state before the first step.
            episode_starts: true where an observation is the first of an episode.

        Returns:
            values, log-probabilities and entropies; the last is None where it has no closed form.
        """
        steps, batch = episode_starts.shape
        x = self._encode(obs.flatten(0, 1)).view(steps, batch, -1)
        latent, _ = self.core.scan(x, state, episode_starts)
        distribution, values = self._heads(latent.flatten(0, 1))
        taken = actions.reshape(steps * batch, -1) if self._action_shape else actions.flatten()
        log_probs, entropies = distribution.log_prob(taken), distribution.entropy()
        shape = (steps, batch)
        return values.view(shape), log_probs.view(shape), None if entropies is None else entropies.view(shape)

    def predict_values(  # type: ignore[override]
        self, obs: Shaped[Tensor, "B ..."], state: Float[Tensor, "B S"], episode_starts: Bool[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """The values of observations that follow ``state``."""
        latent, _ = self.core.step(self._encode(obs), state, episode_starts)
        values: Tensor = self.value_net(self.mlp_extractor.forward_critic(latent))
        return values.flatten()

    def get_distribution(  # type: ignore[override]
        self, obs: Shaped[Tensor, "B ..."], state: Float[Tensor, "B S"], episode_starts: Bool[Tensor, " B"]
    ) -> tuple[Distribution, Float[Tensor, "B S"]]:
        """The distribution over actions, and the state after this step."""
        latent, state = self.core.step(self._encode(obs), state, episode_starts)
        return self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(latent)), state

    def predict(  # type: ignore[override]
        self,
        observation: Any,
        state: NDArray[np.float32] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Choose actions; hand the returned state back with the next observation.

        Args:
            observation: one observation, or one per environment.
            state: what the previous call returned, ``[B, S]``; None: nothing was seen yet.
            episode_start: true where the observation is the first of an episode; None: nowhere.
            deterministic: take the most likely action instead of sampling one.

        Raises:
            ValueError: if the state belongs to another policy or another number of environments.
        """
        self.set_training_mode(False)
        obs, vectorized = self.obs_to_tensor(observation)
        assert isinstance(obs, Tensor)
        batch = len(obs)
        if state is None:
            state_tensor = self.initial_state(batch)
        elif np.shape(state) == (batch, self.core.state_size):
            state_tensor = torch.as_tensor(state, dtype=torch.float32, device=self.device)
        else:
            raise ValueError(
                f"state has shape {np.shape(state)}, but {batch} observation(s) need {(batch, self.core.state_size)}: "
                "pass what the last call of predict returned, or None at the start."
            )
        starts = np.zeros(batch, dtype=bool) if episode_start is None else np.reshape(episode_start, batch).astype(bool)
        with torch.no_grad():
            distribution, state_tensor = self.get_distribution(
                obs, state_tensor, torch.as_tensor(starts, device=self.device)
            )
            actions = distribution.get_actions(deterministic=deterministic).cpu().numpy()
        actions = self.to_action_space(actions.reshape(-1, *self._action_shape))
        return actions if vectorized else actions.squeeze(axis=0), state_tensor.cpu().numpy()

    def to_action_space(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Actions as the environment takes them: of its dtype, and a Box's clipped, as the Gaussian is unbounded."""
        if isinstance(self.action_space, spaces.Box):
            actions = np.clip(actions, self.action_space.low, self.action_space.high)
        return actions.astype(self.action_space.dtype, copy=False)

    @property
    def _action_shape(self) -> tuple[int, ...]:
        return self.action_space.shape or ()

    def _encode(self, obs: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N H"]:
        if isinstance(self.observation_space, spaces.Discrete):
            obs = obs.long() - int(self.observation_space.start)
        features = obs if self._embeds else self.extract_features(obs)
        x: Tensor = self.encoder(features)
        return x

    def _heads(self, latent: Float[Tensor, "N H"]) -> tuple[Distribution, Float[Tensor, " N"]]:
        latent_pi, latent_vf = self.mlp_extractor(latent)
        values: Tensor = self.value_net(latent_vf)
        return self._get_action_dist_from_latent(latent_pi), values.flatten()


def check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Refuse spaces that the policy cannot handle, in one line that names the space.

    Raises:
        ValueError: if a space is not one of the supported kinds.
    """
    supported = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    for role, space, hint in (
        ("observation", observation_space, "flatten it with gymnasium.wrappers.FlattenObservation"),
        ("action", action_space, "map it to one of these with a gymnasium.ActionWrapper"),
    ):
        if not isinstance(space, supported):
            raise ValueError(
                f"the environment's {role} space is {space}, but the policy takes Box, Discrete, MultiDiscrete or "
                f"MultiBinary: {hint}."
            )
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary) and len(space.shape) != 1:
            raise ValueError(f"the environment's {role} space is {space} of shape {space.shape}, not flat: {hint}.")
        # SB3's one-hot encoding and its distributions count from 0; a single observed symbol is shifted before.
        counted = spaces.MultiDiscrete if role == "observation" else spaces.Discrete | spaces.MultiDiscrete
        if isinstance(space, counted) and np.any(space.start):
            raise ValueError(f"the environment's {role} space is {space}, which does not start at 0: {hint}.")
    if isinstance(observation_space, spaces.Box) and observation_space.shape == ():
        raise ValueError("the environment's observation space is a Box of shape (): reshape it to (1,).")
    if isinstance(action_space, spaces.Box) and not np.issubdtype(action_space.dtype, np.floating):
        raise ValueError(
            f"the environment's action space is {action_space}, a Box of whole numbers: use MultiDiscrete."
        )
