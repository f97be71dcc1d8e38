"""Makes the numbers of `variance.json` from samples of horizon gradients: pure functions of arrays.

Every estimator is a weighted sum of the horizons' gradients, so all are compared on the same windows. Their
expectations are compared with a reference: the gradient of the true return, or the expectation of the multi-step
estimator at the longest horizon; its exact limit for many environments where that is known, and else its mean over the
other half of the windows, whose noise is independent.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.figures.tables import as_json
from metagrad import estimators, statistics
from metagrad.statistics import Estimate

DECAYS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Ratios of consecutive weights of the mixing estimators whose bias and variance are compared; 1 is uniform."""

TOTAL = "total"
"""Stands for all meta-parameters together: the gradient as one vector."""

Json = dict[str, Any]


NONE: Mapping[str, np.ndarray] = {}


def analyse(
    gradients: np.ndarray,
    names: Sequence[str],
    reference: np.ndarray | None,
    in_same_units: bool = True,
    own: Mapping[str, np.ndarray] = NONE,
) -> Json:
    """Compares the estimators at one point.

    Args:
      gradients: float [N, n, M], the horizon gradients of N windows; n at least 2.
      names: of the M meta-parameters.
      reference: float [L, M], independent samples whose mean is what the estimators are compared with; without them, it
        is the multi-step estimator at horizon n, by half of the windows.
      in_same_units: whether the reference is a gradient of the outer loss, so that an estimator has a bias to it. A
        return has another scale, and only directions can be compared.
      own: float [N, M] each, what other estimators have in the same windows.

    Returns:
      What `variance.json` holds of a point: at horizon n, `estimators`, `variance_ratio`, `noise_ratio` and
      `mixing_reduction`; `by_horizon`, the same two estimators and ratios at every horizon; and `mixing_decays`.
    """
    horizons = range(1, gradients.shape[1] + 1)
    labels = [*names, TOTAL]
    weights = [
        *map(estimators.multi_step, horizons),
        *map(estimators.mixing, horizons),
        *(estimators.mixing(horizons[-1], decay) for decay in DECAYS),
    ]
    weighted = [np.tensordot(gradients[:, : len(one)], one, (1, 0)) for one in weights]
    samples = np.stack([*weighted, *own.values()], axis=1)
    ends = len(horizons), 2 * len(horizons), len(weights)
    multi_step, mixing, decaying, others = np.split(np.arange(samples.shape[1]), ends)
    described = _describe(samples, gradients[:, -1], names, reference, in_same_units)
    pair = samples[:, multi_step], samples[:, mixing]
    variance_ratios = named(labels, each(statistics.variance_ratio, *pair))
    noise_ratios = named(labels, each(statistics.noise_ratio, *pair))
    by_horizon = [
        {
            "horizon": horizon,
            "estimators": {"multi_step": described[multi_step[place]], "mixing": described[mixing[place]]},
            "variance_ratio": variance_ratios[place],
            "noise_ratio": noise_ratios[place],
        }
        for place, horizon in enumerate(horizons)
    ]
    return {
        "estimators": {
            "single_step": described[multi_step[0]],
            **by_horizon[-1]["estimators"],
            **{name: described[place] for name, place in zip(own, others, strict=True)},
        },
        "variance_ratio": variance_ratios[-1],
        "noise_ratio": noise_ratios[-1],
        "mixing_reduction": reduction(gradients, names),
        "mixing_decays": [{"decay": decay, **described[place]} for decay, place in zip(DECAYS, decaying, strict=True)],
        "by_horizon": by_horizon,
    }


def _describe(
    samples: np.ndarray,
    last_horizon: np.ndarray,
    names: Sequence[str],
    reference: np.ndarray | None,
    in_same_units: bool,
) -> list[Json]:
    """Describes E estimators, samples [N, E, M], one by one."""
    compared = samples
    if reference is None:
        half = len(samples) // 2
        compared, reference = samples[0::2][:half], last_horizon[1::2]
    truth = np.broadcast_to(reference[:, None], (len(reference), *samples.shape[1:]))
    labels = [*names, TOTAL]
    columns = {
        "mean": named(names, statistics.mean(samples)),
        "bias": named(names, statistics.bias(compared, truth)) if in_same_units else None,
        "sign_agreement": named(names, statistics.sign_agreement(compared, truth)),
        "variance": named(labels, each(statistics.variance, samples)),
        "snr": named(labels, each(statistics.signal_to_noise, samples)),
        "scaled_error": named(labels, each(statistics.scaled_error, compared, truth)),
        "cosine": [{TOTAL: as_json(Estimate(*one))} for one in zip(*statistics.cosine(compared, truth), strict=True)],
    }
    return [
        turned({statistic: column[index] for statistic, column in columns.items() if column})
        for index in range(samples.shape[1])
    ]


def reduction(gradients: np.ndarray, names: Sequence[str]) -> Json:
    """Returns, by meta-parameter and for all, the two factors of `statistics.Reduction`; gradients [N, n, M]."""
    components, whole = (statistics.reduction_by_mixing(one) for one in (gradients[..., None], gradients))
    factors = zip(statistics.Reduction._fields, components, whole, strict=True)
    return turned({factor: named([*names, TOTAL], _joined(parts, all_)) for factor, parts, all_ in factors})


def each(statistic: Callable[..., Estimate], *samples: np.ndarray) -> Estimate:
    """Computes a statistic of vectors, samples [N, ..., M], for each component, then for the vector: [..., M + 1]."""
    return _joined(statistic(*(array[..., None] for array in samples)), statistic(*samples))


def _joined(components: Estimate, whole: Estimate) -> Estimate:
    return Estimate(*(np.append(parts, one[..., None], -1) for parts, one in zip(components, whole, strict=True)))


def named(labels: Sequence[str], estimate: Estimate) -> Any:
    """Returns, for JSON, what lies on an estimate's last axis by its label; a list of that for each axis before it."""
    if estimate.estimate.ndim > 1:
        return [named(labels, Estimate(*parts)) for parts in zip(*estimate, strict=True)]
    return {label: as_json(Estimate(*one)) for label, *one in zip(labels, *estimate, strict=True)}


def turned(columns: Mapping[str, Json]) -> Json:
    """Returns by label, and then by column, what columns have by label."""
    rows: Json = {}
    for name, column in columns.items():
        for label, value in column.items():
            rows.setdefault(label, {})[name] = value
    return rows
