"""The policies under the names that Stable-Baselines3 has for them, and which one fits an environment."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from s7rl.agents.encoders import ImageExtractor, MultiInputExtractor, is_image
from s7rl.agents.policies import RecurrentActorCriticPolicy


class RecurrentActorCriticCnnPolicy(RecurrentActorCriticPolicy):
    """The policy for images: see :class:`s7rl.agents.encoders.ImageExtractor`."""

    default_features_extractor = ImageExtractor


class RecurrentMultiInputActorCriticPolicy(RecurrentActorCriticPolicy):
    """The policy for Dict observations: see :class:`s7rl.agents.encoders.MultiInputExtractor`."""

    default_features_extractor = MultiInputExtractor


POLICIES: Mapping[str, type[RecurrentActorCriticPolicy]] = {
    "MlpPolicy": RecurrentActorCriticPolicy,
    "CnnPolicy": RecurrentActorCriticCnnPolicy,
    "MultiInputPolicy": RecurrentMultiInputActorCriticPolicy,
}


def policy_name(observation_space: spaces.Space[Any]) -> str:
    """The name of the policy that fits an observation space: "MlpPolicy", "CnnPolicy" or "MultiInputPolicy"."""
    if isinstance(observation_space, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image(observation_space) else "MlpPolicy"
