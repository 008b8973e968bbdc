"""S7 as features extractor: the core stepped over an episode's last observations, in every algorithm of SB3.

Mutations tried, each of which fails a test here: the state cleared nowhere, or at every observation that there is; the
first output of the scan in place of the last; bytes of images not scaled; the core initialised by SB3; windows of
symbols read with the wrong axis first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import QRDQN, TQC, MaskablePPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.utils import obs_as_tensor
from torch import nn

from s7rl.agents import S7HistoryExtractor
from s7rl.envs import HistoryWrapper
from tests.agents.cores import every_core
from tests.envs.wrappers.babbler import OBSERVATIONS, Babbler

LENGTH = 4
ALGORITHMS: dict[str, Any] = {cls.__name__: cls for cls in (PPO, A2C, DQN, SAC, TD3, TQC, QRDQN, MaskablePPO)}
CONTINUOUS = ("SAC", "TD3", "TQC")
ON_POLICY = ("PPO", "A2C", "MaskablePPO")


def extractor(space: spaces.Space[Any], **options: Any) -> S7HistoryExtractor:
    """One none of whose weights is what the constructor made of it: the selection of S7 starts at zero."""
    torch.manual_seed(0)
    made = S7HistoryExtractor(space, **{"d_model": 6, "cnn_output_dim": 5, **options})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def features(made: S7HistoryExtractor, shown: list[Any]) -> torch.Tensor:
    """What SB3 makes of several windows with it."""
    batch = {key: np.stack([window[key] for window in shown]) for key in shown[0]}
    tensors = obs_as_tensor(batch, torch.device("cpu"))
    result: torch.Tensor = made(preprocess_obs(tensors, made._observation_space))
    return result


def numbers(made: S7HistoryExtractor, space: spaces.Space[Any], observation: Any) -> torch.Tensor:
    """An observation as one vector: as Gymnasium flattens it, images through their network."""
    if isinstance(space, spaces.Dict):
        return torch.cat([numbers(made, part, observation[key]) for key, part in space.spaces.items()])
    if space.dtype == np.uint8:
        network: Any = made.leaves[0].extractor
        image = torch.as_tensor(observation).float() / 255
        features: torch.Tensor = network(image.reshape(1, *network._observation_space.shape))[0]
        return features
    return torch.as_tensor(np.asarray(spaces.flatten(space, observation)), dtype=torch.float32)


def stepped(made: S7HistoryExtractor, space: spaces.Space[Any], episode: list[Any]) -> torch.Tensor:
    """The core stepped over the last observations of an episode."""
    state, y = made.core.initial_state(1), torch.zeros(0)
    for observation in episode[-LENGTH:]:
        x = made.encoder(numbers(made, space, observation)[None])
        y, state = made.core.step(x, state, torch.tensor([False]))
    return y[0]


def played(kind: str, steps: int = 25) -> tuple[gym.Env[Any, Any], list[Any], list[list[Any]]]:
    """Windows, and the episodes so far that they are the ends of."""
    env, plain = HistoryWrapper(Babbler(kind, mean_length=8.0), LENGTH), Babbler(kind, mean_length=8.0)
    shown, episodes = [env.reset(seed=0)[0]], [[plain.reset(seed=0)[0]]]
    for _ in range(steps):
        (window, _, *ended, _), (observation, *_) = env.step(2), plain.step(2)
        shown.append(window)
        episodes.append([*episodes[-1], observation])
        if any(ended):
            shown.append(env.reset()[0])
            episodes.append([plain.reset()[0]])
    assert max(map(len, episodes)) > LENGTH
    return env, shown, episodes


def check(kind: str, **options: Any) -> None:
    env, shown, episodes = played(kind)
    made = extractor(env.observation_space, **options)
    with torch.no_grad():
        expected = torch.stack([stepped(made, Babbler(kind).observation_space, episode) for episode in episodes])
        torch.testing.assert_close(features(made, shown), expected, rtol=1e-4, atol=1e-5)


@every_core
def test_features_are_those_of_stepping_any_core_over_the_episodes_last_observations(core: str) -> None:
    check("matrix", core=core, n_blocks=2)


@pytest.mark.parametrize("kind", sorted(set(OBSERVATIONS) - {"tuple", "matrix"}))
def test_they_are_so_whatever_the_observations(kind: str) -> None:
    check(kind)


def test_a_gray_image_is_an_image() -> None:
    class Gray(gym.Env[NDArray[np.uint8], Any]):
        observation_space, action_space = spaces.Box(0, 255, (9, 8), np.uint8), spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
            super().reset(seed=seed)
            return self.np_random.integers(0, 256, (9, 8), dtype=np.uint8), {}

    plain, env = Gray(), HistoryWrapper(Gray(), LENGTH)
    made = extractor(env.observation_space)
    with torch.no_grad():
        expected = stepped(made, plain.observation_space, [plain.reset(seed=3)[0]])
        torch.testing.assert_close(features(made, [env.reset(seed=3)[0]])[0], expected)


def test_what_stands_before_the_start_has_no_part_in_features_or_gradients() -> None:
    env, shown, _ = played("matrix")
    made = extractor(env.observation_space)
    short = [window for window in shown if not window["valid"][0]]
    assert short
    results = []
    for garbage in (0.0, 7.0):
        for window in short:
            window["observation"][window["valid"] == 0] = garbage
        made.zero_grad()
        result = features(made, short)
        result.square().sum().backward()
        results.append((result.detach(), [parameter.grad for parameter in made.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


class Masked(gym.Wrapper[Any, Any, Any, Any]):
    """The actions that are allowed, which MaskablePPO asks for through all wrappers."""

    def action_masks(self) -> NDArray[np.bool_]:
        return np.array([True, True])


def task(continuous: bool) -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1") if continuous else Masked(gym.make("CartPole-v1"))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_learns_with_it_and_acts_the_same_once_loaded(name: str, tmp_path: Path) -> None:
    env = HistoryWrapper(task(name in CONTINUOUS), LENGTH)
    options: dict[str, Any] = {"learning_starts": 12, "buffer_size": 50, "batch_size": 8}
    if name in ON_POLICY:
        options = {"n_steps": 8} if name == "A2C" else {"n_steps": 8, "batch_size": 8, "n_epochs": 2}
    if name in ("DQN", "QRDQN"):
        options["target_update_interval"] = 4
    kwargs = {"features_extractor_class": S7HistoryExtractor, "features_extractor_kwargs": {"d_model": 6}}
    model = ALGORITHMS[name]("MultiInputPolicy", env, seed=0, policy_kwargs=kwargs, **options)
    cores = [module.core for module in model.policy.modules() if isinstance(module, S7HistoryExtractor)]
    before = [[parameter.detach().clone() for parameter in core.parameters()] for core in cores]
    model.learn(24)
    moved = [
        any(not torch.equal(old, new) for old, new in zip(olds, core.parameters(), strict=True))
        for olds, core in zip(before, cores, strict=True)
    ]
    assert moved, "the actor of SAC and its like, every critic and their targets have one each"
    assert all(moved)
    model.save(tmp_path / "model")
    loaded = ALGORITHMS[name].load(tmp_path / "model")
    observation, _ = env.reset(seed=1)
    for _ in range(6):
        action, _ = model.predict(observation, deterministic=True)
        np.testing.assert_array_equal(action, loaded.predict(observation, deterministic=True)[0])
        observation, *_ = env.step(action)
    if name not in ON_POLICY:
        kept = model.replay_buffer.observations["observation"]
        assert kept.dtype == np.float32
        assert kept.shape[2] == LENGTH


def test_a_replay_buffer_keeps_images_as_bytes() -> None:
    env = HistoryWrapper(Babbler("image", "discrete"), LENGTH)
    env.action_space = spaces.Discrete(4)
    env.env.action_space = spaces.Discrete(4)  # SB3 counts from 0
    kwargs = {"features_extractor_class": S7HistoryExtractor, "features_extractor_kwargs": {"d_model": 6}}
    model = DQN("MultiInputPolicy", env, buffer_size=20, learning_starts=4, batch_size=4, policy_kwargs=kwargs)
    model.learn(10)
    kept = model.replay_buffer.observations["observation"]  # type: ignore[union-attr]
    assert kept.dtype == np.uint8
    assert kept.shape[2:] == (LENGTH, 4, 5, 3)
    assert kept.max() > 1


@pytest.mark.parametrize("shared", [True, False])
def test_sb3_initialises_the_encoder_and_leaves_the_core_as_it_was_made(shared: bool) -> None:
    def is_orthogonal(weight: torch.Tensor) -> bool:
        small = min(weight.shape)
        product = weight @ weight.T if weight.shape[0] == small else weight.T @ weight
        return torch.allclose(product, 2 * torch.eye(small), atol=1e-4)

    kwargs = {
        "features_extractor_class": S7HistoryExtractor,
        "features_extractor_kwargs": {"d_model": 6},
        "share_features_extractor": shared,
    }
    model = PPO("MultiInputPolicy", HistoryWrapper(task(False), LENGTH), policy_kwargs=kwargs)
    extractors = [module for module in model.policy.modules() if isinstance(module, S7HistoryExtractor)]
    assert len(extractors) == (1 if shared else 2)
    for made in extractors:
        assert all(is_orthogonal(layer.weight) for layer in made.encoder if isinstance(layer, nn.Linear))
        inside = [layer for layer in made.core.modules() if isinstance(layer, nn.Linear)]
        assert inside
        assert not any(is_orthogonal(layer.weight) for layer in inside)


def test_another_observation_space_is_refused_in_one_line() -> None:
    for space in (spaces.Box(0, 1, (3,)), spaces.Dict(a=spaces.Discrete(2))):
        with pytest.raises(ValueError, match=r"^the observation space is a (Box|Dict) without 'valid': [^\n]+$"):
            S7HistoryExtractor(space)
