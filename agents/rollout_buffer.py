"""What one rollout leaves behind, time-major and on the learner's device."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from s7rl.agents.advantages import generalized_advantages
from s7rl.agents.observations import Observations, map_observations


class Sequences(NamedTuple):
    """Sequences of L consecutive steps each: what one gradient step learns from."""

    observations: Observations
    actions: Shaped[Tensor, "L B *action"]
    action_masks: Bool[Tensor, "L B M"] | None
    log_probs: Float[Tensor, "L B"]
    values: Float[Tensor, "L B"]
    advantages: Float[Tensor, "L B"]
    returns: Float[Tensor, "L B"]
    episode_starts: Bool[Tensor, "L B"]
    initial_state: Float[Tensor, "B S"]
    """The state of the memory before the first step."""
    next_state: Float[Tensor, "B S"]
    """The state after the last step, as it was while acting."""


class History(NamedTuple):
    """The last K steps of a rollout, to warm the memory up before the next one."""

    observations: Observations
    episode_starts: Bool[Tensor, "K B"]
    state: Float[Tensor, "B S"]
    """The state before the first of them."""


class SequenceBuffer:
    """A rollout of T steps of ``n_envs`` environments.

    The steps of one environment are a row.  Rows are cut into sequences of L steps, in order, with a flag where an
    episode starts; a minibatch is a set of sequences.  Nothing is padded, masked or shuffled in time.

    Args:
        n_steps: T.
        n_envs: how many rows.
        observation_space: of one environment.
        action_space: of one environment.
        state_size: S, of the policy's memory.
        device: where everything is kept.
        sequence_length: L, a divisor of T.
        mask_size: width of an action mask; 0: the environments give none.
    """

    def __init__(
        self,
        n_steps: int,
        n_envs: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        state_size: int,
        device: torch.device,
        *,
        sequence_length: int,
        mask_size: int = 0,
    ) -> None:
        assert n_steps % sequence_length == 0
        shape = (n_steps, n_envs)
        self.sequence_length = sequence_length
        self.pieces = n_steps // sequence_length
        """K, the number of sequences that a row is cut into."""
        self.observations: Observations
        if isinstance(observation_space, spaces.Dict):
            self.observations = {key: _zeros(space, shape, device) for key, space in observation_space.spaces.items()}
        else:
            self.observations = _zeros(observation_space, shape, device)
        self.actions = _zeros(action_space, shape, device)
        self.action_masks = torch.ones(*shape, mask_size, dtype=torch.bool, device=device) if mask_size else None
        self.rewards = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.next_values = torch.zeros(shape, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.advantages: Float[Tensor, "T B"]
        self.returns: Float[Tensor, "T B"]
        self.episode_starts = torch.zeros(shape, dtype=torch.bool, device=device)
        self.terminated = torch.zeros(shape, dtype=torch.bool, device=device)
        self.truncated = torch.zeros(shape, dtype=torch.bool, device=device)
        self.states = torch.zeros(self.pieces + 1, n_envs, state_size, device=device)
        """``[K + 1, B, S]``, while acting: before the first step of each sequence, and after the last step of all."""

    def add(
        self,
        step: int,
        observations: Observations,
        episode_starts: Bool[Tensor, " B"],
        actions: Shaped[Tensor, "B *action"],
        values: Float[Tensor, " B"],
        log_probs: Float[Tensor, " B"],
        action_masks: Bool[Tensor, "B M"] | None = None,
    ) -> None:
        """Keep what was seen and done at a step."""
        if isinstance(observations, dict):
            assert isinstance(self.observations, dict)
            for key, tensor in observations.items():
                self.observations[key][step] = tensor
        else:
            self.observations[step] = observations  # type: ignore[index]  # a tensor too
        self.episode_starts[step] = episode_starts
        self.actions[step] = actions
        self.values[step] = values
        self.log_probs[step] = log_probs
        if self.action_masks is not None:
            assert action_masks is not None
            self.action_masks[step] = action_masks

    def clear_ends(self) -> None:
        """Forget where episodes ended in the rollout before."""
        self.terminated.zero_()
        self.truncated.zero_()

    def add_ends(self, step: int, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]) -> None:
        """Keep which episodes ended at a step; one that is truncated is not terminated."""
        self.terminated[step] = torch.as_tensor(terminated)
        self.truncated[step] = torch.as_tensor(truncated)

    def finish(
        self,
        last_values: Float[Tensor, " B"],
        time_outs: Int[Tensor, "N 2"],
        time_out_values: Float[Tensor, " N"],
        *,
        gamma: float,
        gae_lambda: float,
    ) -> None:
        """Compute advantages and returns once all steps are in.

        Args:
            last_values: value of the observation that follows the last step.
            time_outs: (step, environment) of every episode that was truncated.
            time_out_values: value of the last observation of each of those episodes.
            gamma: discount.
            gae_lambda: trace decay.
        """
        self.next_values[:-1] = self.values[1:]
        self.next_values[-1] = last_values
        self.next_values[time_outs[:, 0], time_outs[:, 1]] = time_out_values
        self.advantages = generalized_advantages(
            self.rewards,
            self.values,
            self.next_values,
            self.terminated,
            self.truncated,
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        self.returns = self.advantages + self.values

    def sequences(self) -> Sequences:
        """All sequences side by side, ``[L, K * B]``: the first of every row, then the second of every row, ..."""
        return Sequences(
            observations=map_observations(self._fold, self.observations),
            actions=self._fold(self.actions),
            action_masks=None if self.action_masks is None else self._fold(self.action_masks),
            log_probs=self._fold(self.log_probs),
            values=self._fold(self.values),
            advantages=self._fold(self.advantages),
            returns=self._fold(self.returns),
            episode_starts=self._fold(self.episode_starts),
            initial_state=self.states[:-1].flatten(0, 1),
            next_state=self.states[1:].flatten(0, 1),
        )

    def piece(self, number: int) -> tuple[Observations, Bool[Tensor, "L B"]]:
        """Observations and episode starts of one sequence of every row, the first being 0."""
        steps = slice(number * self.sequence_length, (number + 1) * self.sequence_length)
        return map_observations(lambda x: x[steps], self.observations), self.episode_starts[steps]

    def last_steps(self, number: int, state: Float[Tensor, "B S"]) -> History:
        """A copy of the last steps, and the state before them."""
        return History(
            map_observations(lambda x: x[-number:].clone(), self.observations),
            self.episode_starts[-number:].clone(),
            state.clone(),
        )

    def _fold(self, x: Shaped[Tensor, "T B *rest"]) -> Shaped[Tensor, "L KB *rest"]:
        """From rows to sequences: a copy only where rows are cut."""
        if self.pieces == 1:
            return x
        cut = x.view(self.pieces, self.sequence_length, *x.shape[1:])
        return cut.transpose(0, 1).reshape(self.sequence_length, -1, *x.shape[2:])


def minibatches(sequences: Sequences, number: int) -> Iterator[Sequences]:
    """All sequences in random order, ``number`` at a time, which divides how many there are."""
    starts = sequences.episode_starts
    for index in torch.randperm(starts.shape[1], device=starts.device).split(number):
        yield take(sequences, index)


def take(sequences: Sequences, index: Int[Tensor, " N"]) -> Sequences:
    """The sequences of these numbers."""
    states = {name: getattr(sequences, name)[index] for name in ("initial_state", "next_state")}
    steps: dict[str, Any] = {
        name: map_observations(lambda x: x[:, index], x)
        for name, x in sequences._asdict().items()
        if name not in states and x is not None  # there may be no masks
    }
    return sequences._replace(**steps, **states)


def _zeros(space: spaces.Space[Any], shape: tuple[int, int], device: torch.device) -> Tensor:
    # float32 for whatever has a fraction; also for the bits of an action, which their distribution multiplies.
    fractional = isinstance(space, spaces.MultiBinary) or np.issubdtype(space.dtype, np.floating)
    dtype = torch.float32 if fractional else torch.from_numpy(np.empty(0, space.dtype)).dtype
    return torch.zeros(*shape, *(space.shape or ()), dtype=dtype, device=device)
