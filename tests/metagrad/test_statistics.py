"""Estimates against their definitions, and intervals by how often they cover the truth."""

import numpy as np
import pytest
import scipy.stats

from metagrad import statistics

NUM_SAMPLES, NUM_STUDIES = 100, 200
SPREAD = 1.7
MEAN, REFERENCE = np.array([0.5, 0.25, -0.25]), np.array([1.0, 0.5, 0.0])
COSINE = MEAN @ REFERENCE / np.sqrt((MEAN @ MEAN) * (REFERENCE @ REFERENCE))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def studies(num_components):
    """Samples of many independent studies at once, with a known mean and unit variance in each component."""
    return MEAN[:num_components] + normal(NUM_SAMPLES, NUM_STUDIES, num_components)


def paired(mean):
    """Two estimators of one scalar on common random numbers; the second is `SPREAD` times less noisy."""
    noise = normal(2, NUM_SAMPLES, NUM_STUDIES, 1, seed=1)
    return mean + noise[0], mean + (0.6 * noise[0] + 0.8 * noise[1]) / SPREAD


def exactly(vector):
    return np.broadcast_to(vector, (NUM_SAMPLES, NUM_STUDIES, len(vector)))


def coverage(result, truth):
    determined = np.isfinite(result.estimate)
    assert determined.mean() > 0.9
    return np.mean((result.low <= truth) & (truth <= result.high), where=determined)


def one_by_one(statistic, sets):
    return statistics.Estimate(*np.array([statistic(samples) for samples in sets]).T)


def drifting():
    """Seeds of unit variance, of which each depends on itself over time, and whose groups' means differ."""
    noise = normal(30, NUM_STUDIES, 6)
    for t in range(1, 30):
        noise[t] = 0.9 * noise[t - 1] + np.sqrt(0.19) * noise[t]
    return np.moveaxis(noise, 1, 0) + 100.0 * np.arange(30)[:, None]


CASES = {
    "mean": lambda: (statistics.mean(studies(3)), MEAN),
    "interquartile mean": lambda: (one_by_one(statistics.interquartile_mean, normal(NUM_STUDIES, 20) + 2.0), 2.0),
    "pooled deviation": lambda: (one_by_one(statistics.pooled_standard_deviation, drifting()), 1.0),
    "variance": lambda: (statistics.variance(studies(1)), 1.0),
    "total variance": lambda: (statistics.variance(studies(3)), 3.0),
    "signal to noise": lambda: (statistics.signal_to_noise(studies(1)), 0.5),
    "signal to noise of nothing": lambda: (statistics.signal_to_noise(studies(1) - 0.5), 0.0),
    "signal to noise of a vector": lambda: (statistics.signal_to_noise(studies(3)), np.sqrt(MEAN @ MEAN / 3.0)),
    "bias to samples": lambda: (statistics.bias(studies(3), 1.0 + normal(*studies(3).shape, seed=2)), MEAN - 1.0),
    "cosine to samples": lambda: (statistics.cosine(studies(3), REFERENCE + normal(*studies(3).shape, seed=3)), COSINE),
    "sign agreement": lambda: (
        statistics.sign_agreement(studies(3), exactly(REFERENCE + 0.1)),
        scipy.stats.norm.cdf(MEAN),
    ),
    "scaled error": lambda: (
        statistics.scaled_error(studies(3), exactly(REFERENCE)),
        1.0 - (MEAN @ REFERENCE) ** 2 / ((MEAN @ MEAN + 3.0) * (REFERENCE @ REFERENCE)),
    ),
    "variance ratio": lambda: (statistics.variance_ratio(*paired(0.0)), SPREAD**2),
    "noise ratio": lambda: (statistics.noise_ratio(*paired(0.5)), SPREAD**2),
    "shorter horizons": lambda: (statistics.reduction_by_mixing(normal(100, 4, 100, 1)).shorter_horizons, 1.0),
    "averaging": lambda: (statistics.reduction_by_mixing(normal(100, 4, 100, 1)).averaging, 0.25),
}


@pytest.mark.parametrize("name", CASES)
def test_95_percent_of_the_intervals_cover_the_truth(name):
    assert 0.9 < coverage(*CASES[name]()) <= 1.0


def test_intervals_are_no_wider_than_they_need_be():
    samples = normal(7, 2)
    low, high = scipy.stats.t.interval(0.95, 6, samples.mean(0), scipy.stats.sem(samples))
    np.testing.assert_allclose(statistics.mean(samples), [samples.mean(0), low, high])
    # A ratio of one, of normal samples, has a standard error of sqrt((1 + 1 / 2) / N).
    estimate, low, high = statistics.signal_to_noise(1.0 + normal(1_000, 1))
    np.testing.assert_allclose([estimate - low, high - estimate], 1.96 * np.sqrt(1.5 / 1_000), rtol=0.15)


def test_what_was_not_measured_is_left_out():
    nan = np.nan
    result = statistics.mean(np.array([[1.0, 5.0, nan], [nan, nan, nan], [3.0, nan, nan]]))
    np.testing.assert_allclose(result.estimate, [2.0, 5.0, nan])
    np.testing.assert_array_equal(np.isfinite([result.low, result.high]), [[True, False, False]] * 2)
    samples = np.array([9.0, -50.0, 2.0, 4.0, nan, 3.0, 1.0, 7.0, 100.0])  # two of eight go on each side
    np.testing.assert_allclose(statistics.interquartile_mean(samples).estimate, np.mean([2.0, 3.0, 4.0, 7.0]))
    assert np.isnan(statistics.interquartile_mean(np.array([nan])).estimate)


