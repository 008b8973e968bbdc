"""S7, or any other core, in place of the LSTM of sb3-contrib's RecurrentPPO.

    from sb3_contrib import RecurrentPPO
    from s7rl.agents.sb3_contrib import S7Policy

    model = RecurrentPPO(S7Policy, env, policy_kwargs=dict(core="s7", d_model=64))

The class, its rollout buffer, training loop, ``save``, ``load`` and ``predict`` are sb3-contrib's.  The network is that
of :mod:`s7rl.agents.recurrent_network`.  sb3-contrib keeps two arrays ``[layers, B, hidden]`` for each of actor and
critic, the hidden and the cell state of an LSTM; here they are the two halves of the core's one state, in one layer.

sb3-contrib cuts a minibatch wherever an episode starts, and pads all pieces to the longest.  They are scanned side by
side: padding stands behind what counts, so that nothing of it reaches a result or a gradient, and a start within a
piece, which makes sb3-contrib's LSTM loop over time, is one more reset of the scan.  What padding costs, it costs here,
too; :class:`s7rl.agents.RecurrentPPO` has none.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from s7rl.agents.arguments import check_policy_kwargs
from s7rl.agents.observations import Observations, map_observations, with_padding_in
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.policy_names import POLICIES, policy_name

try:
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy as LstmPolicy
    from sb3_contrib.common.recurrent.type_aliases import RNNStates
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sb3_contrib":
        raise
    raise ModuleNotFoundError(
        "s7rl.agents.sb3_contrib needs sb3-contrib 2.7 or newer: pip install 's7rl[contrib]'.", name=error.name
    ) from None

LstmStates: TypeAlias = tuple[Float[Tensor, "1 B h"], ...]
"""What sb3-contrib takes for the hidden and the cell state of an LSTM."""


class _StateShape(NamedTuple):
    """What sb3-contrib asks of ``policy.lstm_actor``: how large the arrays are that it keeps states in."""

    num_layers: int
    hidden_size: int


class _WithoutLstm(LstmPolicy):
    """sb3-contrib's policy, of which no constructor has made LSTMs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        ActorCriticPolicy.__init__(self, *args, **kwargs)


