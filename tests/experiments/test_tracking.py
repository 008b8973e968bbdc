"""`s7rl train --track`: what the trackers are told, by stand-ins that note the calls.

The real ones record offline where they are installed, which takes half a minute each.

Mutations that were seen to fail: Weights & Biases without the id, without steps, or filed under our name in spite of
its variable; MLflow likewise, or its parameters logged again; an interruption that counts as a failure, an exception
as a success; the exit code not asked for; a tracker kept that fails; ids, or --track itself, not written down; names
not checked before torch, on resuming or in the folder; no evaluation, or one at step 0; truth values taken for
numbers; runs ended with the log; trackio's name not its own; a failure to begin not caught.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from s7rl.envs import find_task
from s7rl.experiments.cli import main
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.experiment import planned
from s7rl.experiments.grid import Grid
from s7rl.experiments.presets import AGENTS
from s7rl.experiments.run_folder import STEPS, RunFolder, create_run_folder
from s7rl.experiments.settings import RunSettings, settings_for
from s7rl.experiments.tracking import TRACKERS, Trackers, request_tracking, tracked

TINY = ["--env-kwargs", "corridor_length=5", "--n-envs", "8", "--n-steps", "16", "--d-model", "8", "--d-state", "8"]
ROLLOUT = 8 * 16
WORDS = ["train", *TINY, "--steps", str(3 * ROLLOUT), "--eval-episodes", "3"]
ALL = [word for name in TRACKERS for word in ("--track", name)]
VARIABLES = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")

Call = tuple[str, dict[str, Any]]
Calls = dict[str, list[Call]]


class StandIns:
    """Modules with the names of the trackers; what is called in them is noted, or raises."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: Calls = {name: [] for name in TRACKERS}
        self.answers: dict[tuple[str, str], Callable[[], None]] = {}
        """What happens besides in a call, by tracker and function."""
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)

        def wandb_init(**options: Any) -> SimpleNamespace:
            self.note("wandb", "init", options)
            return SimpleNamespace(
                id=options["id"] or "wandb-1",
                define_metric=lambda name, step_metric: self.note("wandb", "define", {name: step_metric}),
                log=lambda values: self.note("wandb", "log", values),
                finish=lambda exit_code: self.note("wandb", "finish", {"exit_code": exit_code}),
            )

        def start_run(run_id: str | None, run_name: str) -> SimpleNamespace:
            self.note("mlflow", "init", {"id": run_id, "name": run_name})
            return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "mlflow-1"))

        def trackio_init(**options: Any) -> SimpleNamespace:
            self.note("trackio", "init", options)
            return SimpleNamespace(
                log=lambda values, step: self.note("trackio", "log", values | {"step": step}),
                finish=lambda: self.note("trackio", "finish", {}),
            )

        functions: dict[str, dict[str, Callable[..., Any]]] = {
            "wandb": {"init": wandb_init},
            "mlflow": {
                "set_experiment": lambda name: self.note("mlflow", "experiment", {"name": name}),
                "start_run": start_run,
                "log_params": lambda params: self.note("mlflow", "params", params),
                "log_metrics": lambda values, step: self.note("mlflow", "log", values | {"step": step}),
                "end_run": lambda status: self.note("mlflow", "finish", {"status": status}),
            },
            "trackio": {"init": trackio_init},
        }
        for name, its in functions.items():
            module = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            vars(module).update(its)
            patch.setitem(sys.modules, name, module)

    def note(self, tracker: str, function: str, values: dict[str, Any]) -> None:
        self.calls[tracker].append((function, dict(values)))
        self.answers.get((tracker, function), lambda: None)()

    def of(self, tracker: str, function: str) -> list[dict[str, Any]]:
        return [values for name, values in self.calls[tracker] if name == function]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    return StandIns(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StandIns]:
    """A finished run of three rollouts, and what the stand-ins were told."""
    with pytest.MonkeyPatch.context() as patch:
        stand_ins = StandIns(patch)
        folder = tmp_path_factory.mktemp("runs") / "tracked"
        assert main([*WORDS, *ALL, "--out", str(folder)]) == 0
    return folder, stand_ins


