"""What a training step takes, and what happens where it takes too much."""

import subprocess
import sys
from dataclasses import replace

import pytest

from s7rl.experiments.bench.probe import ProbeRequest, probe

MEGABYTE = 2**20


def request(name: str = "torch.nn.GRU", *, length: int = 16, memory: int = 10**9) -> ProbeRequest:
    return ProbeRequest(
        name=name,
        d_model=8,
        length=length,
        batch_size=2,
        device="cpu",
        threads=1,
        memory_bytes=memory,
        budget_seconds=600.0,
    )


# In a process of its own: one in which an agent has learned keeps what is freed, and later peaks hide in it.
HOLD_400_THEN_PEAK_OF_100_AND_50 = f"""
import numpy as np
import torch

from s7rl.experiments.bench.peak_memory import peak_bytes

def hold(megabytes):
    np.ones(megabytes * {MEGABYTE}, dtype=np.uint8)

def twice():
    hold(100)
    hold(50)

hold(400)
print(peak_bytes(twice, torch.device("cpu")))
"""


def test_the_peak_is_counted_although_the_memory_is_given_back_and_an_earlier_peak_is_not() -> None:
    words = [sys.executable, "-c", HOLD_400_THEN_PEAK_OF_100_AND_50]
    peak = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert 99 * MEGABYTE <= peak <= 120 * MEGABYTE


@pytest.mark.slow
def test_a_core_and_a_yardstick_are_probed_in_a_process_of_their_own() -> None:
    for name in ("s7", "torch.nn.LSTM"):
        result = probe(request(name, length=2048))
        assert result.left_out is None
        # The output and its gradient at least: 2 x 2048 x 2 x 8 numbers of four bytes.
        assert 2 * 2048 * 2 * 8 * 4 <= result.peak_bytes <= 200 * MEGABYTE
        assert result.seconds > 0


def test_a_step_beyond_the_limit_of_memory_is_left_out() -> None:
    assert probe(request(length=4096, memory=1000)).left_out == "over memory: more than 1e-06 GB"


@pytest.mark.slow
def test_a_step_that_cannot_get_its_memory_is_left_out_before_the_machine_runs_out_of_it() -> None:
    # 4 GB of input alone, beyond limit and slack: the allocation fails.
    assert probe(request(length=2**26, memory=MEGABYTE)).left_out == "over memory: more than 0.00104858 GB"


def test_an_error_of_the_model_is_the_reason() -> None:
    result = probe(request("nothing"))
    assert result.left_out is not None
    assert result.left_out.startswith("failed: there is no core named 'nothing'")


def test_a_process_that_ends_without_an_answer_is_the_reason_too() -> None:
    # torch refuses to run on no thread at all, before anything is measured.
    result = probe(replace(request(), threads=0))
    assert result.left_out == "failed: its process ended with code 1"
