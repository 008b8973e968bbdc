"""Playing episodes with an agent, and the numbers that come of it.

Every environment plays a number of episodes that is fixed beforehand. Taking the first N that end would count short
episodes more often than long ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from stable_baselines3.common.vec_env import VecEnv

from s7rl.agents.action_masks import get_action_masks, is_masking_supported
from s7rl.checks import shown

if TYPE_CHECKING:
    from s7rl.experiments.statistics import Estimate

MOST_ENVS = 25
"""Environments side by side in an evaluation; more would be faster for the network only."""
MOST_ROWS = 200
"""Rows of a batched engine in an evaluation over several seeds: there the environments are faster, too."""


@runtime_checkable
class Agent(Protocol):
    """Anything that acts as SB3's algorithms do; with ``action_masks`` where the environments have some.

    One that has ``renew_noise``, as :class:`s7rl.agents.RecurrentPPO`, is told of each step before actions are drawn.
    """

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The actions, and the memory to hand in with the next observation."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an agent got in a number of episodes."""

    returns: tuple[float, ...]
    """Undiscounted return of each episode."""
    lengths: tuple[int, ...]
    """Steps of each episode."""
    successes: tuple[bool, ...]
    """Whether each episode ended in success; empty where the task does not say."""
    limit: int | None = None
    """Steps after which an episode is cut short; None where there is no such limit."""
    cut_short: int = 0
    """How many episodes were cut short; their returns are what they had got by then."""

    @property
    def mean_return(self) -> float:
        """Mean over the episodes."""
        return float(np.mean(self.returns))

    @property
    def standard_error(self) -> float:
        """Standard error of ``mean_return``; 0 for a single episode."""
        return float(np.std(self.returns, ddof=1) / math.sqrt(len(self.returns))) if len(self.returns) > 1 else 0.0

    @property
    def success_rate(self) -> float | None:
        """Share of successful episodes; None where the task does not say."""
        return float(np.mean(self.successes)) if self.successes else None

    @property
    def mean_length(self) -> float:
        """Mean steps of an episode."""
        return float(np.mean(self.lengths))

    def mean_estimate(self) -> Estimate:
        """``mean_return`` with its bootstrap over the episodes."""
        return self._estimate("mean")

    def interquartile_mean(self) -> Estimate:
        """Mean of the middle half of the returns, with its bootstrap over the episodes."""
        return self._estimate("interquartile_mean")

    def success_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``success_rate``; None where the task does not say.

        A bootstrap of episodes that all succeed would claim that none ever fails.
        """
        if not self.successes:
            return None
        from scipy import stats

        from s7rl.experiments.statistics import CONFIDENCE

        test = stats.binomtest(sum(self.successes), len(self.successes))
        interval = test.proportion_ci(CONFIDENCE, method="wilson")
        return float(interval.low), float(interval.high)

    def _estimate(self, statistic: str) -> Estimate:
        from s7rl.experiments import statistics  # only now: scipy takes a while

        estimate: Estimate = getattr(statistics, statistic)([np.asarray(self.returns)])
        return estimate

    def as_json(self) -> dict[str, Any]:
        """The numbers, for a file; intervals are ``[low, high]``, None where one episode has none."""
        mean, middle = self.mean_estimate(), self.interquartile_mean()
        return {
            "episodes": len(self.returns),
            "mean_return": self.mean_return,
            "standard_error": self.standard_error,
            "mean_interval": mean.interval,
            "interquartile_mean": middle.value,
            "interquartile_mean_interval": middle.interval,
            "success_rate": self.success_rate,
            "success_interval": self.success_interval(),
            "mean_length": self.mean_length,
            "shortest": min(self.lengths),
            "longest": max(self.lengths),
            "cut_short": self.cut_short,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
        }


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The episodes of several evaluations as those of one, in their order."""
    told = all(evaluation.successes for evaluation in evaluations)
    return Evaluation(
        returns=tuple(chain.from_iterable(evaluation.returns for evaluation in evaluations)),
        lengths=tuple(chain.from_iterable(evaluation.lengths for evaluation in evaluations)),
        successes=tuple(chain.from_iterable(evaluation.successes for evaluation in evaluations if told)),
        limit=evaluations[0].limit,
        cut_short=sum(evaluation.cut_short for evaluation in evaluations),
    )


