import numpy as np
import pytest
import scipy.stats

from metagrad import statistics


def test_mean_has_students_interval():
    samples = np.random.default_rng(0).normal(3.0, 2.0, (7, 2))
    result = statistics.mean(samples)
    np.testing.assert_allclose(result.estimate, samples.mean(0))
    for column in range(2):
        low, high = scipy.stats.t.interval(0.95, 6, samples[:, column].mean(), scipy.stats.sem(samples[:, column]))
        np.testing.assert_allclose([result.low[column], result.high[column]], [low, high])


def test_mean_leaves_out_what_was_not_measured():
    nan = np.nan
    result = statistics.mean(np.array([[1.0, 5.0, nan], [nan, nan, nan], [3.0, nan, nan]]))
    np.testing.assert_allclose(result.estimate, [2.0, 5.0, nan])
    assert np.isfinite([result.low[0], result.high[0]]).all()
    assert np.isnan([*result.low[1:], *result.high[1:]]).all()


def test_pooled_deviation_ignores_the_groups_means():
    samples = np.random.default_rng(1).normal(size=(5, 4)) + 100.0 * np.arange(5)[:, None]
    variances = [np.sum((group - group.mean()) ** 2) / 3 for group in samples]
    result = statistics.pooled_standard_deviation(samples)
    np.testing.assert_allclose(result.estimate, np.sqrt(np.mean(variances)))
    assert result.low < result.estimate < result.high


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_pooled_deviations_interval_covers_the_truth(correlation):
    """Even where a seed's samples depend on each other over time."""
    rng = np.random.default_rng(2)
    repetitions, covered = 400, 0
    for _ in range(repetitions):
        noise = rng.normal(size=(30, 6))
        for t in range(1, 30):
            noise[t] = correlation * noise[t - 1] + np.sqrt(1 - correlation**2) * noise[t]
        result = statistics.pooled_standard_deviation(noise)
        covered += result.low <= 1.0 <= result.high
    assert 0.89 < covered / repetitions < 0.995


@pytest.mark.parametrize("num_samples", [1, 2])
def test_too_few_samples_have_no_interval(num_samples):
    result = statistics.pooled_standard_deviation(np.random.default_rng(3).normal(size=(5, num_samples)))
    assert np.isnan([result.low, result.high]).all()
    assert np.isnan(result.estimate) == (num_samples == 1)
