"""The network of a recurrent actor-critic: encoder, core, and what actor and critic make of their features.

    observation -> features extractor -> encoder -> core -> net_arch -> action and value heads

The encoder is linear, ReLU, linear; an embedding where the observation is one symbol.  The state of the memory is one
float tensor ``[B, S]``: that of the core, followed by that of the critic's where it has its own.
"""

from functools import partial
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, MlpExtractor
from torch import Tensor, nn

from s7rl.agents.distributions import lean
from s7rl.agents.encoders import Preprocessor, SymbolEncoder, VectorExtractor
from s7rl.agents.observations import Observations, map_observations
from s7rl.cores import Core, core_options, make_core
from s7rl.cores.dense import Linear


class RecurrentNetwork(ActorCriticPolicy):
    """SB3's actor-critic with encoders and cores between features extractor and heads."""

    core_name: str
    d_model: int
    d_state: int | None
    n_blocks: int
    core_kwargs: dict[str, Any]
    critic_core_name: str

    def _build_mlp_extractor(self) -> None:
        """Build encoders, cores and the layers before the heads.  Called by SB3 before it builds the optimiser."""
        self.preprocessor = Preprocessor(self.observation_space, self.normalize_images)
        # These two alone, not what a user derives from them, do nothing to a symbol's one-hot vector.
        does_nothing = type(self.features_extractor) in (FlattenExtractor, VectorExtractor)
        self._embeds = isinstance(self.observation_space, spaces.Discrete) and does_nothing
        self.encoder, self.core = self._make_encoder(), self._make_core()
        # A shared core is the only one; without memory the critic's is a core too, the one that remembers nothing.
        if self.critic_core_name != "shared":
            self.critic_encoder = self._make_encoder()
            self.critic_core = (
                self._make_core()
                if self.critic_core_name == "separate"
                else make_core("none", d_model=self.d_model, n_blocks=self.n_blocks)
            )
        # Encoder and core of the actor, and those of the critic where it has its own.
        actor = (self.encoder, self.core)
        self._branches: list[tuple[nn.Module, Core]] = (
            [actor] if self.critic_core_name == "shared" else [actor, (self.critic_encoder, self.critic_core)]
        )
        self._state_sizes = [core.state_size for _, core in self._branches]
        self.mlp_extractor = MlpExtractor(
            self.d_model, net_arch=self.net_arch, activation_fn=self.activation_fn, device=self.device
        )
        self.action_dist = lean(self.action_dist)

    def _make_encoder(self) -> nn.Module:
        if self._embeds:
            assert isinstance(self.observation_space, spaces.Discrete)
            embedding = SymbolEncoder(self.observation_space, self.d_model)
            if self.ortho_init:
                nn.init.orthogonal_(embedding.weight, gain=2**0.5)
            return embedding
        layers = Linear(self.features_dim, self.d_model), nn.ReLU(), Linear(self.d_model, self.d_model)
        encoder = nn.Sequential(*layers)
        if self.ortho_init:
            encoder.apply(partial(self.init_weights, gain=2**0.5))
        return encoder

    def _make_core(self) -> Core:
        options = dict(self.core_kwargs)
        if self.d_state is not None and "d_state" in core_options(self.core_name):
            options.setdefault("d_state", self.d_state)
        return make_core(self.core_name, d_model=self.d_model, n_blocks=self.n_blocks, **options)

    @property
    def state_size(self) -> int:
        """S, the numbers that the memory of actor and critic holds per environment."""
        return sum(self._state_sizes)

    def initial_state(self, batch_size: int) -> Float[Tensor, "B S"]:
        """The state of the memory before anything was seen."""
        return torch.cat([core.initial_state(batch_size) for _, core in self._branches], dim=-1)

    def _recur(
        self, obs: Observations, state: Float[Tensor, "B S"], episode_starts: Bool[Tensor, "*T B"]
    ) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N H"], Float[Tensor, "B S"]]:
        """Consume a step of each environment, or whole sequences if ``episode_starts`` is ``[T, B]``.

        Returns:
            What actor and critic make of each observation, flat, and the state after the last.
        """
        if episode_starts.ndim == 2:
            obs = map_observations(lambda x: x.flatten(0, 1), obs)
        states = state.split(self._state_sizes, dim=-1) if len(self._state_sizes) > 1 else (state,)
        latents, after = [], []
        for features, branch, part in zip(self._features(obs), self._branches, states, strict=False):
            latent, part = self._through(branch, features, part, episode_starts)
            latents.append(latent)
            after.append(part)
        return latents[0], latents[-1], after[0] if len(after) == 1 else torch.cat(after, dim=-1)

    def _through(
        self,
        branch: tuple[nn.Module, Core],
        features: Shaped[Tensor, "N *features"],
        state: Float[Tensor, "B S"],
        episode_starts: Bool[Tensor, "*T B"],
    ) -> tuple[Float[Tensor, "N H"], Float[Tensor, "B S"]]:
        """What the encoder and core of actor or critic make of features, and their state after the last."""
        encoder, core = branch
        x = encoder(features)
        if episode_starts.ndim == 1:
            return core.step(x, state, episode_starts)
        latent, state = core.scan(x.unflatten(0, episode_starts.shape), state, episode_starts)
        return latent.flatten(0, 1), state

    def _features(self, obs: Observations) -> tuple[Shaped[Tensor, "N *features"], Shaped[Tensor, "N *features"]]:
        """What the encoders of actor and critic get."""
        if self._embeds:
            assert isinstance(obs, Tensor)
            return obs, obs
        features = self.extract_features(obs)
        return (features, features) if isinstance(features, Tensor) else features

    def extract_features(  # type: ignore[override]
        self, obs: Observations, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Shaped[Tensor, "N F"] | tuple[Shaped[Tensor, "N F"], Shaped[Tensor, "N F"]]:
        """The features of a batch; those of actor and critic if they do not share the extractor."""
        preprocessed = self.preprocessor(obs)
        if features_extractor is not None or self.share_features_extractor:
            features: Tensor = (features_extractor or self.features_extractor)(preprocessed)
            return features
        return self.pi_features_extractor(preprocessed), self.vf_features_extractor(preprocessed)
