"""Means over training, by hand."""

import numpy as np
import pytest

from experiments import averages


@pytest.mark.parametrize(
    ("num_points", "expected"),
    [
        (100, np.mean(np.square(np.arange(91.0, 101.0)))),  # ten points of a hundredth
        (20, np.mean(np.square([19.0, 20.0]))),
        (15, 15.0**2),  # the one before it began earlier, though it ends within
        (4, 4.0**2),  # none began in the last tenth: the last one
    ],
)
def test_the_last_tenth_is_of_the_points_that_began_in_it(num_points, expected):
    points = np.arange(1.0, num_points + 1)
    steps = 2_560.0 * points
    values = np.square(points)[:, None] + np.array([0.0, 7.0])
    np.testing.assert_allclose(averages.over_last_tenth(steps, values), [expected, expected + 7.0])


def test_points_without_a_measurement_have_no_part_in_either_mean():
    steps = np.array([10.0, 20.0, 190.0, 200.0])
    values = np.array([[4.0, np.nan], [np.nan, np.nan], [1.0, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(averages.over_last_tenth(steps, values), [3.0, np.nan])
    expected = (10 * 4.0 + 170 * 1.0 + 10 * 3.0) / 190
    np.testing.assert_allclose(averages.over_training(steps, values), [expected, np.nan])
