"""How :class:`s7rl.agents.RecurrentPPO` learns: passes over a rollout, in minibatches of sequences."""

from functools import partial

import torch
from jaxtyping import Float
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import explained_variance
from torch import Tensor

from s7rl.agents import distributed
from s7rl.agents.anomalies import diagnosing
from s7rl.agents.losses import ppo_loss
from s7rl.agents.numerics import check_loss, clip_gradients
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.rollout_buffer import History, SequenceBuffer, Sequences, minibatches


class LearningMixin(OnPolicyAlgorithm):
    """Updates the policy from a rollout."""

    policy: RecurrentActorCriticPolicy
    rollout_buffer: SequenceBuffer  # type: ignore[assignment]  # SB3's keeps no states
    n_epochs: int
    target_kl: float | None
    normalize_advantage: bool
    refresh: str
    clip_range: Schedule
    clip_range_vf: Schedule | None
    _history: History | None = None
    _sequences: int
    """Sequences in a minibatch."""

    def train(self) -> None:
        """Update the policy from the last rollout."""
        self.policy.set_training_mode(True)
        progress = self._current_progress_remaining
        # A last rollout that reaches beyond the end leaves less than nothing: a straight line would be below 0 there,
        # and the step uphill.
        learning_rate = max(self.lr_schedule(progress), 0.0)
        self.logger.record("train/learning_rate", learning_rate)
        self.policy.set_learning_rate(learning_rate)
        clip_range = max(self.clip_range(progress), 0.0)
        clip_range_vf = None if self.clip_range_vf is None else max(self.clip_range_vf(progress), 0.0)
        sequences = self.rollout_buffer.sequences()
        statistics: list[dict[str, Tensor]] = []
        for epoch in range(self.n_epochs):
            if epoch and self.refresh == "epoch":
                sequences = sequences._replace(initial_state=self._refreshed_states().flatten(0, 1))
            within_target = self._epoch(sequences, clip_range, clip_range_vf, statistics)
            self._n_updates += 1
            if not within_target:
                break
        self._log_update(statistics, clip_range, clip_range_vf)

    def _refreshed_states(self) -> Float[Tensor, "K B S"]:
        """The states before each sequence, from the first step that is known, with the weights of now."""
        buffer, history = self.rollout_buffer, self._history
        states = [buffer.states[0]]
        with torch.no_grad():
            if history is not None:
                states = [self.policy.advance(history.observations, history.state, history.episode_starts)]
            for piece in range(buffer.pieces - 1):
                observations, episode_starts = buffer.piece(piece)
                states.append(self.policy.advance(observations, states[-1], episode_starts))
        return torch.stack(states)

    def _epoch(
        self,
        sequences: Sequences,
        clip_range: float,
        clip_range_vf: float | None,
        statistics: list[dict[str, Tensor]],
    ) -> bool:
        """Pass over the rollout once; False if the policy moved further than ``target_kl`` allows."""
        for batch in minibatches(sequences, self._sequences):
            forward = partial(self._evaluate, batch)
            with diagnosing(self.policy, forward, step=None, timesteps=self.num_timesteps):
                loss, numbers = self._loss(batch, clip_range, clip_range_vf)
                statistics.append(numbers)
                if self.target_kl is not None:
                    approx_kl = distributed.mean(numbers["approx_kl"])
                    if approx_kl > 1.5 * self.target_kl:
                        if self.verbose >= 1:
                            print(f"Stopping this update early: the KL divergence reached {approx_kl:.3f}.")
                        return False
                for parameter in self.policy.optimized_parameters():
                    parameter.grad = None  # as optimizer.zero_grad() does, which takes several times as long
                loss.backward()
                # The ranks meet here, so that what is not finite on one of them stops all, each by its own error.
                distributed.average_gradients(self.policy.optimized_parameters())
                check_loss(numbers, self.num_timesteps)
            clip_gradients(self.policy, self.max_grad_norm, self.num_timesteps)
            self.policy.optimizer.step()
        return True

    def _evaluate(self, batch: Sequences) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """What the policy says of a minibatch now."""
        return self.policy.evaluate_actions(
            batch.observations, batch.actions, batch.initial_state, batch.episode_starts, batch.action_masks
        )

    def _loss(
        self, batch: Sequences, clip_range: float, clip_range_vf: float | None
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss of a minibatch, and its statistics under their log keys."""
        values, log_probs, entropies, state = self._evaluate(batch)
        loss, numbers = ppo_loss(
            batch,
            values,
            log_probs,
            entropies,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            normalize_advantage=self.normalize_advantage,
            ent_coef=self.ent_coef,
            vf_coef=self.vf_coef,
        )
        if self.policy.state_size:
            numbers["state_staleness"] = (state.detach() - batch.next_state).abs().max()
        return loss, numbers

    def _log_update(self, statistics: list[dict[str, Tensor]], clip_range: float, clip_range_vf: float | None) -> None:
        minibatches_per_pass = self.rollout_buffer.pieces * self.n_envs // self._sequences
        for key in statistics[0]:
            over_all = distributed.rows(torch.stack([numbers[key] for numbers in statistics])[:, None])
            # How far the weights have moved the memory's states since acting: as far as the last pass saw.
            stale = key == "state_staleness"
            value = over_all[-minibatches_per_pass:].max() if stale else over_all.mean()
            self.logger.record(f"train/{key}", value.item())
        buffer = self.rollout_buffer
        values, returns = (distributed.rows(x).flatten().cpu().numpy() for x in (buffer.values, buffer.returns))
        self.logger.record("train/explained_variance", float(explained_variance(values, returns)))
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", self.policy.log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)
