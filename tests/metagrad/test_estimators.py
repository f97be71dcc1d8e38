import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagrad import estimators


def test_the_weights():
    assert estimators.single_step() == estimators.multi_step(1) == estimators.mixing(1) == (1.0,)
    assert estimators.multi_step(3) == (0.0, 0.0, 1.0)
    assert estimators.mixing(4) == (0.25,) * 4
    assert estimators.weighted([1, 0, 3]) == (0.25, 0.0, 0.75)


@given(horizon=st.integers(1, 40), decay=st.floats(0.1, 2.0))
def test_weights_sum_to_one_and_decay(horizon, decay):
    weights = estimators.mixing(horizon, decay)
    assert len(weights) == horizon
    assert math.isclose(math.fsum(weights), 1.0)
    assert all(math.isclose(after, decay * before) for before, after in itertools.pairwise(weights))


@pytest.mark.parametrize("make", [estimators.multi_step, estimators.mixing])
def test_horizon_below_one_is_refused(make):
    with pytest.raises(ValueError, match="horizon must be at least 1, got 0"):
        make(0)


@pytest.mark.parametrize("decay", [0.0, -1.0, math.inf, math.nan])
def test_decay_that_is_not_positive_is_refused(decay):
    with pytest.raises(ValueError, match="decay must be positive"):
        estimators.mixing(3, decay)


@pytest.mark.parametrize("proportions", [[], [1.0, -1.0], [math.nan]])
def test_proportions_without_a_sum_are_refused(proportions):
    with pytest.raises(ValueError, match="positive, finite sum"):
        estimators.weighted(proportions)
