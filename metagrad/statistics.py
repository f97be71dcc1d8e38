"""Statistics of samples with 95% intervals: pure functions of arrays."""

import warnings
from typing import NamedTuple

import numpy as np
import scipy.stats

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A statistic and the ends of its 95% confidence interval, float arrays of one shape."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean(samples: np.ndarray) -> Estimate:
    """Estimates a mean from independent samples, with Student's t interval.

    Args:
      samples: float [N, ...]; NaNs are left out.

    Returns:
      The mean over the first axis and its interval, [...]; the interval is NaN where fewer than two samples are left,
      and so is the mean where none is.
    """
    samples = np.asarray(samples, np.float64)
    count = np.isfinite(samples).sum(0)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # slices without samples: NaN is their answer
        estimate = np.nanmean(samples, 0)
        error = np.nanstd(samples, 0, ddof=1) / np.sqrt(count)
        half = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * error
    return Estimate(estimate, estimate - half, estimate + half)


def pooled_standard_deviation(samples: np.ndarray) -> Estimate:
    """Estimates the standard deviation within groups, `sqrt(mean_g s_g^2)`, with a bootstrap interval over groups.

    Args:
      samples: float [G, N]: N independent samples in each of G groups, whose means may differ.

    Returns:
      The standard deviation and its interval, float [] each; NaN with fewer than two samples a group, and an interval
      of NaN with fewer than two groups.
    """
    samples = np.asarray(samples, np.float64)
    num_groups, num_samples = samples.shape
    nan = np.array(np.nan)
    if num_samples < 2:
        return Estimate(nan, nan, nan)
    variances = samples.var(axis=1, ddof=1)
    estimate = np.sqrt(variances.mean())
    if num_groups < 2 or np.ptp(variances) == 0.0:
        return Estimate(estimate, nan, nan)
    interval = scipy.stats.bootstrap(
        (variances,),
        lambda drawn, axis: np.sqrt(drawn.mean(axis=axis)),
        confidence_level=CONFIDENCE,
        n_resamples=2_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(estimate, interval.low, interval.high)