def scores_as_json(played: Mapping[str, Sequence[Evaluation]], seeds: Sequence[int], checkpoint: str) -> dict[str, Any]:
    """What a run's evaluation.json and the file of `s7rl evaluate --out` hold, which is the same.

    Where another environment was asked for, `s7rl evaluate` writes its ``env_id`` and ``env_kwargs`` before these.

    ``seed`` and ``seeds`` are those of the first environment of the first and of every batch, ``checkpoint`` is latest
    or best, ``sample`` whether actions were drawn.  Then come the numbers of ``Evaluation.as_json`` over all batches,
    and ``mean_return_by_seed``, the mean of each batch.  Where actions were chosen in a second way, the same numbers of
    that one stand under its name, ``sampled``.

    Args:
        played: by the way of choosing actions, ``deterministic`` or ``sampled``: each batch of episodes.
        seeds: of the first environment of each batch.
        checkpoint: which agent.
    """
    numbers = {
        way: pooled(batches).as_json() | {"mean_return_by_seed": [batch.mean_return for batch in batches]}
        for way, batches in played.items()
    }
    first, *others = numbers
    head = {"seed": seeds[0], "seeds": list(seeds), "checkpoint": checkpoint, "sample": first == "sampled"}
    return head | numbers[first] | {way: numbers[way] for way in others}


def evaluation_envs(episodes: int) -> int:
    """How many environments play ``episodes`` episodes."""
    return min(episodes, MOST_ENVS)


def play_episodes(
    agent: Agent,
    vec_env: VecEnv,
    episodes: int,
    *,
    batches: int = 1,
    deterministic: bool = True,
    limit: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Evaluation, ...]:
    """Plays episodes with the agent's memory carried from step to step and cleared between episodes.

    Environments that say which actions are allowed (``action_masks()``) are heard.

    Args:
        agent: who plays.
        vec_env: monitored environments, already seeded: as many for each batch, one batch behind the other.  Each plays
            its share, the first ones of a batch one more where it is uneven.
        episodes: how many each batch plays, at least 1.
        batches: how many evaluations are played side by side.
        deterministic: take the most probable action instead of drawing one.
        limit: steps after which the environments cut an episode short; None: they do not.
        stop: asked before each step; once it is true the evaluation is given up.

    Returns:
        One result per batch, in the order in which its episodes ended; none at all when stopped.

    Raises:
        ValueError: if the environments are not monitored.
    """
    rows = vec_env.num_envs // batches
    shares = np.full(rows, episodes // rows)
    shares[: episodes % rows] += 1
    shares = np.tile(shares, batches)
    # Return, length and success of each episode, and whether time was up, by batch.
    ended: list[list[tuple[float, int, bool | None, bool]]] = [[] for _ in range(batches)]
    observations: Any = vec_env.reset()
    state: Any = None
    episode_start = np.ones(vec_env.num_envs, dtype=bool)
    predict: Callable[..., tuple[Any, Any]] = agent.predict
    masked = is_masking_supported(vec_env)
    # Noise that is kept for some steps, as gSDE's, would else be the same in all episodes.
    renew_noise: Callable[[int, int], None] | None = None if deterministic else getattr(agent, "renew_noise", None)
    step = 0
    while shares.any():
        if stop():
            return ()
        if renew_noise is not None:
            renew_noise(step, vec_env.num_envs)
        step += 1
        masks = {"action_masks": get_action_masks(vec_env)} if masked else {}
        actions, state = predict(observations, state, episode_start, deterministic, **masks)
        observations, _, dones, infos = vec_env.step(actions)
        episode_start = np.asarray(dones, dtype=bool)
        for row in np.flatnonzero(episode_start & (shares > 0)):
            shares[row] -= 1
            if "episode" not in infos[row]:
                raise ValueError(
                    f"vec_env is {shown(vec_env)}, but it does not say what an ended episode returned: pass "
                    "VecMonitor(vec_env)."
                )
            episode, success = infos[row]["episode"], infos[row].get("is_success")
            truncated = bool(infos[row].get("TimeLimit.truncated", False))
            ended[row // rows].append(
                (float(episode["r"]), int(episode["l"]), None if success is None else bool(success), truncated)
            )
    return tuple(_evaluation(batch, limit) for batch in ended)


def _evaluation(ended: Sequence[tuple[float, int, bool | None, bool]], limit: int | None) -> Evaluation:
    returns, lengths, successes, truncated = zip(*ended, strict=True)
    # Where an environment speaks of success in some episodes only, perhaps those that had it, there is no rate.
    known = () if None in successes else successes
    cut = 0 if limit is None else count_cut_short(lengths, truncated, limit)
    return Evaluation(returns=returns, lengths=lengths, successes=known, limit=limit, cut_short=cut)


def count_cut_short(lengths: ArrayLike, truncated: ArrayLike, limit: int) -> int:
    """How many episodes a limit cut short: one may as well come to its end in that very step.

    Args:
        lengths: steps of each.
        truncated: whether each ended because time was up, ``info["TimeLimit.truncated"]``.
        limit: steps after which they were cut short.
    """
    return int(np.sum(np.asarray(truncated) & (np.asarray(lengths) >= limit)))
