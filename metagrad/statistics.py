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
    """Estimates the standard deviation within groups, `sqrt(mean_g s_g^2)`, with an interval over samples.

    The interval is a jackknife of the logarithm, which leaves out one sample of every group at a time (one seed of
    every logging point), with Student's t quantiles. So it holds even where a seed's samples depend on each other.

    Args:
      samples: float [G, N]: N independent samples in each of G groups, whose means may differ; sample n of one group
        may depend on sample n of another.

    Returns:
      The standard deviation, float [], NaN with fewer than two samples a group; and its interval, NaN with fewer than
      three or where the deviation is zero.
    """
    samples = np.asarray(samples, np.float64)
    num_samples = samples.shape[1]

    def deviation(samples: np.ndarray) -> np.ndarray:
        return np.sqrt(samples.var(axis=1, ddof=1).mean())

    nan = np.array(np.nan)
    if num_samples < 2:
        return Estimate(nan, nan, nan)
    estimate = deviation(samples)
    if num_samples == 2:
        return Estimate(estimate, nan, nan)
    left_out = np.array([deviation(np.delete(samples, n, axis=1)) for n in range(num_samples)])
    if not np.all(left_out > 0.0):
        return Estimate(estimate, nan, nan)
    error = np.sqrt((num_samples - 1) * np.log(left_out).var())
    factor = np.exp(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, num_samples - 1) * error)
    return Estimate(estimate, estimate / factor, estimate * factor)
