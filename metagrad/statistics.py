"""Statistics of an estimator's samples with 95% intervals: pure functions of arrays.

A sample is a vector, and its components lie on an array's last axis: the meta-parameters of a meta-gradient, or a
single one. The first axis numbers the samples, which are independent; axes in between are further estimators, treated
alike and resampled together. A reference that is known exactly is given as samples that are all equal.

Intervals come from exact distributions where there are any, and else from the bias-corrected and accelerated bootstrap
(Efron, 1987), or for many samples simply from the bootstrap's percentiles. Its resampling is the same for the same
number of samples; two sets that may depend on each other, sample by sample, are resampled together, and a reference,
which is independent and may have another number of samples, by itself.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

CONFIDENCE = 0.95

LARGE = 1_024
"""Samples above which an interval's bias and acceleration are no longer worth a jackknife, whose time is squared."""

RESAMPLES = 999
"""Of every bootstrap."""

MEMORY = 2**23
"""Numbers of one array that a bootstrap holds at a time."""


class Estimate(NamedTuple):
    """A statistic and the ends of its 95% confidence interval, float arrays of one shape; NaN where undetermined."""

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


def interquartile_mean(samples: np.ndarray) -> Estimate:
    """Estimates the mean of the middle half, which single good or bad seeds hardly move (Agarwal et al., 2021).

    Args:
      samples: float [N]; NaNs are left out.

    Returns:
      The mean without the lowest and the highest quarter (rounded down) of the samples, float [], with its bootstrap
      interval; the interval is NaN with fewer than two samples, and so is the mean with none.
    """
    samples = np.asarray(samples, np.float64)
    samples = samples[np.isfinite(samples)]
    if len(samples) < 2:
        return mean(samples)
    return _bootstrap(lambda x: scipy.stats.trim_mean(x[0], 0.25, axis=-1), samples[:, None])


def probability_of_improvement(samples: np.ndarray, other: np.ndarray) -> Estimate:
    """Estimates how often the one is larger than the other, with Clopper and Pearson's exact interval.

    Args:
      samples: float [N].
      other: float [N]; its n-th sample may depend on the first's n-th, as two runs of one seed do. Pairs of which one
        is NaN are left out.

    Returns:
      The fraction of pairs in which `samples` is larger, in [0, 1], and its interval, []; NaN without pairs.
    """
    differences = np.asarray(samples, np.float64) - other
    differences = differences[np.isfinite(differences)]
    return _proportion(np.sum(differences > 0.0), len(differences))


def variance(samples: np.ndarray) -> Estimate:
    """Estimates the variance, added up over the components.

    Args:
      samples: float [N, ..., M], N at least 2.

    Returns:
      The trace of the covariance and its interval, [...].
    """
    return _bootstrap(_variance, samples)


def signal_to_noise(samples: np.ndarray) -> Estimate:
    """Estimates the signal-to-noise ratio of a single sample, `|mean| / sqrt(variance)`.

    Args:
      samples: float [N, ..., M], N at least 2.

    Returns:
      The ratio of the mean's norm to the standard deviation, at least 0, and its interval, [...].
    """
    # A length is never below zero, and near zero the bootstrap of one misleads. So it is the mean in units of the
    # standard deviation, a vector, that is resampled: the truth lies within a ball around it.
    resampling = _resample(lambda x: x.mean(-1) / np.sqrt(_variance(x)), samples, method="percentile")
    estimate = np.sqrt(_squared_length(resampling.estimate))
    with np.errstate(invalid="ignore"):  # no variance: the interval is NaN
        distances = np.sqrt(_squared_length(resampling.distribution - resampling.estimate[..., None]))
    radius = np.quantile(distances, CONFIDENCE, axis=-1)
    return Estimate(estimate, np.maximum(estimate - radius, 0.0), estimate + radius)


def bias(samples: np.ndarray, reference: np.ndarray) -> Estimate:
    """Estimates each component's bias, with Student's t interval.

    Args:
      samples: float [N, ..., M], N at least 2.
      reference: samples, independent of these, whose mean is the truth, float [N, ..., M].

    Returns:
      The bias and its interval, [..., M].
    """
    return mean(np.asarray(samples, np.float64) - reference)


def cosine(samples: np.ndarray, reference: np.ndarray) -> Estimate:
    """Estimates the cosine between the samples' mean and the reference's.

    Args:
      samples: float [N, ..., M], N at least 2.
      reference: samples, independent of these, float [L, ..., M].

    Returns:
      The cosine, in [-1, 1], and its interval, [...]; undetermined where either mean cannot be told from zero.
    """
    # An angle is a length on the sphere: as for `signal_to_noise`, the directions are resampled, and not their angle.
    resampling = _resample(
        lambda x, y: np.stack([_direction(x.mean(-1)), _direction(y.mean(-1))]),
        samples,
        reference,
        method="percentile",
        paired=False,
    )
    turned = _angle(np.moveaxis(resampling.distribution, 1, 0), np.moveaxis(resampling.estimate, 1, 0)[..., None])
    # A resample whose mean is zero has no direction: it may point anywhere.
    radius = np.quantile(np.nan_to_num(turned, nan=np.pi).sum(0), CONFIDENCE, axis=-1)
    angle = _angle(*resampling.estimate)
    interval = np.cos(np.minimum(angle + radius, np.pi)), np.cos(np.maximum(angle - radius, 0.0))
    return _only_where(distinguishable(samples) & distinguishable(reference), Estimate(np.cos(angle), *interval))


