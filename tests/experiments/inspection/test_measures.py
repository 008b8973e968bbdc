"""Measures on arrays whose answers are known by hand.

Mutations seen to fail: the fitted episodes tested; no noise; the penalty without its factor or the number of episodes;
an intercept left out, or the states not centred; gradients not scaled; a reach of one lag too many; columns that do not
vary, and half as many episodes, scored all the same.
"""

import numpy as np
import pytest

from s7rl.experiments.inspection.measures import band, mean_by_lag, probe, reach, ridge, state_norms


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_length_of_a_state_is_euclidean_and_none_behind_the_end() -> None:
    states = np.array([[[3.0, 4.0]], [[np.nan, np.nan]]], dtype=np.float32)
    np.testing.assert_array_equal(state_norms(states), [[5.0], [np.nan]])


def test_a_band_leaves_out_what_is_over() -> None:
    values = np.array([[*range(11)], [1.0, 3.0, *[np.nan] * 9], [np.nan] * 11], dtype=np.float64)
    found = band(values)
    np.testing.assert_allclose(found.mean, [5.0, 2.0, np.nan])
    np.testing.assert_allclose(found.low, [1.0, 1.2, np.nan])
    np.testing.assert_allclose(found.high, [9.0, 2.8, np.nan])


def test_every_episode_counts_alike_however_large_its_gradient_is_or_how_long_it_is() -> None:
    shares = mean_by_lag([np.array([30.0, 10.0]), np.array([0.1, 0.0, 0.1]), np.zeros(2)])
    np.testing.assert_allclose(shares, [(0.75 + 0.5) / 2, 0.25 / 2, 0.5 / 2])


def test_without_any_gradient_there_are_no_shares() -> None:
    assert np.isnan(mean_by_lag([np.zeros(3)])).all()


@pytest.mark.parametrize(("part", "lag"), [(0.1, 0), (0.2, 0), (0.5, 2), (0.6, 2), (0.9, 3), (1.0, 3)])
def test_the_reach_is_the_first_lag_within_which_that_part_lies(part: float, lag: int) -> None:
    assert reach(np.array([0.2, 0.0, 0.4, 0.4]), part) == lag


def test_ridge_is_the_solution_of_the_normal_equations(generator: np.random.Generator) -> None:
    x, y, new = (generator.standard_normal(shape) for shape in ((7, 3), (7, 2), (4, 3)))
    # |y - xw - b|^2 + 0.7 |w|^2, the intercept without a penalty, by least squares with rows added for the penalty.
    rows = np.vstack([np.hstack([x, np.ones((7, 1))]), np.hstack([np.sqrt(0.7) * np.eye(3), np.zeros((3, 1))])])
    weights = np.linalg.lstsq(rows, np.vstack([y, np.zeros((3, 2))]), rcond=None)[0]
    np.testing.assert_allclose(ridge(x, y, new), np.hstack([new, np.ones((4, 1))]) @ weights)


def test_what_stands_in_the_state_is_read_and_what_has_faded_is_not(generator: np.random.Generator) -> None:
    cue = np.tile([[-1.0], [1.0], [1.0], [-1.0]], (50, 1))[:, 0]  # half of either half
    # Held for good, beside a number that has nothing to do with it; and halved at each step, to 2e-9.
    held = np.stack([np.tile(cue, (30, 1)), generator.standard_normal((30, 200))], axis=-1)
    fading = (cue * 0.5 ** np.arange(30)[:, None])[..., None]
    hidden = np.tile(cue, (30, 1))[..., None]
    (found,) = probe(held, hidden, generator=generator)
    assert (found.column, found.is_choice) == (0, True)
    np.testing.assert_array_equal(found.score, np.ones(30))
    np.testing.assert_array_equal(found.chance, np.full(30, 0.5))
    (found,) = probe(fading, hidden, generator=generator)
    assert found.score[0] == 1.0
    assert found.score[-5:].mean() == pytest.approx(0.5, abs=0.1)


def test_from_a_state_that_knows_nothing_or_is_empty_no_more_is_read_than_by_chance(
    generator: np.random.Generator,
) -> None:
    hidden = generator.integers(3, size=(1, 600)).astype(np.float64)[..., None]
    (found,) = probe(generator.standard_normal((1, 600, 5)), hidden, generator=generator)
    assert found.score[0] == pytest.approx(1 / 3, abs=0.06)
    (found,) = probe(np.zeros((1, 600, 0)), hidden, generator=generator)
    values, counts = np.unique(hidden[0, ::2, 0], return_counts=True)
    assert found.score[0] == np.mean(hidden[0, 1::2, 0] == values[counts.argmax()])
    assert found.chance[0] == max(np.mean(hidden[0, 1::2, 0] == value) for value in range(3))


def test_a_choice_among_three_is_read_where_they_stand_in_a_row(generator: np.random.Generator) -> None:
    choice = np.arange(300) * 7 // 2 % 3
    states = np.eye(3)[choice][None]
    (found,) = probe(states, choice[None, :, None].astype(np.float64), generator=generator)
    assert found.score[0] == 1.0


def test_a_quantity_is_scored_by_the_variance_explained(generator: np.random.Generator) -> None:
    quantity = generator.standard_normal(4000)
    noisy = (quantity + generator.standard_normal(4000))[None, :, None]
    (found,) = probe(noisy, quantity[None, :, None], generator=generator)
    assert not found.is_choice
    # Half of the variance of what is seen is the quantity's, hence half of the quantity's is explained.
    assert found.score[0] == pytest.approx(0.5, abs=0.05)
    assert found.chance[0] == 0.0


def test_where_a_column_does_not_vary_or_too_few_episodes_go_on_there_is_no_score(
    generator: np.random.Generator,
) -> None:
    hidden = np.zeros((3, 40, 3))
    hidden[..., 0] = np.arange(40) // 2 % 2
    hidden[1, 0, 1] = hidden[1, 1, 2] = 1.0  # among those that are fitted only, and those that are tested
    hidden[0, :, 0] = 1.0  # the same in all episodes
    hidden[2, 19:] = np.nan  # 19 go on
    states = np.where(np.isnan(hidden[..., :1]), np.nan, hidden[..., :1])
    (found,) = probe(states, hidden, generator=generator)
    np.testing.assert_array_equal(found.score, [np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(found.chance, [np.nan, 0.5, np.nan])
