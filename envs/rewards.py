r"""Rewards for learning: potential-based shaping, a reward of the user's own, clipping and scaling.

What an agent learns from is, at each step,

.. math:: r' = \text{scale} \cdot (\text{clip}(R) + \gamma\,\Phi(s') - \Phi(s))

where :math:`R` is the environment's reward, or the user's own in its place, :math:`\Phi` the potential, and
:math:`\Phi(s') = 0` where the episode terminated.  The order has reasons:

* **Only R is clipped**, in its own units and before anything is added.  Shaping telescopes: the discounted sum of
  :math:`\gamma\Phi(s') - \Phi(s)` over an episode is :math:`-\Phi(s_0)`, whatever the agent did, and so the best policy
  stays the best (Ng, Harada and Russell 1999, Policy invariance under reward transformations, theorem 1).  A sum that
  is clipped no longer telescopes.  Clipping itself may change which policy is best; clipping R changes it in a way that
  neither the potential nor the scale has a part in.
* **The scale multiplies the whole sum**: a positive factor changes no policy, and so a potential is a guess of the
  return in the units of the environment, whatever the scale.
* **The potential of the end is 0**, or :math:`\gamma^T\Phi(s_T)` would be left of the sum and pay for ending in one
  state rather than another (Grzes 2017, Reward shaping in episodic reinforcement learning, section 3).  A time-out is
  no end: the agent goes on to count on the value of the last state, and that value is shaped as well.

None of it needs the potential to know the whole state: the sum telescopes for a function of the observation, too.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from s7rl.checks import check_arguments, is_number, number, one_line, shown

Potential = Callable[[Any], float]
"""``potential(obs)``: about how much return is still to come from there, in the units of the environment's reward."""
RewardFunction = Callable[[Any, Any, Any, Mapping[str, Any]], float]
"""``reward(obs, action, next_obs, info)``: the reward of a step, see :class:`RewardShaping`."""
Amount = TypeVar("Amount", float, NDArray[np.float64])

_OF_THE_PIPELINE = ("TimeLimit.truncated", "terminal_observation", "episode")
"""What Stable-Baselines3 and monitors add to an info."""
_MEND = "mend that function."


class RewardError(Exception):
    """A user's function failed, or what it returned is no reward; the text is one line and names the function."""


