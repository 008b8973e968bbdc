"""Episodes with what the memory held: played as an evaluation plays them, the states kept.

T counts the steps that are kept, every one of them or every so many; B the episodes; S the numbers of the actor's
memory; K the columns of the hidden state that the task shows to an oracle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getdoc
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from s7rl.agents import BatchedVecEnv
from s7rl.agents.action_masks import get_action_masks, is_masking_supported
from s7rl.agents.observations import Observations, map_observations
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.workers import WorkerVecEnv
from s7rl.experiments.hidden_state import flat_numbers, hidden_state

MOST_POINTS = 128
"""Steps of an episode at which states are kept, at most: as many as a picture can show."""
MOST_NUMBERS = 20_000_000
"""Numbers of all states together, 80 MB; a wide memory is kept at fewer steps."""
MOST_WHOLE = 16
"""Episodes that are kept whole, to be gone through once more."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode as the network sees it, from its first observation to its last action."""

    observations: Observations
    """[L, ...]."""
    decisions: Shaped[Tensor, "L ..."]
    """The actions taken; continuous ones drawn anew, as the density is flat at the most probable one."""
    action_masks: Bool[Tensor, "L M"] | None
    """True where an action was allowed; None: all were."""

    def __len__(self) -> int:
        """L, its steps."""
        return len(self.decisions)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was kept of a number of episodes."""

    steps: Int[np.ndarray, " T"]
    """The steps at which states were kept, from 0."""
    states: Float[np.ndarray, "T B S"]
    """The actor's memory after each of them; NaN where an episode was over."""
    hidden: Float[np.ndarray, "T B K"] | None
    """The task's hidden state when the observation of that step was shown; None where there is none to be had."""
    lengths: Int[np.ndarray, " B"]
    """Steps of each episode."""
    returns: Float[np.ndarray, " B"]
    """Undiscounted return of each."""
    successes: Bool[np.ndarray, " B"] | None
    """Whether each ended in success; None where the task does not say."""
    truncated: Bool[np.ndarray, " B"]
    """Whether each ended because time was up."""
    whole: tuple[Episode, ...]
    """The first episode of each of the first environments."""