def sign_agreement(samples: np.ndarray, reference: np.ndarray) -> Estimate:
    """Estimates how often a sample has the sign of the reference's mean, with Clopper and Pearson's exact interval.

    Args:
      samples: float [N, ...].
      reference: samples, independent of these, float [L, ...]; its mean's sign is taken as known.

    Returns:
      The fraction in [0, 1] and its interval, [...]; undetermined where the reference cannot be told from zero.
    """
    samples, reference = np.asarray(samples, np.float64), np.asarray(reference, np.float64)
    agreement = _proportion(np.sum(np.sign(samples) == np.sign(reference.mean(0)), axis=0), len(samples))
    return _only_where(distinguishable(reference[..., None]), agreement)


def scaled_error(samples: np.ndarray, reference: np.ndarray) -> Estimate:
    """Estimates the relative mean squared error that is left after the best common scale.

        min_c E |c g - r|^2 / |r|^2 = 1 - (E[g] . r)^2 / (E |g|^2 |r|^2)

    An optimizer with a free step size does not care for an estimator's scale, so here bias and variance weigh as they
    do for learning. A noisy reference makes the error larger, and the interval does not tell by how much.

    Args:
      samples: float [N, ..., M], N at least 2.
      reference: samples, independent of these, whose mean is the truth r, float [L, ..., M].

    Returns:
      The error, in [0, 1], and its interval, [...]; undetermined where the reference cannot be told from zero.
    """
    estimate = _bootstrap(
        lambda x, y: 1.0 - _dot(x, y) ** 2 / (_squared_length(x).mean(-1) * _squared_length(y.mean(-1))),
        samples,
        reference,
        paired=False,
    )
    return _only_where(distinguishable(reference), estimate)


def variance_ratio(samples: np.ndarray, other: np.ndarray) -> Estimate:
    """Estimates the ratio of two estimators' variances on common random numbers, `Var(samples) / Var(other)`.

    A constant factor on an estimator changes this ratio and nothing else: see `noise_ratio`.

    Args:
      samples: float [N, ..., M], N at least 2.
      other: float [N, ..., M]; its n-th sample may depend on the first's n-th.

    Returns:
      The ratio and its interval, [...].
    """
    return _bootstrap(lambda x, y: _variance(x) / _variance(y), samples, other)


def noise_ratio(samples: np.ndarray, other: np.ndarray) -> Estimate:
    """Estimates the ratio of two estimators' variances after each is scaled to a mean of length one.

        (Var(samples) / |mean(samples)|^2) / (Var(other) / |mean(other)|^2)

    The interval carries the means' uncertainty, which is most of it. That a mean could be told from zero at all says
    something of it too: where that was close, the estimate tends to be too near to one.

    Args:
      samples: float [N, ..., M], N at least 2.
      other: float [N, ..., M]; its n-th sample may depend on the first's n-th.

    Returns:
      The ratio and its interval, [...]; undetermined where either mean cannot be told from zero.
    """

    def statistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _variance(x) / _variance(y) * _squared_length(y.mean(-1)) / _squared_length(x.mean(-1))

    estimate = _bootstrap(statistic, samples, other)
    return _only_where(distinguishable(samples) & distinguishable(other), estimate)


class Reduction(NamedTuple):
    """How uniform mixing comes by its variance: `Var(mixing) = shorter_horizons × averaging × Var(multi_step)`.

    Attributes:
      shorter_horizons: the mean of `Var(g_1), ..., Var(g_n)` over `Var(g_n)`.
      averaging: `Var(mean of g_1, ..., g_n)` over the mean of their variances; 1/n if they were uncorrelated.
    """

    shorter_horizons: Estimate
    averaging: Estimate


def reduction_by_mixing(gradients: np.ndarray) -> Reduction:
    """Splits the variance that uniform mixing saves into what shorter horizons and what averaging brings.

    Args:
      gradients: float [N, n, ..., M], the horizon gradients `g_1, ..., g_n` of N windows.

    Returns:
      The two factors, [...] each.
    """

    def shorter_horizons(x: np.ndarray) -> np.ndarray:
        variances = x.var(-1, ddof=1).sum(0)
        return variances.mean(0) / variances[-1]

    def averaging(x: np.ndarray) -> np.ndarray:
        return _variance(x.mean(1)) / x.var(-1, ddof=1).sum(0).mean(0)

    return Reduction(_bootstrap(shorter_horizons, gradients), _bootstrap(averaging, gradients))