class S7Policy(RecurrentActorCriticPolicy, _WithoutLstm):
    """The policy that ``sb3_contrib.RecurrentPPO`` is given in place of "MlpLstmPolicy" and its like.

    One class for all observations: images go through :class:`~s7rl.agents.encoders.ImageExtractor`, the entries of a
    Dict through :class:`~s7rl.agents.encoders.MultiInputExtractor`.

    Args:
        observation_space: Box, Discrete, MultiDiscrete of one axis, MultiBinary, or a Dict of these.
        action_space: Discrete, Box, MultiDiscrete or MultiBinary, counted from 0.
        lr_schedule: learning rate as a function of the remaining progress (1 to 0).
        features_extractor_class: as in SB3; None: what fits the observations.
        options: any others of :class:`s7rl.agents.RecurrentActorCriticPolicy`: ``core``, ``d_model``, ``d_state``,
            ``n_blocks``, ``core_kwargs``, ``critic_core`` ("shared" learns from actor and critic, which
            ``shared_lstm`` does not), ``checkpoint_steps``, ``net_arch`` and those of SB3.

    Raises:
        TypeError: if an option is none, or of the wrong kind.
        ValueError: if a space is not supported, an option is out of range, or the trainer does not heed it.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        **options: Any,
    ) -> None:
        if np.any(getattr(action_space, "start", 0)):
            raise ValueError(
                f"the action space is {action_space}, but sb3-contrib's trainer counts from 0: shift it with a "
                "gymnasium.ActionWrapper, or use s7rl.agents.RecurrentPPO."
            )
        entries = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
        for leaf in entries.values():
            if isinstance(leaf, spaces.MultiDiscrete) and leaf.nvec.ndim > 1:
                raise ValueError(
                    f"the observation space has a MultiDiscrete of shape {leaf.shape}, but sb3-contrib's buffer keeps "
                    "those of one axis only: wrap the environment in gymnasium.wrappers.FlattenObservation, or use "
                    "s7rl.agents.RecurrentPPO."
                )
        if options.get("dynamics_lr_factor", 1.0) != 1.0:
            raise ValueError(
                f"dynamics_lr_factor is {options['dynamics_lr_factor']}, but sb3-contrib's trainer has one learning "
                "rate for all parameters: leave it out, or use s7rl.agents.RecurrentPPO."
            )
        extractor = features_extractor_class or POLICIES[policy_name(observation_space)].default_features_extractor
        given = {name: value for name, value in options.items() if name != "use_sde"}  # which the trainer hands on
        check_policy_kwargs(given | {"features_extractor_class": extractor}, RecurrentActorCriticPolicy)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            features_extractor_class=extractor,
            **options,
        )
        # A core without memory gets one number, too: torch cannot halve an empty array.
        shape = _StateShape(num_layers=1, hidden_size=max((self._state_sizes[0] + 1) // 2, 1))
        self.lstm_actor: Any = shape
        self.lstm_hidden_state_shape = (shape.num_layers, 1, shape.hidden_size)

    def forward(  # type: ignore[override]
        self,
        obs: Observations,
        lstm_states: RNNStates,
        episode_starts: Float[Tensor, " B"],
        deterministic: bool = False,
    ) -> tuple[Shaped[Tensor, "B ..."], Float[Tensor, "B 1"], Float[Tensor, " B"], RNNStates]:
        """Act: actions, values, log-probabilities of the actions, and the states after this step."""
        actions, values, log_probs, state = super().forward(
            obs, self._joined(lstm_states), episode_starts.bool(), deterministic
        )
        return actions, values[:, None], log_probs, self._parted(state)

    def evaluate_actions(  # type: ignore[override]
        self,
        obs: Observations,
        actions: Shaped[Tensor, "N ..."],
        lstm_states: RNNStates,
        episode_starts: Float[Tensor, " N"],
    ) -> tuple[Float[Tensor, "N 1"], Float[Tensor, " N"], Float[Tensor, " N"] | None]:
        """Learn: values, log-probabilities and entropies of padded sequences, in one scan.

        Args:
            obs: of ``N = n_seq * T`` steps, one sequence after the other.
            actions: those that were taken.
            lstm_states: before the first step of each sequence, ``[1, n_seq, hidden]``.
            episode_starts: 1 where an observation is the first of an episode.
        """
        n_seq = lstm_states.pi[0].shape[1]

        def time_first(x: Shaped[Tensor, "N ..."]) -> Shaped[Tensor, "T B ..."]:
            return x.view(n_seq, -1, *x.shape[1:]).transpose(0, 1)

        def one_by_one(x: Float[Tensor, "T B"]) -> Float[Tensor, " N"]:
            return x.t().flatten()

        values, log_probs, entropies, _ = super().evaluate_actions(
            map_observations(time_first, self._as_seen(obs)),
            time_first(actions),
            self._joined(lstm_states),
            time_first(episode_starts).bool(),
        )
        entropies = None if entropies is None else one_by_one(entropies)
        return one_by_one(values)[:, None], one_by_one(log_probs), entropies

    def get_distribution(  # type: ignore[override]
        self, obs: Observations, lstm_states: LstmStates, episode_starts: Float[Tensor, " B"]
    ) -> tuple[Distribution, LstmStates]:
        """The distribution over actions, and the actor's states after this step."""
        features, _ = self._features(obs)
        latent, state = self._through(self._branches[0], features, self._packed(lstm_states, 0), episode_starts.bool())
        return self._distribution(latent, None), self._unpacked(state)

    def predict_values(  # type: ignore[override]
        self, obs: Observations, lstm_states: LstmStates, episode_starts: Float[Tensor, " B"]
    ) -> Float[Tensor, "B 1"]:
        """The values of observations that follow the critic's states."""
        _, features = self._features(obs)
        state = self._packed(lstm_states, -1)
        latent, _ = self._through(self._branches[-1], features, state, episode_starts.bool())
        return self._values(latent)[:, None]

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As that of sb3-contrib's policies: the state is a tuple of two arrays ``[1, n_envs, hidden]``."""
        return LstmPolicy.predict(self, *args, **kwargs)

    def _as_seen(self, obs: Observations) -> Observations:
        """Observations out of the buffer as the environment gave them: it adds an axis to symbols, and pads with 0."""
        obs = with_padding_in(self.observation_space, obs)
        return obs.flatten() if isinstance(obs, Tensor) and isinstance(self.observation_space, spaces.Discrete) else obs

    def _joined(self, lstm_states: RNNStates) -> Float[Tensor, "B S"]:
        """The state of the whole memory."""
        if len(self._branches) == 1:
            return self._packed(lstm_states.pi, 0)
        return torch.cat([self._packed(lstm_states.pi, 0), self._packed(lstm_states.vf, 1)], dim=-1)

    def _parted(self, state: Float[Tensor, "B S"]) -> RNNStates:
        """The states of actor and critic; a critic that has none gets the actor's, of the same size."""
        actor, *others = state.split(self._state_sizes, dim=-1)
        pi = self._unpacked(actor)
        return RNNStates(pi, self._unpacked(others[0]) if self.critic_core_name == "separate" else pi)

    def _packed(self, lstm_states: LstmStates, branch: int) -> Float[Tensor, "B S"]:
        """The state of a core from its halves."""
        return torch.cat([half[0] for half in lstm_states], dim=-1)[:, : self._state_sizes[branch]]

    def _unpacked(self, state: Float[Tensor, "B S"]) -> LstmStates:
        """The halves of a core's state, one number longer than it where it is odd."""
        width = self.lstm_actor.hidden_size
        padded = nn.functional.pad(state, (0, 2 * width - state.shape[-1]))
        return tuple(half.contiguous() for half in padded[None].split(width, dim=-1))
