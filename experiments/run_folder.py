"""The folder that a training run leaves behind, and how one is recognised.

    config.json           the settings, the command, the versions and the machine that made the run
    latest.zip, best.zip  the agent as it was last, and when its mean training return was best
    latest.resume         what else `s7rl resume` needs; for nobody else, since reading it may run code
    progress.csv          what was logged after each rollout; TensorBoard's events.* hold the same
    learning_curve.png    return and success over steps
    evaluation.json       the score at the end, on fresh seeds
    tracking.json         where else it is logged, and under which ids; only with --track

Files are replaced in one step (write beside, then rename): who reads never sees half of one, and an interruption at
any moment leaves the one before.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from s7rl.experiments.errors import UsageError
from s7rl.experiments.machine import machine
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.settings import RunSettings
from s7rl.files import write_atomically

STEPS = "time/total_timesteps"
"""The column of progress.csv that counts environment steps."""
FORMAT = "s7rl-run"
FORMAT_VERSION = 1
PACKAGES = ("s7rl", "torch", "numpy", "gymnasium", "stable-baselines3", "numba")


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, by the names of what lies in it."""

    path: Path
    """Where it is."""

    @property
    def results(self) -> Path:
        """The folder for what is made of its agent, unless the user names another."""
        return self.path

    @property
    def config(self) -> Path:
        """What made the run."""
        return self.path / "config.json"

    @property
    def latest(self) -> Path:
        """The last checkpoint."""
        return self.path / "latest.zip"

    @property
    def resumable(self) -> Path:
        """Where the run goes on from."""
        return self.path / "latest.resume"

    @property
    def best(self) -> Path:
        """The checkpoint with the best mean training return."""
        return self.path / "best.zip"

    @property
    def progress(self) -> Path:
        """The log, one line per rollout."""
        return self.path / "progress.csv"

    @property
    def learning_curve(self) -> Path:
        """The picture of the log."""
        return self.path / "learning_curve.png"

    @property
    def evaluation(self) -> Path:
        """The score at the end."""
        return self.path / "evaluation.json"

    @property
    def tracking(self) -> Path:
        """The trackers that log it, too."""
        return self.path / "tracking.json"

    @property
    def steps_done(self) -> int:
        """Environment steps in the last whole line of the log, 0 where there is none, or none that can be read."""
        text = self.progress.read_text(encoding="utf-8", errors="replace") if self.progress.exists() else ""
        lines = text.split("\n")[:-1]  # the last line may be half written
        last = dict(zip(*csv.reader([lines[0], lines[-1]]), strict=False)) if len(lines) > 1 else {}
        with suppress(ValueError):
            return int(float(last.get(STEPS) or 0))
        return 0

    @property
    def command(self) -> list[str]:
        """The words that started the run."""
        return [str(word) for word in read_json(self.config).get("command", [])]

    @property
    def has_begun(self) -> bool:
        """Whether there is something of a training that has had a checkpoint: lines in the log, or a best agent."""
        lines = self.progress.read_bytes().splitlines() if self.progress.exists() else []
        return len(lines) > 1 or self.best.exists()

    def settings(self) -> RunSettings:
        """Reads the settings back from config.json.

        Raises:
            UsageError: the file was written by another version of s7rl, or changed by hand.
        """
        return settings_from(read_json(self.config), str(self.config))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training in this folder during a block; the lock ends with the process.

        Raises:
            UsageError: another process is at it.
        """
        with locked(self.path, f"RUN {self.path}"):
            yield

    def remove_unfinished(self) -> None:
        """Removes what a process left that was killed while it wrote a file. Only in ``locked``."""
        for path in self.path.iterdir():
            if path.name.startswith(".") and path.name.rpartition(".")[2].isdigit():
                path.unlink()

    def note_resumption(self, settings: RunSettings, command: Sequence[str], steps: int) -> None:
        """Writes into config.json that the run went on.

        Args:
            settings: what the run is to do from now on.
            command: the words that resumed it.
            steps: environment steps that were done.
        """
        config = read_json(self.config)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        note = {"resumed": now, "steps": steps, "command": list(command), **_made_by()}
        config["settings"] = asdict(settings)
        config["resumptions"] = [*config.get("resumptions", []), note]
        write_json(self.config, config)


def settings_from(config: Mapping[str, Any], where: str) -> RunSettings:
    """The settings of a run, from the content of its config.json.

    Args:
        config: the content.
        where: it stands, for messages.

    Raises:
        UsageError: it was written by another version of s7rl, or changed by hand; or its agent is not known here.
    """
    stored = config.get("settings")
    known = {field.name for field in fields(RunSettings)}
    needed = {field.name for field in fields(RunSettings) if field.default is MISSING}
    if not isinstance(stored, dict) or not needed <= set(stored) <= known:
        raise UsageError(f"{where} was written by another version of s7rl: train the agent again")
    try:
        # JSON has made lists of the tuples in them.
        tuples = {
            name: {key: tuple(v) if isinstance(v, list) else v for key, v in stored[name].items()}
            for name in ("env_kwargs", "core_kwargs")
        }
        settings = RunSettings(**{**stored, **tuples, "wrappers": tuple(stored["wrappers"])})
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{where} cannot be used: {error}") from error
    if not all(isinstance(text, str) for text in (settings.env_id, *settings.wrappers)):
        raise UsageError(f"{where} names an environment or a wrapper by what is no text: train the agent again")
    if settings.agent not in list(AGENTS):  # a list, since what JSON holds may have no hash
        raise UsageError(
            f"{where} names an agent {settings.agent!r}, which this s7rl does not have: use the s7rl that made it, or "
            "train the agent again"
        )
    return settings


@contextmanager
def locked(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Keeps other processes from working in a folder during a block; the lock ends with the process.

    Args:
        path: the folder.
        what: it is, for the message.
        wait: for a process that is at it, instead of refusing.

    Raises:
        UsageError: another process is at it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UsageError(f"{what} is in use by another process: wait, or stop that one") from None
        yield
    finally:
        os.close(handle)


def check_is_free(path: Path) -> None:
    """Raises UsageError where a run folder cannot be made because something is there."""
    if path.exists() or path.is_symlink():
        raise UsageError(f"--out {path} exists already, and nothing is overwritten: give a folder that does not exist")


def check_can_be_written(option: str, file: str | None) -> None:
    """Raises UsageError where a file is there already, or its folder is not; None is no file."""
    if file is None:
        return
    if Path(file).exists():
        raise UsageError(f"{option} {file} exists already, and nothing is overwritten: give another file")
    if not Path(file).parent.is_dir():
        raise UsageError(f"{option} {file} lies in a folder that does not exist: make it first")


def make_folder(name: str, *, out: str | None, home: Path) -> tuple[Path, str]:
    """Makes a folder for results.

    Args:
        name: what an unnamed folder is called, before the time.
        out: the folder to make; None for a new one in ``home``.
        home: where unnamed folders are made.

    Returns:
        The folder, and the time in ISO 8601.

    Raises:
        UsageError: the folder exists or cannot be made.
    """
    now = datetime.now().astimezone()
    path = Path(out) if out is not None else _unused(home / f"{name}-{now:%Y%m%d-%H%M%S}")
    check_is_free(path)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be made: {error.strerror}; choose another with --out") from error
    return path, now.isoformat(timespec="seconds")


def create_run_folder(settings: RunSettings, command: Sequence[str], *, out: str | None, runs: str) -> RunFolder:
    """Makes the folder and writes config.json into it.

    Args:
        settings: what the run will do.
        command: the words that started it.
        out: the folder to make; None for a new one in ``runs``, named after task, agent, seed and time.
        runs: where unnamed run folders are made.

    Raises:
        UsageError: the folder exists or cannot be made.
    """
    env = settings.env_id.rsplit("/", 1)[-1]
    path, created = make_folder(f"{env}-{settings.agent}-seed{settings.seed}", out=out, home=Path(runs))
    folder = RunFolder(path)
    write_json(
        folder.config,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "created": created,
            "command": list(command),
            "settings": asdict(settings),
            **_made_by(),
        },
    )
    return folder


def open_run_folder(name: str) -> RunFolder:
    """Opens a folder that ``create_run_folder`` made.

    Raises:
        UsageError: there is none, or it is something else.
    """
    return checked(RunFolder(Path(name)), name)


def checked(folder: RunFolder, name: str) -> RunFolder:
    """The folder, if there is a run of this version in it; ``name`` is what the user called it.

    Raises:
        UsageError: there is none, or it is something else.
    """
    if not folder.path.exists():
        raise UsageError(
            f"RUN {name} does not exist: give a folder that `s7rl train` made (by default they lie in runs/)"
        )
    if not folder.path.is_dir():
        raise UsageError(f"RUN {name} is a file, not a run folder: give the folder that it lies in")
    if not folder.config.is_file():
        raise UsageError(
            f"RUN {name} is not a run folder, it has no {folder.config.name}: give one that `s7rl train` made"
        )
    config = read_json(folder.config)
    if config.get("format") != FORMAT:
        raise UsageError(
            f"RUN {name} is not a run folder, its {folder.config.name} is not of one: give one that `s7rl train` made, "
            "not an exported agent"
        )
    if config.get("format_version") != FORMAT_VERSION:
        found = config.get("format_version")
        raise UsageError(f"RUN {name} has format {found}, this s7rl reads {FORMAT_VERSION}: use the s7rl that made it")
    return folder


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file so that it is either complete or not there."""
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that decide what a run does."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _made_by() -> dict[str, Any]:
    return {"versions": versions(), "machine": machine()}


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file that ``write_json`` wrote.

    Raises:
        UsageError: it is none any more.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}): give another folder") from error
    return content if isinstance(content, dict) else {}


def _unused(path: Path) -> Path:
    """The path, or with the first number behind it under which nothing is there yet."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
