"""What is said of an environment that fails in a run: its own traceback, and one line with what to do."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from stable_baselines3.common.vec_env import dummy_vec_env

from s7rl.agents import WorkerError, vec_env
from s7rl.checks import EnvironmentMistake, error_line
from s7rl.experiments.errors import TrainingError

_STEPPING = {dummy_vec_env.__file__, vec_env.__file__}
"""Where environments of this process are stepped: what is raised from there on is theirs."""


@contextmanager
def environment_failures(remedy: Callable[[], str]) -> Iterator[None]:
    """Turns an exception of an environment in the block into a TrainingError with the environment's own traceback.

    Args:
        remedy: what ends the line, after what happened.

    Raises:
        TrainingError: an environment raised, died, did not answer, or gave what its spaces or masks exclude.
    """
    try:
        yield
    except EnvironmentMistake as error:
        raise TrainingError(f"{str(error).removesuffix('.')}; {remedy()}") from error
    except (Exception, SystemExit) as error:
        found = explain(error)
        if found is None:
            raise
        line, details = found
        raise TrainingError(f"{line}; {remedy()}", details) from error


def explain(error: Exception | SystemExit) -> tuple[str, str] | None:
    """What happened in one line and the environment's traceback, or None where it came from elsewhere."""
    if isinstance(error, WorkerError):
        return str(error), error.traceback
    frame, inner = error.__traceback__, None
    while frame is not None:
        if frame.tb_frame.f_code.co_filename in _STEPPING:
            inner = frame
        frame = frame.tb_next
    if inner is None:
        return None
    printed = "".join(traceback.format_exception(type(error), error, inner.tb_next or inner))
    return f"{_name(inner)} raised {error_line(error)}", printed


def _name(frame: TracebackType) -> str:
    number = frame.tb_frame.f_locals.get("env_idx")
    return "the environment" if number is None else f"environment {number}"
