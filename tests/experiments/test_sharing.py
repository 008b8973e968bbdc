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


@pytest.mark.parametrize(
    ("batch_size", "complaint"),
    [
        (15, r"^--batch-size 15 must be a multiple of the 2 processes.*: the nearest are 14 and 16$"),
        # Of 12 environments each has 6, so 1, 2, 3 or 6 rows of 8 steps in a minibatch.
        (
            64,
            r"^each of the 2 processes has its share .*: --batch-size is 32, .* nearest that fit are 16 and 24\.$",
        ),
    ],
)
def test_minibatches_that_cannot_be_shared_are_an_error_with_the_nearest_sizes(batch_size: int, complaint: str) -> None:
    # Fails where the share is not checked by itself.
    settings = replace(SETTINGS, n_envs=12, n_steps=8, batch_size=48)
    object.__setattr__(settings, "batch_size", batch_size)  # what the whole run could not have either is found here too
    with pytest.raises(UsageError, match=complaint):
        share_of(settings, 0, 2)