@dataclass(frozen=True, kw_only=True)
class RewardShaping:
    """How the reward of a step becomes the one to learn from: see the formula above.

    The functions are given observations that cannot be written to, those of one environment.  The reward function's
    info is the environment's own for the step, with ``terminated`` and ``truncated`` added; a step that is both counts
    as the first alone.  A potential is asked once per observation, so it has to be a function of that alone.

    Raises:
        TypeError: if a function cannot be called with its arguments, or a number is none.
        ValueError: if a number is out of range, or there is a potential and no discount.
    """

    potential: Potential | None = None
    """The potential of an observation; None: no shaping."""
    reward: RewardFunction | None = None
    """The reward of a step in place of the environment's; None: the environment's."""
    scale: float = 1.0
    """What the sum is multiplied by, above 0."""
    clip: float | None = None
    """The reward is clipped to [-clip, clip] before the shaping is added, above 0; None: not at all."""
    discount: float | None = None
    """The discount of the return that the agent maximises, its ``gamma``; from 0 to 1."""

    def __post_init__(self) -> None:
        """Check each value."""
        _check_callable("potential", self.potential, ("obs",))
        _check_callable("reward", self.reward, ("obs", "action", "next_obs", "info"))
        check_arguments(
            vars(self),
            scale=number("rewards are multiplied by it", above=0.0),
            clip=number("rewards are clipped at it", above=0.0).or_none(),
            discount=number("it is the agent's gamma", least=0.0, most=1.0).or_none(),
        )
        if self.potential is not None and self.discount is None:
            raise ValueError(
                "discount is None, but with another discount than the agent's a potential changes which policy is "
                "best; pass the agent's gamma."
            )

    def shaped(
        self,
        obs: Any,
        action: Any,
        next_obs: Any,
        reward: float,
        terminated: bool,
        info: Mapping[str, Any] | None = None,
        *,
        truncated: bool = False,
    ) -> float:
        """The reward to learn from, of one step.

        Args:
            obs: what the environment showed before the step.
            action: what was done.
            next_obs: what it showed after the step, not after the reset that may follow.
            reward: what it gave.
            terminated: whether the episode ended in a terminal state.
            info: what it said of the step.
            truncated: whether the episode was cut off; it only goes into the reward function's info.

        Raises:
            RewardError: if a function fails, or returns what is no finite number.
        """
        before = self.potential_of(obs)
        after = 0.0 if terminated else self.potential_of(next_obs)
        chosen = self.reward_of(obs, action, next_obs, reward, terminated, truncated, info or {})
        return self.combine(chosen, before, after)

    def combine(self, reward: Amount, before: Amount | float, after: Amount | float) -> Amount:
        """The formula, for numbers or arrays of any shape.

        Args:
            reward: the reward, before it is clipped.
            before: potential before the step.
            after: potential after it, 0 where the episode terminated.
        """
        clipped: Any = reward if self.clip is None else np.clip(reward, -self.clip, self.clip)
        if self.potential is not None:
            assert self.discount is not None, "checked by the constructor"
            clipped = clipped + (self.discount * after - before)
        total: Amount = self.scale * clipped
        return total

    def potential_of(self, obs: Any) -> float:
        """The potential of an observation, 0 if there is none; see :meth:`shaped` for errors."""
        return 0.0 if self.potential is None else _number_from("potential", self.potential, obs)

    def reward_of(
        self,
        obs: Any,
        action: Any,
        next_obs: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[str, Any],
    ) -> float:
        """The environment's reward or, in its place, the reward function's; see :meth:`shaped`."""
        if self.reward is None:
            return reward
        own = {key: value for key, value in info.items() if key not in _OF_THE_PIPELINE}
        own |= {"terminated": terminated, "truncated": truncated and not terminated}
        return _number_from("reward function", self.reward, obs, action, next_obs, own)


def frozen(obs: Any) -> Any:
    """A copy of an observation, or of a batch of them, whose arrays cannot be written to."""
    if isinstance(obs, np.ndarray):
        copy = obs.copy()
        copy.setflags(write=False)
        return copy
    if isinstance(obs, Mapping):
        return {key: frozen(part) for key, part in obs.items()}
    return tuple(map(frozen, obs)) if isinstance(obs, tuple) else obs


def error_and_place(error: BaseException) -> str:
    """An error in one line, with the place in the user's files where it arose: nobody sees the traceback."""
    text = one_line(f"{type(error).__name__}: {error}".rstrip(": "))
    if isinstance(error, SyntaxError):
        return text  # it says where, and arose in Python's own import
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if not frame.filename.startswith("<")]
    theirs = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{text} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else text


def _number_from(role: str, function: Callable[..., Any], *arguments: Any) -> float:
    try:
        value = function(*arguments)
    except (Exception, SystemExit) as error:
        raise RewardError(f"the {role} {_name(function)} failed: {error_and_place(error)}: {_MEND}") from error
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]  # numpy.where and others give such arrays for numbers
    if not (is_number(value) or isinstance(value, bool | np.bool_)):
        raise RewardError(f"the {role} {_name(function)} returned {shown(value)}, which is no number: {_MEND}")
    reward = float(value)
    if not math.isfinite(reward):
        raise RewardError(f"the {role} {_name(function)} returned {reward}, which is not finite: {_MEND}")
    return reward


def _check_callable(name: str, function: Any, arguments: tuple[str, ...]) -> None:
    if function is None:
        return
    call = f"({', '.join(arguments)})"
    if not callable(function):
        raise TypeError(f"{name} is {shown(function)}, but it is called with {call}; pass a function.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a builtin that does not say what it takes
    try:
        signature.bind(*arguments)
    except TypeError:
        raise TypeError(
            f"{name} {_name(function)} takes {signature}, but it is called with {call}; give it these arguments."
        ) from None


def _name(function: Any) -> str:
    """The name of a function as ``module:function``, as far as it has one."""
    if hasattr(function, "__qualname__"):
        return f"{getattr(function, '__module__', None) or '?'}:{function.__qualname__}"
    return shown(function)
