"""Our own tasks of memory: batched, of any difficulty, with exact scores.

Rules, scores and their derivations stand in the class of each task, in ``s7rl.envs.engines``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gymnasium.envs.registration import load_env_creator

from s7rl.envs.suites.suite import Facts, Suite, shows_numbers

_CLASSES = {
    "TMazePassive": "tmaze",
    "TMazeActive": "tmaze_active",
    "RepeatFirst": "repeat_first",
    "RepeatPrevious": "repeat_previous",
    "Copy": "copying",
    "SelectiveCopy": "copying",
    "Reverse": "copying",
    "AssociativeRecall": "associative_recall",
    "MemoryLength": "bsuite",
    "MemorySize": "bsuite",
    "KeyToDoor": "key_to_door",
    "Needle": "needle",
}
"""The single environments and their modules; the batched one has the same name with ``Vector`` at the end."""


def _describe(env_id: str, kwargs: Mapping[str, Any]) -> Facts:
    environment: Any = load_env_creator(str(SUITE.own[env_id]["entry_point"]))
    facts: Facts = environment.facts(**kwargs)
    return replace(facts, shows_numbers=shows_numbers(environment.engine(1, **kwargs).observation_space))


SUITE = Suite(
    name="memory",
    summary="our own: remember for as long as you like, a million steps a second",
    own={
        f"s7rl/{name}-v0": {
            "entry_point": f"s7rl.envs.engines.{module}:{name}",
            "vector_entry_point": f"s7rl.envs.engines.{module}:{name}Vector",
        }
        for name, module in _CLASSES.items()
    },
    describe=_describe,
)
