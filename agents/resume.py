"""Going on with a run exactly where it was left: same weights, same actions, same log as if it had never stopped.

Beside an agent's checkpoint, ``x.zip``, ``save(..., resumable=True)`` writes ``x.resume``, whole in itself:

    header.json           format, version, number of environments, why there is no environments.pickle
    agent.zip             the checkpoint
    trainer.pickle        observations and memory between two rollouts, recent episodes, generators, unwritten log,
                          schedules that are functions
    environments.pickle   the environments and their wrappers, see :mod:`s7rl.agents.environment_state`

Only :meth:`ResumeMixin.resume` reads it.  Unlike a checkpoint it may run code when it is read, so it is for who wrote
it and not for sharing.
"""

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cloudpickle
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from torch import Tensor

from s7rl.agents.checkpoint import CheckpointMixin
from s7rl.agents.checkpoint_files import with_suffix, write_checkpoint
from s7rl.agents.distributed import rank, world_size
from s7rl.agents.environment_pickle import EnvironmentStateError
from s7rl.agents.environment_state import restore_environments, save_environments
from s7rl.agents.random_states import random_states, set_random_states
from s7rl.checks import error_line

FORMAT = "s7rl-resume"
FORMAT_VERSION = 2
_EPISODES = ("_last_obs", "_last_episode_starts", "_last_state", "_next_history")
"""Where the episodes under way stand: what their next step is computed from."""
_COUNTS = ("_iteration", "ep_info_buffer", "ep_success_buffer")
_LOG = ("name_to_value", "name_to_count", "name_to_excluded")

Self = TypeVar("Self", bound="ResumeMixin")


