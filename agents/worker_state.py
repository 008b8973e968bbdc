"""Reaching the environments that run in processes of their own, for their state.

:class:`s7rl.agents.workers.WorkerVecEnv` has a call for it.  SB3's own ``SubprocVecEnv`` has none: its workers step,
reset, read and set attributes and call methods of an environment, and send back what these return.  They have no access
to the environment as a whole, whose state is all of its attributes, nor to the generators of their process; and a
worker dies of an answer that does not pickle, which is what the state of some environments is.  So the function that is
to run there is sent as the value of an attribute, runs when the worker unpickles it, and leaves bytes, or a text that
says what went wrong, in that attribute to be read.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from stable_baselines3.common.vec_env import SubprocVecEnv
from stable_baselines3.common.vec_env.subproc_vec_env import _worker

from s7rl.agents.environment_pickle import EnvironmentStateError, answer
from s7rl.agents.workers import WorkerVecEnv

_MAILBOX = "s7rl_mailbox"
"""Attribute of an environment in another process through which it is asked and answers."""


def ask_workers(base: SubprocVecEnv, function: Callable[..., bytes], arguments: list[tuple[Any, ...]]) -> list[bytes]:
    """Call a function with the environment in each process.

    Args:
        base: the environments.
        function: takes an environment and what ``arguments`` has for it; importable by its name.
        arguments: further arguments, for each environment in turn.

    Returns:
        The answers, in the order of the environments.

    Raises:
        EnvironmentStateError: if the function failed; the text names the first process where it did.
    """
    answers: list[bytes | str]
    if isinstance(base, WorkerVecEnv):
        answers = base.ask(function, arguments)
    else:
        for i, those in enumerate(arguments):
            base.set_attr(_MAILBOX, _InWorker(function, those), indices=i)
        answers = base.get_attr(_MAILBOX)
        base.env_method("__delattr__", _MAILBOX)
    for i, answered in enumerate(answers):
        if isinstance(answered, str):
            raise EnvironmentStateError(f"in process {i}: {answered}")
    return [answered for answered in answers if isinstance(answered, bytes)]


class _InWorker:
    """Unpickles, in a process of ``SubprocVecEnv``, to what a function makes of the environment there."""

    def __init__(self, function: Callable[..., bytes], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return _call_in_worker, (self.function, self.arguments)


def _call_in_worker(function: Callable[..., bytes], arguments: tuple[Any, ...]) -> bytes | str:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not _worker.__code__:
        frame = frame.f_back
    if frame is None:
        return "their processes are none of SubprocVecEnv's"
    answered: bytes | str = answer(function, frame.f_locals["env"], arguments)
    return answered
