"""Makes the numbers of `variance.json` from samples of horizon gradients: a pure function of arrays.

Every estimator is a weighted sum of the horizons' gradients, so all are compared on the same windows. Their
expectations are compared with a reference: the gradient of the true return, or the expectation of the multi-step
estimator at the longest horizon; its exact limit for many environments where that is known, and else its mean over the
other half of the windows, whose noise is independent.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.figures.tables import as_json
from metagrad import estimators, statistics
from metagrad.estimators import Weights
from metagrad.statistics import Estimate

DECAYS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Ratios of consecutive weights of the mixing estimators whose bias and variance are compared; 1 is uniform."""

TOTAL = "total"
"""Stands for all meta-parameters together: the gradient as one vector."""

CURVES = ("mixing_decays", "by_horizon")
"""The parts of an analysis that are more than a summary."""

Json = dict[str, Any]


def analyse(
    gradients: np.ndarray, names: Sequence[str], reference: np.ndarray | None, in_same_units: bool = True
) -> Json:
    """Compares the estimators at one point.

    Args:
      gradients: float [N, n, M], the horizon gradients of N windows; n at least 2.
      names: of the M meta-parameters.
      reference: float [L, M], independent samples whose mean is what the estimators are compared with; without them, it
        is the multi-step estimator at horizon n, by half of the windows.
      in_same_units: whether the reference is a gradient of the outer loss, so that an estimator has a bias to it. A
        return has another scale, and only directions can be compared.

    Returns:
      What `variance.json` holds of a point: at horizon n, `estimators`, `variance_ratio`, `noise_ratio` and
      `mixing_reduction`; `by_horizon`, the same two estimators and ratios at every horizon; and `mixing_decays`.
    """
    horizons = range(1, gradients.shape[1] + 1)
    longest = horizons[-1]
    weights: dict[tuple[str, float], Weights] = {
        **{("multi_step", horizon): estimators.multi_step(horizon) for horizon in horizons},
        **{("mixing", horizon): estimators.mixing(horizon) for horizon in horizons},
        **{("decay", decay): estimators.mixing(longest, decay) for decay in DECAYS},
    }
    samples = {key: np.tensordot(gradients[:, : len(one)], one, (1, 0)) for key, one in weights.items()}
    descriptions = _describe(
        np.stack(list(samples.values()), axis=1), gradients[:, -1], names, reference, in_same_units
    )
    described = dict(zip(samples, descriptions, strict=True))
    pairs = [np.stack([samples[name, horizon] for horizon in horizons], 1) for name in ("multi_step", "mixing")]
    variance_ratios = _by_name(statistics.variance_ratio, names, *pairs)
    noise_ratios = _by_name(statistics.noise_ratio, names, *pairs)
    by_horizon = [
        {
            "horizon": horizon,
            "estimators": {name: described[name, horizon] for name in ("multi_step", "mixing")},
            "variance_ratio": variance_ratios[horizon - 1],
            "noise_ratio": noise_ratios[horizon - 1],
        }
        for horizon in horizons
    ]
    return {
        "estimators": {
            "single_step": described["multi_step", 1],
            "multi_step": described["multi_step", longest],
            "mixing": described["mixing", longest],
        },
        "variance_ratio": variance_ratios[-1],
        "noise_ratio": noise_ratios[-1],
        "mixing_reduction": _mixing_reduction(gradients, names),
        "mixing_decays": [{"decay": decay, **described["decay", decay]} for decay in DECAYS],
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
    single = {
        "mean": statistics.mean(samples),
        **({"bias": statistics.bias(compared, truth)} if in_same_units else {}),
        "sign_agreement": statistics.sign_agreement(compared, truth),
    }
    both = {
        "variance": _by_name(statistics.variance, names, samples),
        "snr": _by_name(statistics.signal_to_noise, names, samples),
        "scaled_error": _by_name(statistics.scaled_error, names, compared, truth),
    }
    cosine = statistics.cosine(compared, truth)
    return [
        {
            **{
                name: {
                    **{statistic: as_json(_pick(values, (index, place))) for statistic, values in single.items()},
                    **{statistic: columns[index][name] for statistic, columns in both.items()},
                }
                for place, name in enumerate(names)
            },
            TOTAL: {
                **{statistic: columns[index][TOTAL] for statistic, columns in both.items()},
                "cosine": as_json(_pick(cosine, index)),
            },
        }
        for index in range(samples.shape[1])
    ]


def _mixing_reduction(gradients: np.ndarray, names: Sequence[str]) -> Json:
    single = statistics.reduction_by_mixing(gradients[..., None])
    together = statistics.reduction_by_mixing(gradients)
    return {
        **{
            name: {part: as_json(_pick(getattr(single, part), place)) for part in statistics.Reduction._fields}
            for place, name in enumerate(names)
        },
        TOTAL: {part: as_json(getattr(together, part)) for part in statistics.Reduction._fields},
    }


def _by_name(statistic: Callable[..., Estimate], names: Sequence[str], *samples: np.ndarray) -> list[Json]:
    """Computes a statistic of E estimators, samples [N, E, M], for each meta-parameter and for all together."""
    single = statistic(*(array[..., None] for array in samples))
    together = statistic(*samples)
    return [
        {
            **{name: as_json(_pick(single, (index, place))) for place, name in enumerate(names)},
            TOTAL: as_json(_pick(together, index)),
        }
        for index in range(samples[0].shape[1])
    ]


def _pick(estimate: Estimate, index: Any) -> Estimate:
    return Estimate(*(part[index] for part in estimate))