def settings() -> RunSettings:
    return settings_for(find_task("s7rl/TMazePassive-v0"), AGENTS["s7"], TrainConfig(env_kwargs=("corridor_length=7",)))


def new_folder(path: Path, *trackers: str) -> RunFolder:
    folder = create_run_folder(settings(), ["s7rl", "train"], out=str(path), runs="")
    request_tracking(folder, trackers)
    return folder


def failing() -> None:
    raise OSError("no route to host")


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_gets_the_numbers_of_progress_csv_at_environment_steps(
    run: tuple[Path, StandIns], tracker: str
) -> None:
    with (run[0] / "progress.csv").open(newline="") as file:
        lines = [{key: float(value) for key, value in line.items() if value} for line in csv.DictReader(file)]
    assert [line[STEPS] for line in lines] == [ROLLOUT, 2 * ROLLOUT, 3 * ROLLOUT]
    if tracker == "wandb":
        assert run[1].of(tracker, "define") == [{"*": STEPS}]
        expected = lines
    else:
        expected = [line | {"step": line[STEPS]} for line in lines]
    assert run[1].of(tracker, "log")[:3] == expected


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_last_that_a_tracker_gets_is_the_evaluation_and_then_the_end(
    run: tuple[Path, StandIns], tracker: str
) -> None:
    score = json.loads((run[0] / "evaluation.json").read_text())
    (log, values), (finish, end) = run[1].calls[tracker][-2:]
    assert (log, finish) == ("log", "finish")
    steps = STEPS if tracker == "wandb" else "step"
    assert values[steps] == 3 * ROLLOUT
    assert values["evaluation/mean_return"] == score["mean_return"]
    assert values["evaluation/success_rate"] == score["success_rate"]
    numbers = {key for key, value in score.items() if isinstance(value, int | float) and key not in ("seed", "sample")}
    assert set(values) == {f"evaluation/{key}" for key in numbers} | {steps}
    assert end == {"wandb": {"exit_code": 0}, "mlflow": {"status": "FINISHED"}, "trackio": {}}[tracker]


def test_a_tracker_gets_the_settings_and_the_folders_name(run: tuple[Path, StandIns]) -> None:
    folder, stand_ins = run
    stored = json.loads((folder / "config.json").read_text())["settings"]
    (wandb,), (mlflow,), (trackio,) = (stand_ins.of(tracker, "init") for tracker in TRACKERS)
    for config in (wandb["config"], *stand_ins.of("mlflow", "params"), trackio["config"]):
        assert json.loads(json.dumps(config)) == stored
    assert wandb["name"] == mlflow["name"] == str(folder)[-128:]
    assert trackio["name"].startswith(f"{str(folder)[-128:]}-")
    assert (wandb["id"], wandb["resume"], mlflow["id"], trackio["resume"]) == (None, None, None, "never")
    assert wandb["project"] == trackio["project"] == stand_ins.of("mlflow", "experiment")[0]["name"] == "s7rl"


