"""What is known of the task of a run, where making its environment may hang or crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from s7rl.envs import Task, find_task, has_batched_engine
from s7rl.envs.registry import check_names
from s7rl.envs.tasks import Probe, probe
from s7rl.experiments.errors import TrainingError


def task_of_run(env_id: str, env_kwargs: Mapping[str, Any], wrappers: Sequence[str], worker_timeout: int) -> Task:
    """Describes an environment as ``find_task`` does, which makes one, but of others' code in a worker process.

    Args:
        env_id: any id that ``make_env`` takes.
        env_kwargs: keyword arguments of the environment.
        wrappers: what stands around it.
        worker_timeout: seconds that the worker has; 0: for ever, and then there is none.

    Raises:
        ValueError: in one line, as ``make_env``.
        TypeError: in one line, as ``make_env``.
        TrainingError: the worker died or did not answer.
    """
    if worker_timeout <= 0 or has_batched_engine(env_id, env_kwargs, wrappers):
        return find_task(env_id, env_kwargs, wrappers)

    def probe_in_worker(env_id: str, env_kwargs: Mapping[str, object], wrappers: Sequence[str]) -> Probe:
        check_names(env_id, env_kwargs, wrappers)
        # Only now: it imports torch, and a mistyped name is answered at once.
        from s7rl.agents.vectorization import in_processes
        from s7rl.agents.workers import WorkerError

        try:
            with closing(in_processes(env_id, 1, env_kwargs, float(worker_timeout), wrappers)) as worker:
                (answer,) = worker.ask(probe, [()])
        except WorkerError as error:
            raise TrainingError(str(error), error.traceback) from error
        return answer if isinstance(answer, Probe) else Probe(None, None)  # the text of what others' code raised

    return find_task(env_id, env_kwargs, wrappers, probe_in_worker)
