"""The hidden state that an environment shows to an oracle: the numbers of its ``get_state()``.

Ours and POPGym's have it. Elsewhere a method of that name may be anything: it wants arguments, fails, or returns
objects, bytes or a whole picture; then there is no hidden state. Without torch: worker processes import this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Shaped

MOST_NUMBERS = 1_000
"""A state of more is no list of facts that could be followed one by one."""


def hidden_state(env: gym.Env[Any, Any]) -> Shaped[np.ndarray, " K"] | None:
    """What an environment says of itself, None where that is not numbers; it never raises."""
    try:
        return flat_numbers(env.get_wrapper_attr("get_state")())
    except Exception:
        return None


def flat_numbers(state: Any) -> Shaped[np.ndarray, " K"] | None:
    """All numbers in a state, which may be nested; None where there are none, too many, or other things as well."""
    parts = [np.ravel(np.asarray(part)) for part in _parts(state)]
    if any(part.dtype.kind not in "biuf" for part in parts) or not 0 < sum(map(len, parts)) <= MOST_NUMBERS:
        return None
    return np.concatenate(parts)


def _parts(state: Any) -> Iterator[Any]:
    if isinstance(state, Mapping):
        state = tuple(state.values())
    if isinstance(state, tuple | list):
        for part in state:
            yield from _parts(part)
    else:
        yield state
