"""Means over training and over seeds, by hand."""

import numpy as np
import pytest
from scipy.special import expit, logit

from experiments.figures import averages
from metagrad import statistics


@pytest.mark.parametrize(
    ("num_points", "expected"),
    [
        (100, np.mean(np.square(np.arange(91.0, 101.0)))),  # ten points of a hundredth
        (15, 15.0**2),  # the one before it began earlier, though it ends within
        (4, 4.0**2),  # none began in the last tenth: the last one
    ],
)
def test_the_last_tenth_is_of_the_points_that_began_in_it(num_points, expected):
    points = np.arange(1.0, num_points + 1)
    values = np.square(points)[:, None] + np.array([0.0, 7.0])
    np.testing.assert_allclose(averages.over_last_tenth(2_560.0 * points, values), [expected, expected + 7.0])


def test_points_without_a_measurement_have_no_part_in_either_mean():
    steps = np.array([10.0, 20.0, 190.0, 200.0])
    values = np.array([[4.0, np.nan], [np.nan, np.nan], [1.0, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(averages.over_last_tenth(steps, values), [3.0, np.nan])
    expected = (10 * 4.0 + 170 * 1.0 + 10 * 3.0) / 190
    np.testing.assert_allclose(averages.over_training(steps, values), [expected, np.nan])


def test_hyperparameters_are_averaged_where_they_are_unbounded():
    for column, ends, there, back in (
        ("hyper/discount", np.array([0.5, 0.99, 0.9999]), logit, expit),
        ("hyper/entropy_cost", np.array([1e-4, 1e-2, 2e-2]), np.log, np.exp),
        ("episode_return", np.array([-3.0, 1.0, 4.0]), np.asarray, np.asarray),
    ):
        expected = [back(part) for part in statistics.mean(there(ends))]
        np.testing.assert_allclose(averages.over_seeds(column, np.array([ends, ends])), np.stack([expected] * 2, 1))
        metrics = {"env_steps": np.tile([[1.0], [2.0]], 3), column: np.stack([0.5 * ends, ends])}
        np.testing.assert_allclose(averages.final(metrics, column), expected)
    assert averages.over_seeds("hyper/lambda", np.ones(3)).estimate == 1.0  # though it has no log-odds
