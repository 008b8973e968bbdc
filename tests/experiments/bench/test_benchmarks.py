"""The commands end to end, at sizes that take no time.

Mutations that were seen to fail these tests: a benchmark without its function; the place of the results not said; a
picture that is not written; any error taken for a want of memory.
"""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from s7rl import Stack
from s7rl.experiments.bench import benchmarks as benchmarks_module
from s7rl.experiments.bench import cores as cores_module
from s7rl.experiments.bench.config import BENCHES, BenchConfig, CommonOptions, CoresBench, ScanBench, quickened
from s7rl.experiments.bench.measuring import measure
from s7rl.experiments.bench.output import BenchFolder
from s7rl.experiments.bench.probe import ProbeRequest, ProbeResult
from s7rl.experiments.bench.progress import BenchProgress
from s7rl.experiments.cli import main
from s7rl.experiments.command_line import parse
from s7rl.experiments.errors import UsageError
from tests.experiments.bench.results import rows

TINY_CORES = "bench cores --cores gru --lengths 8 4 --batch-size 2 --batch-sizes 1 --d-model 8 --repeats 2"


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cores.png: drawing takes longer than measuring."""
    monkeypatch.setattr(cores_module, "_draw", lambda *args: None)


def test_scan_leaves_a_table_a_picture_and_the_machine(
    empty_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--lengths", "8", "4", "--batch-size", "2", "--modes", "3", "--repeats", "2"]
    assert main(["bench", "scan", *sizes, "--out", "x"]) == 0
    folder = empty_directory / "x"
    assert sorted(path.name for path in folder.iterdir()) == ["machine.json", "results.csv", "scan.png"]
    table = rows(folder)
    assert [row["length"] for row in table] == sorted(row["length"] for row in table)
    assert {row["backend"] for row in table} >= {"copy", "loop", "reference"}
    for row in table:
        assert (row["batch_size"], row["modes"], row["repeats"], row["left_out"]) == ("2", "3", "2", "")
        seconds = float(row["seconds_median"])
        assert float(row["seconds_min"]) <= float(row["seconds_q1"]) <= seconds <= float(row["seconds_max"])
        assert float(row["microseconds_per_step"]) == pytest.approx(1e6 * seconds / int(row["length"]), rel=1e-3)
        streamed = 8 * 4 * int(row["length"]) * 2 * 3
        assert float(row["gigabytes_per_second"]) == pytest.approx(streamed / seconds / 1e9, rel=1e-3, abs=1e-4)
    assert {row["over_copy_median"] for row in table if row["backend"] == "copy"} == {"1.0"}
    assert {row["speedup_over_loop_median"] for row in table if row["backend"] == "loop"} == {"1.0"}
    machine = json.loads((folder / "machine.json").read_text())
    assert machine["command"][:3] == ["s7rl", "bench", "scan"]
    assert {"processor", "cores", "threads", "created", "versions", "device"} <= set(machine)
    assert {"torch", "numba"} <= set(machine["versions"])
    assert "results: x" in capsys.readouterr().out


def test_cores_leaves_a_line_for_every_cell(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cores_module, "probe", lambda request: ProbeResult(seconds=1e-3, peak_bytes=10**6))
    assert main([*TINY_CORES.split(), "--lengths", "4", "--out", "x"]) == 0
    folder = empty_directory / "x"
    assert sorted(path.name for path in folder.iterdir()) == ["cores.png", "machine.json", "results.csv"]
    table = rows(folder)
    names = {"s7", "gru", "torch.nn.LSTM", "torch.nn.GRU"}
    for measured, sizes in (("act", {("1", "1")}), ("train", {("4", "2")})):
        for matching in ("width", "parameters"):
            cells = [row for row in table if row["measured"] == measured and matching in row["matching"]]
            found = [(row["core"], row["length"], row["batch_size"]) for row in cells]
            assert sorted(found) == sorted((name, *size) for name in names for size in sizes)
    for row in table:
        assert row["left_out"] == ""
        assert float(row["seconds_median"]) > 0
        assert row["repeats"] == ("2" if row["measured"] == "train" else str(2 * cores_module.ACTING_ROUNDS))
        assert (row["peak_mb"] != "") == (row["measured"] == "train")
        if row["core"] == "s7":
            assert (row["d_model"], row["over_s7_median"]) == ("8", "1.0")
    text = capsys.readouterr().out
    assert "S7 against s5, equal width: not measured" in text
    assert "times as long as torch.nn.LSTM at T = 4, equal parameters" in text


@pytest.mark.usefixtures("no_picture")
def test_the_time_of_acting_is_that_of_one_step(empty_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1e-6  # So that nothing takes no time.
        return now

    def step(self: Stack, x: Tensor, state: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal now
        now += 0.25
        return x, state

    monkeypatch.setattr(Stack, "step", step)
    monkeypatch.setattr(cores_module, "measure", partial(measure, clock=clock))
    monkeypatch.setattr(cores_module, "probe", lambda request: ProbeResult(seconds=1e-3))
    assert main([*TINY_CORES.split(), "--out", "x"]) == 0
    acting = [row for row in rows(empty_directory / "x") if row["measured"] == "act" and row["core"] in ("s7", "gru")]
    assert {row["core"] for row in acting} == {"s7", "gru"}
    for row in acting:
        assert float(row["seconds_median"]) == pytest.approx(0.25, rel=1e-4)
        assert float(row["microseconds_per_step"]) == pytest.approx(250_000, rel=1e-4)


@pytest.mark.usefixtures("no_picture")
def test_what_was_left_out_is_marked_and_longer_cells_are_not_tried(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def probe(request: ProbeRequest) -> ProbeResult:
        asked.append((request.name, request.length))
        return ProbeResult(seconds=1e-3, left_out="over memory: more than 8 GB" if request.name == "gru" else None)

    monkeypatch.setattr(cores_module, "probe", probe)
    assert main([*TINY_CORES.split(), "--out", "x"]) == 0
    assert [length for name, length in asked if name == "gru"] == [4, 4]
    left_out = {row["left_out"] for row in rows(empty_directory / "x") if row["core"] == "gru" and row["length"] != "1"}
    assert left_out == {"over memory: more than 8 GB", "over memory: T = 4 was left out already"}
    assert "over memory" in capsys.readouterr().out


@pytest.mark.usefixtures("no_picture")
def test_a_cell_whose_forecast_is_beyond_the_limits_is_not_tried(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def probe(request: ProbeRequest) -> ProbeResult:
        asked.append((request.name, request.length))
        slow, large = request.name == "gru", request.name == "torch.nn.GRU"
        return ProbeResult(seconds=11.0 if slow else 1e-3, peak_bytes=6 * 10**9 if large else 1)

    monkeypatch.setattr(cores_module, "probe", probe)
    assert main([*TINY_CORES.split(), "--out", "x"]) == 0
    assert {length for name, length in asked if name in ("gru", "torch.nn.GRU")} == {4}
    reasons = {row["left_out"] for row in rows(empty_directory / "x") if row["length"] == "8"}
    assert reasons == {
        "",
        "over budget: 5 x 22 s, as forecast",
        "over memory: more than 8 GB: 12 GB, as forecast",
    }


def test_a_run_that_is_stopped_leaves_what_it_had(empty_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(request: ProbeRequest) -> ProbeResult:
        if request.length == 8:
            raise KeyboardInterrupt
        return ProbeResult(seconds=1e-3)

    monkeypatch.setattr(cores_module, "probe", probe)
    assert main([*TINY_CORES.split(), "--out", "x"]) == 130
    assert {row["length"] for row in rows(empty_directory / "x")} == {"1", "4"}
    assert (empty_directory / "x" / "cores.png").is_file()


def test_the_device_that_auto_stands_for_is_found_before_anything_is_written(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[bool] = []

    def get_device(name: str) -> torch.device:
        there.append((empty_directory / "x").exists())
        return torch.device("cpu" if name == "auto" else name)

    monkeypatch.setattr(benchmarks_module, "get_device", get_device)
    sizes = ["--lengths", "4", "--batch-size", "2", "--modes", "3", "--repeats", "2"]
    assert main(["bench", "scan", *sizes, "--device", "auto", "--out", "x"]) == 0
    assert there == [False]
    assert json.loads((empty_directory / "x" / "machine.json").read_text())["device"] == "cpu"
    assert all(float(row["seconds_median"]) > 0 for row in rows(empty_directory / "x"))


@pytest.mark.parametrize("words", ["bench", "bench --help", *(f"bench {what} --help" for what in BENCHES)])
def test_help_is_shown_where_asked_for(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 0
    output = capsys.readouterr()
    assert output.out.startswith("usage: s7rl bench")
    assert output.err == ""


def test_every_benchmark_has_its_function() -> None:
    assert {what: function.__name__ for what, function in benchmarks_module.BENCHMARKS.items()} == {
        request: f"bench_{name}" for name, request in BENCHES.items()
    }


def test_quick_replaces_what_was_not_given() -> None:
    request = parse(["bench", "cores", "--quick", "--lengths", "7"])
    assert isinstance(request, BenchConfig)
    assert isinstance(request.what, CoresBench)
    quick = quickened(request.what)
    assert (quick.lengths, quick.repeats) == ((7,), CoresBench.QUICK["repeats"])
    assert quickened(ScanBench()) == ScanBench()


def test_the_table_is_whole_after_every_line(empty_directory: Path) -> None:
    folder = BenchFolder("scan", ("a", "b"), ["s7rl"], CommonOptions(out="x"))
    folder.add({"a": 1}, {"b": "x, y", "a": None})
    assert rows(folder.path) == [{"a": "1", "b": ""}, {"a": "", "b": "x, y"}]
    folder.add({"a": 0.5})
    assert rows(folder.path)[2] == {"a": "0.5", "b": ""}
    assert sorted(path.name for path in folder.path.iterdir()) == ["machine.json", "results.csv"]
    with pytest.raises(UsageError, match="exists already"):
        BenchFolder("scan", ("a",), ["s7rl"], CommonOptions(out="x"))


def test_folders_without_a_name_never_collide(empty_directory: Path) -> None:
    first, second = (BenchFolder("scan", ("a",), ["s7rl"], CommonOptions()).path for _ in range(2))
    assert first != second
    assert first.parent == second.parent == Path("runs") / "bench"


def test_progress_is_shown_without_a_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    with BenchProgress(Console(), 7) as progress:
        progress.advance(3)
        progress.show("[the] next")
        progress.show("too soon for another line")
    assert capsys.readouterr().out == "3/7  [the] next\n"


def test_what_wants_memory_is_said_not_to_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> Path:
        raise MemoryError

    monkeypatch.setattr(benchmarks_module, "BENCHMARKS", {ScanBench: fail})
    assert main(["bench", "scan"]) == 2
    remedy = "give smaller sizes or fewer cores\n"
    assert (
        capsys.readouterr().err == f"s7rl bench scan: that does not fit this machine's memory (MemoryError): {remedy}"
    )
