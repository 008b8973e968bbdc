"""What each process of a run under torchrun gets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s7rl.experiments.config import TrainConfig
from s7rl.experiments.errors import UsageError
from s7rl.experiments.plan import plan
from s7rl.experiments.sharing import share_of

SETTINGS, _ = plan(TrainConfig())


@given(ranks=st.integers(1, 6), envs=st.integers(1, 6), data=st.data(), seed=st.integers(0, 100))
def test_shares_are_equal_and_the_seeds_follow_on(ranks: int, envs: int, data: st.DataObject, seed: int) -> None:
    rows = data.draw(st.sampled_from([number for number in range(1, envs + 1) if envs % number == 0]))
    settings = replace(SETTINGS, n_envs=ranks * envs, n_steps=8, batch_size=8 * ranks * rows, seed=seed)
    shares = [share_of(settings, rank, ranks) for rank in range(ranks)]
    seeds = [share.seed + i for share in shares for i in range(share.n_envs)]
    assert seeds == list(range(seed, seed + settings.n_envs))
    assert {share.batch_size * ranks for share in shares} == {settings.batch_size}


@pytest.mark.parametrize(("n_envs", "nearest"), [(16, "are 15 and 18"), (2, "is 3")])
def test_environments_that_cannot_be_shared_are_an_error_with_the_nearest_numbers(n_envs: int, nearest: str) -> None:
    settings = replace(SETTINGS, n_envs=n_envs, n_steps=8, batch_size=8)
    complaint = f"^--n-envs {n_envs} must be a multiple of the 3 processes.*: the nearest {nearest}$"
    with pytest.raises(UsageError, match=complaint):
        share_of(settings, 0, 3)


@pytest.mark.parametrize(("rows", "nearest"), [(1, "16 and 32"), (3, "16 and 32")])
def test_minibatches_that_cannot_be_shared_are_an_error_with_the_nearest_sizes(rows: int, nearest: str) -> None:
    # Of 12 environments 2 processes have 6 each, so 1, 2, 3 or 6 rows of 8 steps in a minibatch.  Fails where sizes of
    # one process are named.
    settings = replace(SETTINGS, n_envs=12, n_steps=8, batch_size=8 * rows)
    complaint = f"^--batch-size {8 * rows} must give each of the 2 processes .*: the nearest are {nearest}$"
    with pytest.raises(UsageError, match=complaint):
        share_of(settings, 0, 2)