def record(policy: RecurrentActorCriticPolicy, vec_env: VecEnv, episodes: int) -> Recording:
    """Plays episodes, taking the most probable actions.

    Every environment plays a number of episodes that is fixed beforehand, as in an evaluation.

    Args:
        policy: who plays.
        vec_env: monitored environments, already seeded; each plays its share, the first ones one more where it is
            uneven.
        episodes: how many to play, at least 1.

    Returns:
        What is kept, the episodes in the order of their environments.
    """
    policy.set_training_mode(False)
    players = [_Player(share=_share(episodes, vec_env.num_envs, row)) for row in range(vec_env.num_envs)]
    size = policy.core.state_size
    points = max(1, min(MOST_POINTS, MOST_NUMBERS // (episodes * max(size, 1))))
    every = 1
    masked, shows_hidden = is_masking_supported(vec_env), True
    continuous = isinstance(policy.action_space, spaces.Box)
    seen: Any = vec_env.reset()
    state = policy.initial_state(vec_env.num_envs)
    starts = np.ones(vec_env.num_envs, dtype=bool)
    while any(player.share for player in players):
        hidden = hidden_states(vec_env) if shows_hidden else None
        shows_hidden = hidden is not None
        observations, _ = policy.obs_to_tensor(seen)
        masks = torch.as_tensor(get_action_masks(vec_env), device=policy.device) if masked else None
        with torch.no_grad():
            distribution, state = policy.get_distribution(
                observations, state, torch.as_tensor(starts, device=policy.device), masks
            )
            actions = distribution.get_actions(deterministic=True)
            decisions = distribution.sample() if continuous else actions
        memory = state[:, :size].cpu().numpy()
        for row, player in enumerate(players):
            if player.share:
                player.keep(row, every, memory, hidden)
                if row < MOST_WHOLE and not player.lengths:
                    player.keep_whole(row, observations, decisions, masks)
        if any(len(player.states[-1]) > points for player in players):
            every *= 2
            for player in players:
                player.thin_out()
        shaped = actions.cpu().numpy().reshape(-1, *(policy.action_space.shape or ()))
        seen, _, dones, infos = vec_env.step(policy.to_action_space(shaped))
        starts = np.asarray(dones, dtype=bool)
        for row in np.flatnonzero(starts).tolist():
            players[row].end(infos[row])
    return _together(players, every, size)


def hidden_states(vec_env: VecEnv) -> Sequence[Float[np.ndarray, " K"]] | None:
    """The hidden state of each environment; None where one has none."""
    inner: Any = vec_env.unwrapped
    if isinstance(inner, BatchedVecEnv):  # an engine, which answers for all of its rows at once
        states = [flat_numbers(row) for row in inner.env_method("get_state", indices=0)[0]]
    elif isinstance(inner, WorkerVecEnv):
        states = inner.ask(hidden_state, [()] * inner.num_envs)
    else:
        states = [hidden_state(env) for env in inner.envs]
    found = [state.astype(np.float64) for state in states if state is not None]
    return found if len(found) == len(states) else None


def hidden_state_text(vec_env: VecEnv) -> str:
    """What the columns of the hidden state are, where the task is an engine of ours; else nothing."""
    batched = vec_env.unwrapped
    engine = getattr(batched.vector_env.unwrapped, "engine", None) if isinstance(batched, BatchedVecEnv) else None
    text = (getdoc(engine.states) or "") if engine is not None else ""
    return text.partition("\n")[0].removeprefix("Return ").rstrip(".")


@dataclass(kw_only=True)
class _Player:
    """What is kept of one environment."""

    share: int
    """Episodes still to play."""
    length: int = 0
    """Steps of the episode under way."""
    states: list[list[NDArray[np.float32]]] = field(default_factory=lambda: [[]])
    hidden: list[list[NDArray[np.float64]]] = field(default_factory=lambda: [[]])
    lengths: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    whole: list[tuple[Observations, Tensor, Tensor | None]] = field(default_factory=list)

    def keep(
        self, row: int, every: int, memory: NDArray[np.float32], hidden: Sequence[NDArray[np.float64]] | None
    ) -> None:
        """Keep the state after a step, if it is one of those."""
        if self.length % every == 0:
            self.states[-1].append(memory[row].copy())
            if hidden is not None:
                self.hidden[-1].append(hidden[row])
        self.length += 1

    def thin_out(self) -> None:
        """Forget every other state."""
        self.states = [episode[::2] for episode in self.states]
        self.hidden = [episode[::2] for episode in self.hidden]

    def keep_whole(self, row: int, observations: Observations, decisions: Tensor, masks: Tensor | None) -> None:
        """Keep what went in and came out at a step."""
        mask = None if masks is None else masks[row].clone()
        self.whole.append((map_observations(lambda x: x[row].clone(), observations), decisions[row].clone(), mask))

    def end(self, info: Mapping[str, Any]) -> None:
        """Note how an episode ended."""
        if self.share:
            self.share -= 1
            self.lengths.append(self.length)
            self.returns.append(float(info["episode"]["r"]))
            self.truncated.append(bool(info.get("TimeLimit.truncated", False)))
            if "is_success" in info:
                self.successes.append(bool(info["is_success"]))
            if self.share:
                self.states.append([])
                self.hidden.append([])
        self.length = 0

    def episode(self) -> Episode:
        """What was kept whole."""
        observations, decisions, masks = zip(*self.whole, strict=True)
        return Episode(
            observations=_stack(observations),
            decisions=torch.stack(decisions),
            action_masks=None if masks[0] is None else torch.stack(masks),
        )


def _share(episodes: int, num_envs: int, row: int) -> int:
    return episodes // num_envs + (row < episodes % num_envs)


def _stack(observations: tuple[Observations, ...]) -> Observations:
    first = observations[0]
    if isinstance(first, dict):
        return {key: torch.stack([one[key] for one in observations if isinstance(one, dict)]) for key in first}
    return torch.stack([one for one in observations if isinstance(one, Tensor)])


def _together(players: list[_Player], every: int, size: int) -> Recording:
    lengths = np.array([length for player in players for length in player.lengths])
    steps = np.arange(0, lengths.max(), every)
    known = [episode for player in players for episode in player.states if episode]
    states = _pad(known, len(steps), size)
    hidden = [episode for player in players for episode in player.hidden if episode]
    widths = {len(state) for episode in hidden for state in episode}
    # What has not the same columns at all times, or has them only at some, has none that could be followed.
    kept = [len(episode) for episode in hidden] == [len(episode) for episode in known]
    columns = widths.pop() if kept and len(widths) == 1 else 0
    successes = np.array([success for player in players for success in player.successes])
    return Recording(
        steps=steps,
        states=states,
        hidden=_pad(hidden, len(steps), columns) if columns else None,
        lengths=lengths,
        returns=np.array([value for player in players for value in player.returns]),
        successes=successes if len(successes) == len(lengths) else None,
        truncated=np.array([ended for player in players for ended in player.truncated]),
        whole=tuple(player.episode() for player in players if player.whole),
    )


def _pad(episodes: list[list[NDArray[Any]]], length: int, width: int) -> NDArray[Any]:
    """Episodes side by side, [T, B, width], NaN behind the end of each."""
    padded = np.full((length, len(episodes), width), np.nan, dtype=episodes[0][0].dtype)
    for number, episode in enumerate(episodes):
        padded[: len(episode), number] = np.stack(episode)
    return padded