class ResumeMixin(CheckpointMixin):
    """``save(..., resumable=True)`` and ``resume`` of :class:`s7rl.agents.RecurrentPPO`."""

    _between_rollouts = True
    """Whether the model stands where a rollout begins, after the update from the one before."""
    _pending: dict[str, Any] | None = None
    """Generators and unwritten log of a resumed run, until ``learn`` takes them over."""

    def save(
        self,
        path: str | Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
        resumable: bool = False,
    ) -> None:
        """Write a checkpoint, atomically where ``path`` is one.  Of several ranks only the first writes.

        Args:
            path: file, ".zip" is added to a name without suffix; or a binary file object.
            exclude: no effect; SB3's callbacks may pass it.
            include: no effect.
            resumable: also write what :meth:`resume` needs, to a file of the same name that ends in ".resume".  Where
                the environments do not pickle, or are spread over several ranks, their episodes will start anew.

        Raises:
            ValueError: if ``path`` ends in ".resume"; if a nan has got into the statistics of a ``VecNormalize``; if
                ``resumable`` and the model is in the middle of a rollout or an update, has no environment, or ``path``
                is a file object.
        """
        if rank() > 0:
            return
        if not isinstance(path, io.IOBase):
            _beside(path)  # refuses the name of the other file
        content = self.checkpoint_bytes()
        if resumable:
            if isinstance(path, io.IOBase):
                raise ValueError("resumable is True, but it takes two files, and path is a file object: pass a path.")
            write_checkpoint(_beside(path), self._resumable(content))
        write_checkpoint(path, content)

    def _resumable(self, checkpoint: bytes) -> bytes:
        if self.env is None:
            raise ValueError("resumable is True, but the model has no environment to go on in: call set_env first.")
        if not self._between_rollouts:
            raise ValueError(
                "resumable is True, but the model is in the middle of a rollout or an update: save in a callback's "
                "on_rollout_start, or after learn has returned."
            )
        header: dict[str, Any] = {"format": FORMAT, "version": FORMAT_VERSION, "n_envs": self.env.num_envs}
        header["ranks"] = world_size()
        try:
            environments = save_environments(self.env)
        except EnvironmentStateError as error:
            environments, header["no_environments"] = None, str(error)
        trainer = {
            "episodes": {name: _move(getattr(self, name, None), "cpu") for name in _EPISODES},
            "counts": {name: getattr(self, name) for name in _COUNTS},
            "schedules": self._pickled_schedules(),
            "pending": self._pending or {"random_states": random_states(), "log": self._unwritten_log()},
        }
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("header.json", json.dumps(header, indent=2))
            archive.writestr("agent.zip", checkpoint)
            archive.writestr("trainer.pickle", pickle.dumps(trainer))
            if environments is not None:
                archive.writestr("environments.pickle", environments)
        return content.getvalue()

    def _pickled_schedules(self) -> dict[str, bytes]:
        """The schedules that a checkpoint does not hold, as far as they pickle."""
        pickled = {}
        for name, function in self.schedule_functions().items():
            try:
                pickled[name] = cloudpickle.dumps(function)  # by value, if it is of the script that trains
            except Exception as error:
                warnings.warn(
                    f"{name} does not pickle ({error_line(error)}), so that resume goes on with the value that it "
                    "begins with: pass it again.",
                    stacklevel=4,
                )
        return pickled

    @classmethod
    def resume(
        cls: type[Self],
        path: str | Path,
        env: GymEnv | VectorEnv | str,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a model that goes on where one was saved with ``resumable=True``.

        ``model.learn(max(0, total - model.num_timesteps), reset_num_timesteps=False)`` then does what the run would
        have done: the same actions, weights and log, bit for bit on one thread of the same machine and versions.  Where
        the environments' state could not be saved or does not fit, a warning says why and their episodes start anew.
        Callbacks' own counters are the caller's; ``compile_policy`` and ``debug_anomalies`` are of the process, not of
        the run: pass them again.

        The file may run code when it is read: only resume what you saved yourself.

        Args:
            path: as it was given to :meth:`save`.
            env: environments made as those of the run were, as many and in the same wrappers; their state is replaced.
                An id if the run was made with one.
            device: where the model runs.
            custom_objects: as for :meth:`load`.
            kwargs: settings that replace the saved ones, as for :meth:`load`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged, of another version, or of another number of environments, or ``env`` is
                None.
            TypeError: if one of ``kwargs`` is no setting.
        """
        if env is None:
            raise ValueError("env is None, but a run goes on in environments: pass some made as those of the run were.")
        source = _beside(path)
        header, parts = _read(source)
        checkpoint = io.BytesIO(parts.checkpoint)
        checkpoint.name = str(source)  # for the errors of load
        given = {**(custom_objects or {}), **kwargs}
        with _naming_the_file(source):
            trainer = pickle.loads(parts.trainer)
            schedules = trainer.get("schedules", {})  # files from before there were any have none
            schedules = {name: pickle.loads(function) for name, function in schedules.items() if name not in given}
        model, remark = cls._loaded(checkpoint, env, device, {**schedules, **(custom_objects or {})}, kwargs)
        assert model.env is not None
        # Statistics that are replaced are those of the run now, as they should be.
        if remark is not None and model.get_vec_normalize_env() is None:
            warnings.warn(remark, stacklevel=2)
        alone = header["ranks"] == world_size() == 1
        if alone and model.n_envs != header["n_envs"]:
            raise ValueError(
                f"env has {model.n_envs} environment(s), but {source} goes on with {header['n_envs']}: pass as many."
            )
        with _naming_the_file(source):
            for name, value in trainer["counts"].items():
                setattr(model, name, value)
            model._pending = {key: trainer["pending"][key] for key in ("random_states", "log")}
            episodes = {name: _move(trainer["episodes"][name], model.device) for name in _EPISODES}
        try:
            if not alone:
                raise EnvironmentStateError(
                    f"their state is kept for one process alone; there were {header['ranks']}, now {world_size()}"
                )
            if parts.environments is None:
                raise EnvironmentStateError(header.get("no_environments", "there is no state of theirs"))
            restore_environments(model.env, parts.environments)
        except EnvironmentStateError as error:
            warnings.warn(
                f"the environments cannot go on where they were: their episodes start anew, all else goes on ({error})",
                stacklevel=2,
            )
            if not alone:
                model._pending["random_states"] = None
            # Not the episodes that the run began with.
            model._seed_anew()
        except ValueError as error:
            raise ValueError(_damaged(source, error)) from error
        else:
            for name, value in episodes.items():
                setattr(model, name, value)
        return model

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        prepared = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        self._between_rollouts = True
        # Here, not in resume: whatever the caller did since may have drawn numbers, and there is a log only now.
        if self._pending is not None and not reset_num_timesteps:
            if self._pending["random_states"] is not None:
                set_random_states(self._pending["random_states"])
            for name, records in self._pending["log"].items():
                getattr(self.logger, name).update(records)
        self._pending = None
        return prepared

    def _seed_anew(self) -> None:
        if self.seed is not None:
            self.set_random_seed((self.seed + self.num_timesteps + rank() * self.n_envs) % 2**31)

    def _unwritten_log(self) -> dict[str, dict[str, Any]]:
        """What was recorded since the log was last written: an update's numbers come after the next rollout."""
        return {name: dict(getattr(self.logger, name)) for name in _LOG} if hasattr(self, "_logger") else {}


class _Parts(NamedTuple):
    checkpoint: bytes
    trainer: bytes
    environments: bytes | None


def _beside(path: str | Path) -> Path:
    """The file for what resuming needs: x.resume beside x.zip, lr0.001.resume beside lr0.001."""
    path = with_suffix(path)
    if path.suffix == ".resume":
        raise ValueError(f"path is {path}, but that is the name of what lies beside a checkpoint: leave out .resume.")
    return path.with_suffix(".resume") if path.suffix == ".zip" else path.with_name(f"{path.name}.resume")


def _read(source: Path) -> tuple[dict[str, Any], _Parts]:
    if not source.is_file():
        raise FileNotFoundError(f"there is no {source}: pass the path of a model that was saved with resumable=True.")
    with _naming_the_file(source), zipfile.ZipFile(source) as archive:
        header = json.loads(archive.read("header.json"))
        if header["format"] != FORMAT:
            raise ValueError("it is of another kind.")
        if header["version"] != FORMAT_VERSION or not {"n_envs", "ranks"} <= header.keys():
            raise ValueError(f"its version is {header['version']!r}, this s7rl reads version {FORMAT_VERSION}.")
        there = "environments.pickle" in archive.namelist()
        environments = archive.read("environments.pickle") if there else None
        return header, _Parts(archive.read("agent.zip"), archive.read("trainer.pickle"), environments)


@contextmanager
def _naming_the_file(source: Path) -> Iterator[None]:
    """Turn whatever a broken file raises into one line that names the file."""
    try:
        yield
    except Exception as error:
        raise ValueError(_damaged(source, error)) from error


def _damaged(source: Path, error: Exception) -> str:
    return f"{source} cannot be resumed by this s7rl: {error_line(error)}"


def _move(value: Any, device: torch.device | str) -> Any:
    """A value with the tensors in it on another device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _move(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_move(item, device) for item in value))
    return value
