"""What holds for every test: the same draws in every run, one torch thread a worker, no display, no GPU."""

import gc
import os

import jaxtyping
import pytest
from hypothesis import settings

# Before anything imports matplotlib or numba.  Two workers with two spinning threads each on two cores are many times
# slower than two workers with one.
os.environ["MPLBACKEND"] = "Agg"
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

# A failure that Hypothesis finds is found by everybody, and a slow machine fails no test.
settings.register_profile("s7rl", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("few", settings.get_profile("s7rl"), max_examples=15)
settings.register_profile("thorough", settings.get_profile("s7rl"), max_examples=200)
settings.load_profile("s7rl")


def pytest_configure(config: pytest.Config) -> None:
    """Keep torch on one thread, also where it was imported before the variables above were set; find the checker."""
    on_gpu = config.option.markexpr == "gpu"
    if not on_gpu:
        # device="auto" would take it, and what tests expect is computed on the CPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    from tests import type_checks  # jaxtyping imports "tests" alone, and asks it for what pyproject.toml names

    if "remembering" in (config.option.jaxtyping_packages or ""):
        jaxtyping.jaxtyped = type_checks.jaxtyped  # type: ignore[assignment]

    torch.set_num_threads(1)
    if on_gpu and not torch.cuda.is_available():
        raise pytest.UsageError("torch sees no GPU, which the tests marked gpu need")


def pytest_collection_finish() -> None:
    """Keep what was imported out of every collection of garbage: there is much of it, and it stays."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs a GPU where it is hidden."""
    if item.config.option.markexpr != "gpu" and item.get_closest_marker("gpu"):
        pytest.skip("the GPU is hidden: make gpu")


@pytest.fixture(scope="session", autouse=True)
def logs_of_sb3(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the folders that SB3 makes for every training within pytest's own, of which it keeps few."""
    os.environ["SB3_LOGDIR"] = str(tmp_path_factory.mktemp("sb3"))


@pytest.fixture
def as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the type checker that the tests put before every function: users meet our own messages, not its."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