def test_the_probability_of_improvement_counts_pairs_with_an_exact_interval():
    samples, other = np.array([3.0, 1.0, 5.0, 2.0, np.nan, 4.0]), np.array([2.0, 2.0, 4.0, 2.0, 0.0, 1.0])
    result = statistics.probability_of_improvement(samples, other)  # better, worse, better, equal, unknown, better
    np.testing.assert_allclose(result, [3 / 5, *scipy.stats.binomtest(3, 5).proportion_ci()])
    for successes, of_all in ((10, np.ones(10)), (0, -np.ones(10))):
        expected = [successes / 10, *scipy.stats.binomtest(successes, 10).proportion_ci()]
        np.testing.assert_allclose(statistics.probability_of_improvement(of_all, np.zeros(10)), expected)
    assert np.isnan(statistics.probability_of_improvement(np.array([np.nan]), np.array([1.0]))).all()


def test_the_pooled_deviation_needs_three_seeds_for_an_interval():
    samples = normal(5, 4) + 100.0 * np.arange(5)[:, None]
    expected = np.sqrt(np.mean(samples.var(1, ddof=1)))
    np.testing.assert_allclose(statistics.pooled_standard_deviation(samples).estimate, expected)
    for num_samples, known in ((1, 0), (2, 1), (3, 3)):
        result = statistics.pooled_standard_deviation(samples[:, :num_samples])
        assert np.isfinite(result).sum() == known
    assert np.isfinite(statistics.pooled_standard_deviation(np.zeros((5, 4)))).tolist() == [True, False, False]


def test_noise_ratio_ignores_a_constant_factor_and_variance_ratio_does_not():
    first, second = (samples[:, :5] for samples in paired(0.5))
    for ratio, factor in ((statistics.noise_ratio, 1.0), (statistics.variance_ratio, 49.0)):
        np.testing.assert_allclose(ratio(7.0 * first, second).estimate, factor * ratio(first, second).estimate)


def test_what_needs_a_mean_is_undetermined_without_one():
    first, second = (samples[:, :50] for samples in paired(0.0))
    for result in (
        statistics.noise_ratio(first, second),
        statistics.scaled_error(first, second),
        statistics.cosine(first, second),
        statistics.sign_agreement(first[..., 0], second[..., 0]),
    ):
        assert np.isnan(result).all(0).mean() > 0.9


def test_a_small_component_does_not_speak_for_a_noisy_vector():
    samples = normal(NUM_SAMPLES, NUM_STUDIES, 3) * np.array([0.01, 1.0, 1.0]) + np.array([0.01, 0.0, 0.0])
    assert statistics.distinguishable(samples[..., :1]).all()
    assert statistics.distinguishable(samples).mean() < 0.1


def test_distinguishable_errs_in_one_case_of_twenty():
    noise = normal(NUM_SAMPLES, 2000, 3) * np.arange(1, 4)
    assert 0.03 < statistics.distinguishable(noise).mean() < 0.07
    assert statistics.distinguishable(noise + 5.0).all()
    assert statistics.distinguishable(exactly(REFERENCE)).all()
    assert not statistics.distinguishable(exactly(0.0 * REFERENCE)).any()


def test_distinguishable_is_the_t_test_for_one_component():
    samples = normal(20, 50, 1) + 0.4
    expected = scipy.stats.ttest_1samp(samples[..., 0], 0.0).pvalue < 0.05
    np.testing.assert_array_equal(statistics.distinguishable(samples), expected)
    assert set(expected) == {True, False}


def test_scaled_error_is_the_least_over_all_scales():
    samples, reference = studies(3)[:, 0], exactly(REFERENCE)[:, 0]
    errors = [np.mean(np.sum((scale * samples - REFERENCE) ** 2, -1)) / 1.25 for scale in np.linspace(-1, 1, 4001)]
    np.testing.assert_allclose(statistics.scaled_error(samples, reference).estimate, min(errors), rtol=1e-4)


def test_mixing_reduction_splits_the_variance_ratio():
    gradients = normal(NUM_SAMPLES, 4, 3) * np.array([1.0, 2.0, 3.0, 4.0])[:, None] + normal(NUM_SAMPLES, 1, 3)
    result = statistics.reduction_by_mixing(gradients)
    ratio = statistics.variance_ratio(gradients[:, -1], gradients.mean(1))
    np.testing.assert_allclose(result.shorter_horizons.estimate * result.averaging.estimate, 1.0 / ratio.estimate)
    for part in result:
        assert part.low < part.estimate < part.high < 1.0


def test_samples_without_variance_have_no_interval():
    constant = np.ones((NUM_SAMPLES, 1))
    np.testing.assert_array_equal(statistics.variance(constant), [0.0, np.nan, np.nan])
    assert np.isnan(statistics.signal_to_noise(0.0 * constant).estimate)


@pytest.mark.parametrize("ratio", [statistics.variance_ratio, statistics.noise_ratio])
def test_two_estimators_on_common_random_numbers_are_resampled_together(ratio):
    samples = 2.0 + normal(50, 2)
    result = ratio(samples, samples + 0.01 * normal(50, 2, seed=1))
    assert 0.0 < result.high - result.low < 0.05
    apart = ratio(samples, samples[::-1])  # the same numbers, but no longer sample by sample
    assert apart.high - apart.low > 0.3


@pytest.mark.parametrize("statistic", [statistics.cosine, statistics.scaled_error])
def test_an_independent_reference_of_another_size_is_resampled_by_itself(statistic):
    samples = np.array([1.0, 0.5]) + normal(60, 2)
    reference = np.array([1.0, -0.5]) + normal(20, 2, seed=1)
    result = statistic(samples, reference)
    exact = statistic(samples, np.broadcast_to(reference.mean(0), (20, 2)))
    np.testing.assert_allclose(result.estimate, exact.estimate)
    assert result.high - result.low > 1.1 * (exact.high - exact.low) > 0.0