def distinguishable(samples: np.ndarray) -> np.ndarray:
    """Tells whether a mean's length differs from zero at the 5% level.

        N |mean|^2 / tr(C)  >  the 95% quantile of F(f, f (N - 1)),    f = tr(C)^2 / tr(C^2)

    with C the covariance: Box's (1954) approximation, which for one component is Student's t test. Unlike Hotelling's
    test it depends on the components' scales, as a length does: a clear mean of a small component does not count where
    larger ones are noise.

    Args:
      samples: float [N, ..., M]. Samples without any variance are taken at their word.

    Returns:
      bool [...]; False where samples are NaN.
    """
    samples = np.asarray(samples, np.float64)
    count = len(samples)
    centre = samples.mean(0)
    deviations = samples - centre
    covariance = np.einsum("n...i,n...j->...ij", deviations, deviations) / (count - 1)
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    squared_length = np.sum(centre**2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = trace**2 / np.sum(covariance**2, axis=(-2, -1))
        threshold = scipy.stats.f.ppf(CONFIDENCE, freedom, freedom * (count - 1))
        significant = count * squared_length / trace > threshold
    constant = np.all(samples == samples[:1], axis=(0, -1))
    return np.where(constant, squared_length > 0.0, significant)


class _Resampling(NamedTuple):
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    distribution: np.ndarray


def _resample(
    statistic: Callable[..., np.ndarray], *samples: np.ndarray, method: str, paired: bool = True
) -> _Resampling:
    """Bootstraps a statistic of sets of samples.

    Args:
      statistic: from arrays [M, ..., N] to one without the axis of the samples.
      *samples: float [N, ..., M] each.
      method: of the interval.
      paired: whether the sets are resampled together, which needs as many samples in each.

    Returns:
      The statistic of the samples, its interval, and its values for each resample on a last axis.
    """
    data = [np.moveaxis(np.asarray(array, np.float64), (0, -1), (-1, 0)) for array in samples]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # where every resample agrees, the interval is NaN, and that is the answer
        result = scipy.stats.bootstrap(
            data,
            lambda *resamples, axis: statistic(*resamples),
            paired=paired,
            vectorized=True,
            axis=-1,
            n_resamples=RESAMPLES,
            batch=max(MEMORY // max(array.size for array in data), 1),
            confidence_level=CONFIDENCE,
            method=method,
            rng=np.random.default_rng(0),
        )
        interval = result.confidence_interval
        return _Resampling(statistic(*data), interval.low, interval.high, result.bootstrap_distribution)


def _bootstrap(statistic: Callable[..., np.ndarray], *samples: np.ndarray, paired: bool = True) -> Estimate:
    """Estimates a statistic without the axes of components and samples, with its interval."""
    method = "BCa" if max(map(len, samples)) <= LARGE else "percentile"
    return Estimate(*_resample(statistic, *samples, method=method, paired=paired)[:3])


def _proportion(successes: np.ndarray, count: int) -> Estimate:
    """Estimates a probability from how many of `count` trials were successes, with Clopper and Pearson's interval."""
    if not count:
        return Estimate(*np.full(3, np.nan))
    tail = (1 - CONFIDENCE) / 2
    low = np.where(successes > 0, scipy.stats.beta.ppf(tail, np.maximum(successes, 1), count - successes + 1), 0.0)
    high = np.where(
        successes < count, scipy.stats.beta.ppf(1 - tail, successes + 1, np.maximum(count - successes, 1)), 1.0
    )
    return Estimate(successes / count, low, high)


def _variance(samples: np.ndarray) -> np.ndarray:
    """From [M, ..., N] to the trace of the covariance, [...]."""
    return samples.var(-1, ddof=1).sum(0)


def _squared_length(vectors: np.ndarray) -> np.ndarray:
    """From [M, ...] to squared lengths, [...]."""
    return (vectors**2).sum(0)


def _direction(vectors: np.ndarray) -> np.ndarray:
    """Scales vectors [M, ...] to length one; NaN where there is no direction."""
    return vectors / np.sqrt(_squared_length(vectors))


def _angle(directions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """From two arrays of directions [M, ...] to the angles between them, in [0, pi], [...]."""
    return 2.0 * np.arctan2(
        np.sqrt(_squared_length(directions - others)), np.sqrt(_squared_length(directions + others))
    )


def _dot(samples: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """From two arrays [M, ..., N] to the product of their means, [...]."""
    return (samples.mean(-1) * reference.mean(-1)).sum(0)


def _only_where(determined: np.ndarray, estimate: Estimate) -> Estimate:
    return Estimate(*(np.where(determined, part, np.nan) for part in estimate))
