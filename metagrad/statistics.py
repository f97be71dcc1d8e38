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
    estimate = deviation(samples) if num_samples > 1 else nan
    left_out = [deviation(np.delete(samples, n, axis=1)) for n in range(num_samples)] if num_samples > 2 else [nan]
    if not np.all(np.array(left_out) > 0.0):
        return Estimate(estimate, nan, nan)
    error = np.sqrt((num_samples - 1) * np.log(left_out).var())
    factor = np.exp(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, num_samples - 1) * error)
    return Estimate(estimate, estimate / factor, estimate * factor)


def interquartile_mean(samples: np.ndarray) -> Estimate:
    """Estimates the mean of the middle half, which single good or bad seeds hardly move (Agarwal et al., 2021).

    The lowest and the highest quarter (rounded down) of the samples, float [N], are left out, and so are NaNs. The
    bootstrap interval is NaN with fewer than two samples, and the mean with none.
    """
    samples = np.asarray(samples, np.float64)
    samples = samples[np.isfinite(samples)]
    if len(samples) < 2:
        return mean(samples)
    return _bootstrap(lambda x: scipy.stats.trim_mean(x[0], 0.25, axis=-1), samples[:, None])


def probability_of_improvement(samples: np.ndarray, other: np.ndarray) -> Estimate:
    """Estimates in which fraction of pairs, in [0, 1], the first is larger, with Clopper and Pearson's exact interval.

    Both are float [N]; their n-th samples may depend on each other, as two runs of one seed do. Pairs of which one is
    NaN are left out; without any, the fraction is NaN.
    """
    differences = np.asarray(samples, np.float64) - other
    differences = differences[np.isfinite(differences)]
    return _proportion(np.sum(differences > 0.0), len(differences))


def variance(samples: np.ndarray) -> Estimate:
    """Estimates the variance of samples, float [N, ..., M], added up over the components: [...]."""
    return _bootstrap(_variance, samples)


def signal_to_noise(samples: np.ndarray) -> Estimate:
    """Estimates the signal-to-noise ratio of one of the samples, `|mean| / sqrt(variance)`, at least 0.

    Samples are float [N, ..., M], and the ratio, of the mean's norm to the standard deviation, is [...].
    """
    # A length is never below zero, and near zero the bootstrap of one misleads. So it is the mean in units of the
    # standard deviation, a vector, that is resampled: the truth lies within a ball around it.
    (signal, *_), resamples = _resample(lambda x: x.mean(-1) / np.sqrt(_variance(x)), samples)
    estimate = np.sqrt(_squared_length(signal))
    with np.errstate(invalid="ignore"):  # no variance: the interval is NaN
        distances = np.sqrt(_squared_length(resamples - signal[..., None]))
    radius = np.quantile(distances, CONFIDENCE, axis=-1)
    return Estimate(estimate, np.maximum(estimate - radius, 0.0), estimate + radius)


def bias(samples: np.ndarray, reference: np.ndarray) -> Estimate:
    """Estimates each component's bias, [..., M], with Student's t interval.

    The reference's mean is the truth; it has as many samples, float [N, ..., M], which are independent of the others.
    """
    return mean(np.asarray(samples, np.float64) - reference)


def cosine(samples: np.ndarray, reference: np.ndarray) -> Estimate:
    """Estimates the cosine, in [-1, 1], between the means of samples and of a reference.

    Args:
      samples: float [N, ..., M], N at least 2.
      reference: samples, independent of these, float [L, ..., M].

    Returns:
      The cosine and its interval, [...]; undetermined where either mean cannot be told from zero.
    """

    # An angle is a length on the sphere: as for `signal_to_noise`, the directions are resampled, and not their angle.
    def statistic(*sets: np.ndarray) -> np.ndarray:
        means = [x.mean(-1) for x in sets]
        return np.stack([vector / np.sqrt(_squared_length(vector)) for vector in means])  # NaN without a direction

    (directions, *_), resamples = _resample(statistic, samples, reference, paired=False)
    turned = _angle(np.moveaxis(resamples, 1, 0), np.moveaxis(directions, 1, 0)[..., None])
    # A resample whose mean is zero has no direction: it may point anywhere.
    radius = np.quantile(np.nan_to_num(turned, nan=np.pi).sum(0), CONFIDENCE, axis=-1)
    angle = _angle(*directions)
    interval = np.cos(np.minimum(angle + radius, np.pi)), np.cos(np.maximum(angle - radius, 0.0))
    return _only_where(distinguishable(samples) & distinguishable(reference), Estimate(np.cos(angle), *interval))