def test_a_resumed_run_goes_on_in_the_same_places(
    run: tuple[Path, StandIns], stand_ins: StandIns, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    ids = json.loads((folder / "tracking.json").read_text())
    assert ids["wandb"] == "wandb-1"
    assert ids["mlflow"] == "mlflow-1"
    assert main(["resume", str(folder), "--steps", str(4 * ROLLOUT), "--eval-episodes", "3"]) == 0
    assert json.loads((folder / "tracking.json").read_text()) == ids
    (wandb,), (mlflow,), (trackio,) = (stand_ins.of(tracker, "init") for tracker in TRACKERS)
    assert (wandb["id"], mlflow["id"], trackio["name"]) == tuple(ids.values())
    assert wandb["resume"] == trackio["resume"] == "allow"
    assert wandb["allow_val_change"]
    assert wandb["config"]["steps"] == 4 * ROLLOUT
    assert stand_ins.of("mlflow", "experiment") == stand_ins.of("mlflow", "params") == []
    assert [line["step"] for line in stand_ins.of("mlflow", "log")] == [4 * ROLLOUT, 4 * ROLLOUT]


def test_an_interrupted_run_ends_as_one(stand_ins: StandIns, tmp_path: Path) -> None:
    stand_ins.answers["mlflow", "log"] = lambda: signal.raise_signal(signal.SIGINT)
    assert main([*WORDS, *ALL, "--out", str(tmp_path / "run")]) == 130
    assert stand_ins.of("wandb", "finish") == [{"exit_code": 130}]
    assert stand_ins.of("mlflow", "finish") == [{"status": "KILLED"}]
    assert len(stand_ins.of("trackio", "finish")) == len(stand_ins.of("mlflow", "log")) == 1


def test_a_run_that_fails_ends_as_one(stand_ins: StandIns, tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "run", *TRACKERS)
    with pytest.raises(ZeroDivisionError), tracked(folder, settings(), print, lambda: 0):
        _ = 1 / 0
    assert stand_ins.of("wandb", "finish") == [{"exit_code": 1}]
    assert stand_ins.of("mlflow", "finish") == [{"status": "FAILED"}]
    assert len(stand_ins.of("trackio", "finish")) == 1


def test_a_tracker_that_fails_ends_no_training(
    stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_ins.answers["wandb", "log"] = failing
    stand_ins.answers["mlflow", "finish"] = failing
    assert main([*WORDS, *ALL, "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("wandb failed, nothing more is logged there: OSError: no route to host\n") == 1
    assert shown.count("mlflow failed, nothing more is logged there: OSError: no route to host\n") == 1
    assert len(stand_ins.of("wandb", "log")) == 1
    assert len(stand_ins.of("mlflow", "log")) == len(stand_ins.of("trackio", "log")) == 4
    assert len(stand_ins.of("trackio", "finish")) == 1


def test_a_tracker_that_cannot_begin_is_said_with_the_way_on_and_the_others_end(
    stand_ins: StandIns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    stand_ins.answers["mlflow", "init"] = failing
    assert main([*WORDS, *ALL, "--out", str(run)]) == 2
    assert capsys.readouterr().err == (
        "s7rl train: --track mlflow cannot begin: OSError: no route to host; once that is mended, or without trackers "
        f"after removing {run}/tracking.json: s7rl resume {run}\n"
    )
    assert stand_ins.of("wandb", "finish") == [{"exit_code": 1}]
    assert json.loads((run / "tracking.json").read_text()) == {"wandb": "wandb-1", "mlflow": None, "trackio": None}
    (run / "tracking.json").unlink()
    assert main(["resume", str(run), "--eval-episodes", "0"]) == 0
    assert not (run / "tracking.json").exists()
    assert len(stand_ins.of("wandb", "init")) == 1


def test_what_is_no_number_is_left_out(stand_ins: StandIns) -> None:
    trackers = Trackers(print)
    trackers.add("trackio", TRACKERS["trackio"]("run", None, {}))
    trackers.log({"a": 1, "text": "x", "none": None, "list": [1.0], "truth": True}, 5)
    assert stand_ins.of("trackio", "log") == [{"a": 1.0, "step": 5}]


@pytest.mark.parametrize(
    ("variable", "tracker", "function", "key", "expected"),
    [
        ("WANDB_PROJECT", "wandb", "init", "project", ["mine"]),
        ("MLFLOW_EXPERIMENT_NAME", "mlflow", "experiment", "name", []),
        ("MLFLOW_EXPERIMENT_ID", "mlflow", "experiment", "name", []),
    ],
)
def test_a_variable_of_the_trackers_own_wins_over_our_projects_name(
    stand_ins: StandIns,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    tracker: str,
    function: str,
    key: str,
    expected: list[str],
) -> None:
    monkeypatch.setenv(variable, "mine")
    TRACKERS[tracker]("run", None, {})
    assert [values[key] for values in stand_ins.of(tracker, function)] == expected


@pytest.mark.parametrize("tracker", TRACKERS)
def test_what_is_not_installed_is_said_before_torch_is_imported(tracker: str, tmp_path: Path) -> None:
    program = f"""
import sys
from s7rl.experiments.cli import main
sys.modules[{tracker!r}] = None
print(main(["train", "--track", {tracker!r}]), "torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    wanted = f"--track {tracker} needs {tracker}, which is not installed: pip install 's7rl[{tracker}]'"
    assert ended.stderr == f"s7rl train: {wanted}\n"
    assert ended.stdout == "2 False\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_resumed_without_its_tracker(
    run: tuple[Path, StandIns], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["resume", str(run[0]), "--steps", "10000"]) == 2
    assert "needs wandb, which is not installed: pip install 's7rl[wandb]'" in capsys.readouterr().err


def test_only_trackers_are_read_from_the_folder(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "run", "json")
    with (
        pytest.raises(UsageError, match=r"tracking.json has 'json', a tracker is one of wandb, mlflow, trackio: take"),
        tracked(folder, settings(), print, lambda: 0),
    ):
        pass


def test_a_grid_tracks_every_run(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(tasks={"maze": "s7rl/TMazePassive-v0"}, agents={"gru": "--agent gru"}, options="--track wandb")
    assert [run.request.track for run in planned(grid).values()] == [("wandb",)] * 3
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"^maze/gru: --track wandb needs wandb, which is not installed"):
        planned(grid)


def train_and_resume(tracker: str, folder: Path, **variables: str) -> str:
    """Trains a run with a real tracker and goes on with it, in a process each; returns its id there."""
    pytest.importorskip(tracker, reason=f"{tracker} is not installed: pip install 's7rl[{tracker}]'")
    resumed = ["resume", str(folder), "--steps", str(4 * ROLLOUT), "--eval-episodes", "3"]
    for words in ([*WORDS, "--track", tracker, "--out", str(folder)], resumed):
        ended = subprocess.run(
            [sys.executable, "-m", "s7rl", *words],
            capture_output=True,
            text=True,
            cwd=folder.parent,
            env=os.environ | variables,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "nothing more is logged there" not in ended.stdout
    return str(json.loads((folder / "tracking.json").read_text())[tracker])


def test_weights_and_biases_records_offline(tmp_path: Path) -> None:
    run_id = train_and_resume("wandb", tmp_path / "run", WANDB_MODE="offline", WANDB_DIR=str(tmp_path))
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))) == 2


def test_mlflow_records_into_a_file(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run_id = train_and_resume("mlflow", tmp_path / "run", MLFLOW_TRACKING_URI=uri)
    program = f"""
from mlflow import MlflowClient
client = MlflowClient({uri!r})
run = client.get_run({run_id!r})
steps = [point.step for point in client.get_metric_history({run_id!r}, "time/total_timesteps")]
print("found", run.info.status, run.data.params["agent"], steps, run.data.metrics["evaluation/mean_return"])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    score = json.loads((tmp_path / "run" / "evaluation.json").read_text())["mean_return"]
    steps = [ROLLOUT * number for number in (1, 2, 3, 4)]
    assert f"found FINISHED s7 {steps} {score}\n" in found


def test_trackio_records_into_a_folder(tmp_path: Path) -> None:
    run_id = train_and_resume("trackio", tmp_path / "run", TRACKIO_DIR=str(tmp_path / "trackio"))
    program = """
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage
(run,) = Api().runs("s7rl")
lines = SQLiteStorage.get_logs("s7rl", run.name, run_id=run.id)
print("found", run.name, *(line["step"] for line in lines))
"""
    variables = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio")}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=variables)
    assert f"found {run_id} 128 256 384 384 512 512\n" in found.stdout
