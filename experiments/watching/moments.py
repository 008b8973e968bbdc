"""Playing one environment slowly: a moment for each observation, with what the agent made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents import RecurrentPPO
from s7rl.agents.action_masks import get_action_masks, is_masking_supported
from s7rl.experiments.hidden_state import hidden_state
from s7rl.experiments.watching.choices import Choice, describe_choice


class View(NamedTuple):
    """What there is to see of an environment after a step or a reset."""

    scene: NDArray[Any] | str | None
    """Its picture, ``[height, width, 3]`` in bytes, or its drawing in characters; None where it has neither."""
    observation: Any
    """What the agent gets of it, before anything is normalised."""
    hidden: NDArray[Any] | None
    """Its hidden state; None where it has none."""


class Filmed(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps a view of an environment after each step and each reset.

    A vectorised environment resets within the step that ends an episode; the last view of the episode is here.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._views: list[View] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = super().reset(seed=seed, options=options)
        self._look(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, terminated, truncated, info = super().step(action)
        self._look(observation)
        return observation, reward, terminated, truncated, info

    def taken_views(self) -> list[View]:
        """The views since this was last asked."""
        views, self._views = self._views, []
        return views

    def _look(self, observation: Any) -> None:
        scene: Any = self.render() if self.render_mode in ("rgb_array", "ansi") else None
        self._views.append(View(scene, observation, hidden_state(self.env)))


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One observation of an episode, and what the agent made of it."""

    episode: int
    """From 1."""
    step: int
    """Steps taken before, from 0."""
    total: float
    """Sum of the rewards so far, in the units of the environment."""
    view: View
    """What there was to see."""
    choice: Choice | None
    """What it did next; None at the end of an episode."""
    value: float | None
    """The return that it expected from here on, discounted and in the scale that it learned in; None at the end."""
    outcome: str = ""
    """How the episode ended, where it has."""


def moments(
    model: RecurrentPPO, vec_env: VecEnv, filmed: Filmed, episodes: int, max_steps: int, *, deterministic: bool
) -> Iterator[Moment]:
    """Plays episodes as an evaluation does.

    Args:
        model: who plays.
        vec_env: one environment, already seeded, normalised as the agent wants it.
        filmed: the same environment, within it.
        episodes: how many, at least 1.
        max_steps: steps of each at most, at least 1.
        deterministic: take the most probable action instead of drawing one.

    Yields:
        The moment of each step and, after the last one of an episode, that of its end.
    """
    masked = is_masking_supported(vec_env)
    state: Any = None
    ended = False  # then the next episode has begun by itself
    for episode in range(1, episodes + 1):
        if not ended:
            observations: Any = vec_env.reset()
            views = filmed.taken_views()
        start, total, ended = True, 0.0, False
        for step in range(max_steps):
            if not deterministic:
                model.renew_noise(step, 1)
            masks = get_action_masks(vec_env) if masked else None
            action, state, choice, value = _consider(model, observations, state, start, deterministic, masks)
            yield Moment(episode=episode, step=step, total=total, view=views[-1], choice=choice, value=value)
            observations, rewards, dones, infos = vec_env.step(action)
            views = filmed.taken_views()
            start, total, ended = False, total + float(rewards[0]), bool(dones[0])
            if ended:
                break
        outcome = _outcome(infos[0]) if ended else f"stopped after {max_steps:,} steps"
        yield Moment(
            episode=episode, step=step + 1, total=total, view=views[0], choice=None, value=None, outcome=outcome
        )


def _consider(
    model: RecurrentPPO,
    observations: Any,
    state: Any,
    start: bool,
    deterministic: bool,
    masks: NDArray[np.bool_] | None,
) -> tuple[NDArray[Any], Any, Choice, float]:
    """The action of an evaluation and the next state, how it was chosen, and the value of the observation."""
    policy, starts = model.policy, np.array([start])
    actions, next_state = model.predict(observations, state, starts, deterministic, masks)
    with torch.no_grad():
        tensors, _ = policy.obs_to_tensor(observations)
        before = policy.initial_state(1) if state is None else torch.as_tensor(state, device=policy.device)
        flags = torch.as_tensor(starts, device=policy.device)
        allowed = None if masks is None else torch.as_tensor(masks, device=policy.device)
        distribution, _ = policy.get_distribution(tensors, before, flags, allowed)
        value = float(policy.predict_values(tensors, before, flags))
    return actions, next_state, describe_choice(policy, distribution, np.asarray(actions[0])), value


def _outcome(info: dict[str, Any]) -> str:
    if "is_success" in info:
        return "success" if info["is_success"] else "no success"
    return "time is up" if info.get("TimeLimit.truncated") else "the end"
