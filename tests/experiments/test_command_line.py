"""The program as a user meets it: help, lists, and one line for each mistake.

Mutations seen to fail: names not checked before torch is imported for the worker that makes an environment; an
option for several words taken without any; an option given twice let through where it is written with _.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from tyro.conf import UseAppendAction

import s7rl
from s7rl.envs import task_ids
from s7rl.experiments.agent_config import EvaluateConfig
from s7rl.experiments.cli import main
from s7rl.experiments.command_line import COMMANDS, SEVERAL_TIMES, parse, without_overridden
from s7rl.experiments.config import TrainConfig
from s7rl.experiments.presets import AGENTS, EXPERIMENTS, GRIDS


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty directory of 80 columns, so that nothing written goes unseen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


MISTAKES = [
    ("trian", "s7rl: there is no command 'trian'; did you mean train? (see `s7rl --help`)"),
    (
        "--halp",
        "s7rl: expected one of {train, resume, evaluate, watch, inspect, export, tune, experiment, report, bench, "
        "list}. (see `s7rl --help`)",
    ),
    ("train --stepz 3", "s7rl train: there is no option --stepz; did you mean --steps? (see `s7rl train --help`)"),
    (
        "train --lerning-rate=3",
        "s7rl train: there is no option --lerning-rate; did you mean --learning-rate? (see `s7rl train --help`)",
    ),
    ("train CartPole-v1 MountainCar-v0", "s7rl train: 'MountainCar-v0' is one word too many (see `s7rl train --help`)"),
    ("train --steps many", "s7rl train: error parsing --steps: 'many' is not a whole number (see `s7rl train --help`)"),
    ("train --gamma x", "s7rl train: error parsing --gamma: 'x' is not a number (see `s7rl train --help`)"),
    ("train --steps", "s7rl train: missing value for argument '--steps'"),
    ("train --gamma 2", "s7rl train: --gamma 2.0 must be from 0 to 1"),
    ("train --eval-episodes -1", "s7rl train: --eval-episodes -1 must not be negative; 0 skips the evaluation"),
    (
        "train --batch-size 100",
        "s7rl train: --batch-size is 100, but a minibatch is an equal share of",
    ),
    ("train --n-steps 100 --batch-size 256", "s7rl train: --batch-size is 256, but a minibatch is"),
    ("train CartPol-v1", "s7rl train: unknown environment 'CartPol-v1': did you mean 'CartPole-v1'"),
    ("train --agent gruu", "s7rl train: there is no agent 'gruu'; did you mean gru? (see `s7rl list agents`)"),
    ("train --agent abacus", "s7rl train: there is no agent 'abacus' (see `s7rl list agents`)"),
    *(
        (f"train --{option} --steps 5", f"s7rl train: error parsing --{option}: nothing is given with it: give")
        for option in ("wrappers", "env-kwargs", "core-kwargs")
    ),
    ("train --env-kwargs 50", "s7rl train: --env-kwargs '50' is not name=value"),
    ("train --env-kwargs corridor=50", "s7rl train: unknown keyword argument 'corridor'"),
    ("train --env-kwargs corridor_length=0", "s7rl train: corridor_length (0) must be at least 1"),
    ("train --core-kwargs horizon", "s7rl train: --core-kwargs 'horizon' is not name=value"),
    (
        "train --core-kwargs horizn=2,3",
        "s7rl train: core 's7' has no option 'horizn': its options are",
    ),
    ("train --device abacus", "s7rl train: --device abacus cannot be used here: give --device cpu, or auto"),
    ("train --out .", "s7rl train: --out . exists already, and nothing is overwritten"),
    ("evaluate", "s7rl evaluate: RUN is missing: the run folder that"),
    ("resume", "s7rl resume: RUN is missing: the run folder that `s7rl train` made (see `s7rl resume"),
    ("evaluate nowhere", "s7rl evaluate: RUN nowhere does not exist: give a folder that `s7rl train` made"),
    ("evaluate .", "s7rl evaluate: RUN . is not a run folder, it has no config.json"),
    ("evaluate . --checkpoint worst", "s7rl evaluate: invalid choice 'worst'"),
    ("report", "s7rl report: DIR is missing: the folder that"),
    ("report nowhere", "s7rl report: DIR nowhere does not exist: give the folder of an experiment"),
    ("report .", "s7rl report: . is not the folder of an experiment: give one that `s7rl experiment` made"),
    ("report . --otu x", "s7rl report: there is no option --otu; did you mean --out? (see `s7rl report --help`)"),
    ("list", "s7rl list: {envs,agents,experiments,pretrained} is missing: what to list (see `s7rl list"),
    ("list env", "s7rl list: invalid choice 'env'"),
    ("bench scn", "s7rl bench: there is no benchmark 'scn'; did you mean scan? (see `s7rl bench --help`)"),
    ("bench --quick", "s7rl bench: expected one of {"),
    ("bench scan x", "s7rl bench scan: 'x' is one word too many (see `s7rl bench scan --help`)"),
    (
        "bench cores --lenghts 3",
        "s7rl bench cores: there is no option --lenghts; did you mean --lengths? (see `s7rl bench cores --help`)",
    ),
    (
        "bench scan --thread=3",
        "s7rl bench scan: there is no option --thread; did you mean --threads? (see `s7rl bench scan --help`)",
    ),
    ("bench scan --repeats many", "s7rl bench scan: error parsing --repeats: 'many' is not a whole number"),
    ("bench scan --lengths 64 0", "s7rl bench scan: --lengths 0 must be positive: give a number above 0"),
    ("bench scan --lengths", "s7rl bench scan: --lengths is empty, and there is nothing to measure"),
    ("bench scan --threads 0", "s7rl bench scan: --threads 0 must be positive"),
    ("bench scan --device abacus", "s7rl bench scan: --device abacus cannot be used here"),
    ("bench scan --out .", "s7rl bench scan: --out . exists already, and nothing is overwritten"),
    ("bench cores --cores s8 gru", "s7rl bench cores: there is no core 's8'"),
    ("bench cores --memory-gb -1", "s7rl bench cores: --memory-gb -1.0 must be positive"),
]


@pytest.mark.parametrize(("words", "line"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: str, line: str, empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(line)
    assert output.err.count("\n") == 1
    assert len(output.err) > len("s7rl train: \n")
    assert not list(empty_directory.iterdir())


def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # None in sys.modules is what makes an import fail.
    monkeypatch.setitem(sys.modules, "popgym", None)
    assert main(["train", "popgym-RepeatPreviousEasy-v0"]) == 2
    expected = "popgym-RepeatPreviousEasy-v0 needs popgym, which is not installed: pip install 's7rl[popgym]'"
    assert capsys.readouterr().err == f"s7rl train: {expected}\n"


def test_a_run_folder_that_cannot_be_made_is_one_line(
    empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_directory / "file").write_text("")
    assert main(["train", "--runs", "file", "--steps", "1"]) == 2
    assert re.fullmatch(r"s7rl train: the folder file/\S+ cannot be made: .*\n", capsys.readouterr().err)


def test_options_reach_the_request() -> None:
    words = "train CartPole-v1 --steps 1e6 --env-kwargs a=1 b=2 --n-steps 64 --d-model 32 --seed 3"
    request = parse(words.split())
    assert isinstance(request, TrainConfig)
    assert (request.env, request.steps, request.seed, request.env_kwargs) == ("CartPole-v1", 10**6, 3, ("a=1", "b=2"))
    assert (request.ppo.n_steps, request.network.d_model) == (64, 32)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "train s7rl/TMazePassive-v0 --env-kwargs corridor_length=3 --seed 1 --env-kwargs noise_std=0.1",
            "s7rl train: --env-kwargs is given twice (corridor_length=3, then noise_std=0.1), and only the last would "
            "hold: give it once, with all its values behind it",
        ),
        ("tune --env-kwargs a=1 --env_kwargs=b=2", "s7rl tune: --env-kwargs is given twice (a=1, then b=2), and"),
        (
            "resume x --steps=3 --steps 5",
            "s7rl resume: --steps is given twice (3, then 5), and only the last would hold",
        ),
        (
            "evaluate x --seeds 1 --seeds 2",
            "s7rl evaluate: --seeds is given twice (1, then 2), and only the last would",
        ),
        ("experiment x.toml --only a --only b c", "s7rl experiment: --only is given twice (a, then b c), and only the"),
        (
            "bench scan --quick --quick",
            "s7rl bench scan: --quick is given twice (without a value, then without a value)",
        ),
    ],
)
def test_an_option_that_is_typed_twice_is_refused(
    words: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["s7rl", *words.split()])
    assert main() == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(line)
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *((words, 141) for words in ("train", "tune", "resume x", "evaluate x", "experiment basics")),
        *((words, 0) for words in ("list envs", "report x")),
    ],
)
def test_work_that_ends_because_nobody_reads_is_not_done(
    words: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unread(*arguments: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("s7rl.experiments.cli._run", unread)
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # which is closed
    assert main(words.split()) == code
    assert capsys.readouterr().out == ""


def test_what_the_terminal_cannot_show_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert main(["train", "±"]) == 2
    assert main(["list", "envs", "--text", "Passive"]) == 0
    print("0.5 ± 0.1", flush=True)
    assert streams["stdout"].buffer.getvalue().endswith(b"0.5 ? 0.1\n")
    assert streams["stderr"].errors == "replace"


def test_options_that_may_be_given_several_times_are_those_that_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    hints = {
        name: hint for config in COMMANDS.values() for name, hint in get_type_hints(config, include_extras=True).items()
    }
    adding = {f"--{name}" for name, hint in hints.items() if UseAppendAction in getattr(hint, "__metadata__", ())}
    assert adding == set(SEVERAL_TIMES)
    assert main(["list", "envs", "--suite", "memory", "--suite", "control"]) == 0
    names = capsys.readouterr().out
    assert "s7rl/TMazePassive-v0" in names
    assert "s7rl/CartPolePositionOnly-v0" in names


def test_a_later_option_of_a_grid_takes_the_place_of_an_earlier_one() -> None:
    words = ["E-v0", "--steps", "3", "--env-kwargs", "a=1", "b=2", "--track", "wandb", "--steps=4"]
    words += ["--env_kwargs", "c=3", "--track", "mlflow"]
    kept = without_overridden(words)
    assert " ".join(kept) == "E-v0 --track wandb --steps 4 --env-kwargs c=3 --track mlflow"
    assert parse(["train", *kept]) == parse(["train", *words])


def test_the_default_is_a_task_that_needs_memory() -> None:
    assert parse(["train"]) == TrainConfig(env="s7rl/TMazePassive-v0", agent="s7", steps=None, seed=0)
    assert parse(["evaluate", "x", "--seeds", "3"]) == EvaluateConfig(run="x", seeds=3, actions="both")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_mistakes_are_one_line_whatever_the_terminal_can_show(encoding: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "s7rl", "train", "--steps", "many"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "s7rl train: error parsing --steps: 'many' is not a whole number (see `s7rl train --help`)\n"
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (2, "", expected)


@pytest.mark.parametrize(
    "words",
    ["", "--help", *(f"{command} --help" for command in ("train", "evaluate", "inspect", "watch", "tune", "list"))],
)
def test_help_is_shown_where_asked_for(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 0
    output = capsys.readouterr()
    assert output.out.startswith("usage: s7rl")
    assert output.err == ""


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"s7rl {s7rl.__version__}\n"


def test_help_says_which_episodes_an_agent_is_evaluated_on(capsys: pytest.CaptureFixture[str]) -> None:
    # Fails where it says 10000 of all agents: of one trained with seed 20,000 it is the first behind its environments'.
    main(["evaluate", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: 10000, or the first beyond the training's where that is higher)" in text
    assert "unless these or those of their environments reach 10000" in text


def test_every_option_of_train_has_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    text = capsys.readouterr().out
    options = re.findall(r"^(?:│ |  )(--[a-z][a-z-]+)(.*?)(?=^(?:│ |  )--|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert len(options) > 20
    for option, rest in options:
        assert re.search(r"[A-Z][a-z].*\(default:\s.+\)", rest, flags=re.DOTALL), option


@pytest.mark.parametrize(
    ("what", "names"), [("envs", task_ids()), ("agents", tuple(AGENTS)), ("experiments", (*EXPERIMENTS, *GRIDS))]
)
def test_lists_have_every_name(what: str, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    text = capsys.readouterr().out
    assert names
    for name in names:
        assert re.search(rf"{re.escape(name)}\b", text), name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_a_command_that_is_understood(name: str) -> None:
    program, *words = EXPERIMENTS[name].command.split()
    assert program == "s7rl"
    assert isinstance(parse(words), TrainConfig)


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "train --help",
        "inspect --help",
        "list agents",
        "--version",
        "train Nowhere-v0",
        "tune Nowhere-v0",
        "train CartPole-v1 --env-kwargs gravitie=3",
        "train CartPole-v1 --wrappers Fliker",
        "train --env-kwargs corridor_length=0",
        "train --out .",
        "bench",
        "bench scan --help",
        "bench scan --lengths 0",
    ],
)
def test_quick_answers_do_not_wait_for_torch(words: str) -> None:
    code = (
        f"import sys; from s7rl.experiments.cli import main; main({words.split()}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