def sign_agreement(samples: np.ndarray, reference: np.ndarray) -> Estimate:
    """Estimates how often a sample has the sign of the reference's mean, with Clopper and Pearson's exact interval.

    Samples are float [N, ...], the reference's, independent of these, float [L, ...]; the sign of its mean is taken as
    known. The fraction, in [0, 1], is [...], and undetermined where the reference cannot be told from zero.
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

    def statistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product = (x.mean(-1) * y.mean(-1)).sum(0)
        return 1.0 - product**2 / (_squared_length(x).mean(-1) * _squared_length(y.mean(-1)))

    return _only_where(distinguishable(reference), _bootstrap(statistic, samples, reference, paired=False))


def variance_ratio(samples: np.ndarray, other: np.ndarray) -> Estimate:
    """Estimates the ratio of two estimators' variances on common random numbers, `Var(samples) / Var(other)`.

    Both are float [N, ..., M], and the ratio is [...]. A constant factor on an estimator changes this ratio and nothing
    else: see `noise_ratio`.
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
    """Splits the variance that uniform mixing saves into what shorter horizons and what averaging brings, [...] each.

    Gradients are float [N, n, ..., M], the horizon gradients `g_1, ..., g_n` of N windows.
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


def _resample(
    statistic: Callable[..., np.ndarray], *samples: np.ndarray, method: str = "percentile", paired: bool = True
) -> tuple[Estimate, np.ndarray]:
    """Bootstraps a statistic, from arrays [M, ..., N] to one without N, of sets of samples, float [N, ..., M] each.

    Sets that are `paired` are resampled together, which needs as many samples in each. Returns the statistic with an
    interval by scipy's `method`, and its values for each resample on a last axis.
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
        return Estimate(statistic(*data), *result.confidence_interval), result.bootstrap_distribution


def _bootstrap(statistic: Callable[..., np.ndarray], *samples: np.ndarray, paired: bool = True) -> Estimate:
    """Estimates a statistic without the axes of components and samples, with its interval."""
    method = "BCa" if max(map(len, samples)) <= LARGE else "percentile"
    return _resample(statistic, *samples, method=method, paired=paired)[0]


def _proportion(successes: np.ndarray, count: int) -> Estimate:
    """Estimates a probability from how many of `count` trials were successes, with Clopper and Pearson's interval."""
    if not count:
        return Estimate(*np.full(3, np.nan))
    tail = (1 - CONFIDENCE) / 2
    low = np.nan_to_num(scipy.stats.beta.ppf(tail, successes, count - successes + 1), nan=0.0)  # NaN without a success
    high = np.nan_to_num(scipy.stats.beta.ppf(1 - tail, successes + 1, count - successes), nan=1.0)  # or a failure
    return Estimate(successes / count, low, high)


def _variance(samples: np.ndarray) -> np.ndarray:
    """From [M, ..., N] to the trace of the covariance, [...]."""
    return samples.var(-1, ddof=1).sum(0)


def _squared_length(vectors: np.ndarray) -> np.ndarray:
    """From [M, ...] to squared lengths, [...]."""
    return (vectors**2).sum(0)


def _angle(directions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """From two arrays of directions [M, ...] to the angles between them, in [0, pi], [...]."""
    apart, together = directions - others, directions + others
    return 2.0 * np.arctan2(np.sqrt(_squared_length(apart)), np.sqrt(_squared_length(together)))


def _only_where(determined: np.ndarray, estimate: Estimate) -> Estimate:
    return Estimate(*(np.where(determined, part, np.nan) for part in estimate))
