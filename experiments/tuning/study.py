"""A study of Optuna's in a folder: opened by one process or several, begun or gone on with.

    study.db    Optuna's, in SQLite; `optuna-dashboard` shows it
    best.toml   the options of the best trial so far

All that decides what a trial is stands in the study: what was asked for, and what followed from it. A command that asks
for something else is refused, and so is one whose defaults are others now: no two trials of a study answer different
questions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from s7rl.experiments.config import TuneConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.run_folder import locked
from s7rl.experiments.settings import difference_of

LOOKS = 10
"""So many times a trial's mean training return is held against those of other trials."""
HEARTBEAT_SECONDS = 15
"""A process says that it is alive this often; after four times that, its trial counts as failed."""
REQUEST = "request"
"""The attribute of a study that says what its trials are."""
SETTINGS = "settings"
"""The attribute of a study that says what followed from the request."""
OPTIONS = "options"
"""The attribute of a trial that holds what it learned with, as a preset does."""
_FREE = ("trials", "sampler", "pruner", "storage", "runs", "out", "preset", "workers", "threads", "device")
"""What may differ between the processes of a study; what a preset says stands in the other options."""


def open_study(config: TuneConfig, folder: Path, settings: Mapping[str, Any]) -> optuna.Study:
    """Opens a study, or begins it.

    Args:
        config: the request, whose ``steps`` are known.
        folder: where it is kept; made if it is missing.
        settings: what follows from the request and decides about trials, in the words of JSON.

    Raises:
        UsageError: the study was begun with another request, or other defaults, or its storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what it has to say is said by us
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats, since 2021
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    url = config.storage or f"sqlite:///{folder / 'study.db'}"
    with locked(folder, str(folder), wait=True):  # two processes would make the same tables
        try:
            study = optuna.create_study(
                storage=_storage(url),
                study_name=folder.resolve().name,
                pruner=make_pruner(config.pruner),
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:  # SQLAlchemy's, of a driver or of Optuna's own
            where = f"--storage {config.storage}" if config.storage else str(folder / "study.db")
            line = str(error).strip().partition("\n")[0].removesuffix(".")
            with suppress(OSError):  # one is not empty
                for path in made:
                    path.rmdir()
            raise UsageError(f"{where} cannot be used: {line}: give another --storage, or another --out") from error
        _check_request(study, config, folder, settings)
    return study


def make_sampler(name: str, seed: int) -> BaseSampler:
    """What chooses the options of a trial."""
    if name == "tpe":
        # Several processes must not all try what looks best: those that others are at count as bad.
        return TPESampler(seed=seed, constant_liar=True)
    return CmaEsSampler(seed=seed) if name == "cmaes" else RandomSampler(seed=seed)


def make_pruner(name: str) -> BasePruner:
    """What stops trials early, by their mean training returns at each of ``LOOKS``."""
    if name == "median":
        # Memory shows late: for a long time an agent that will remember is no better than one that will not.
        return MedianPruner(n_startup_trials=5, n_warmup_steps=LOOKS // 2)
    return HyperbandPruner(min_resource=1, max_resource=LOOKS) if name == "hyperband" else NopPruner()


def count_trials(study: optuna.Study) -> int:
    """Trials that are finished, pruned ones among them, and those that processes are at; not those that failed."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)))


def completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that have a score, the best one first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (-(trial.value or 0.0), trial.number))


def _storage(url: str) -> optuna.storages.RDBStorage:
    timeout = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}  # seconds until another has written
    return optuna.storages.RDBStorage(
        url, engine_kwargs=timeout, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=4 * HEARTBEAT_SECONDS
    )


def _check_request(study: optuna.Study, config: TuneConfig, folder: Path, settings: Mapping[str, Any]) -> None:
    asked = {name: value for name, value in _flat(asdict(config)).items() if name not in _FREE}
    begun = study.user_attrs.get(REQUEST)
    if begun is None:
        study.set_user_attr(SETTINGS, settings)
        study.set_user_attr(REQUEST, asked)
        return
    for name in {**begun, **asked}:
        if begun.get(name) != asked.get(name):
            raise UsageError(
                f"the study in {folder} was begun with --{name.replace('_', '-')} {_shown(begun.get(name))}, not "
                f"{_shown(asked.get(name))}: give the same, or another --out"
            )
    if SETTINGS not in study.user_attrs:
        raise UsageError(
            f"the study in {folder} is of an older s7rl, which did not note its defaults: give another --out"
        )
    difference = difference_of(study.user_attrs[SETTINGS], settings)
    if difference:
        raise UsageError(
            f"the study in {folder} was begun with {difference} (a default has changed, or what is known of the task): "
            "give another --out"
        )


def _flat(request: dict[str, Any]) -> dict[str, Any]:
    """Options by name, those of groups among the others, as JSON gives them back."""
    flat: dict[str, Any] = {}
    for name, value in request.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "left out"
    return "left out" if value is None else str(value)
