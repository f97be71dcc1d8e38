"""Holds the estimators against the gradient of the true return: does their mean have its sign, and its direction?

The truth after n updates is `d/d eta J(theta_n(eta))`, with everything that the estimators hold constant (see
`metagrad.evolution`): sampled, it is that of the return smoothed over eta by the perturbation, of episodes that are cut
after very many steps. At each horizon n where it was taken, multi-step(n) and mixing(n) are compared with it, by every
critic. All gradients point downhill, those of a loss or of minus the return.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.figures.tables import as_json
from experiments.studies.variance.analysis import TOTAL, Json
from metagrad import estimators, statistics
from metagrad.statistics import Estimate

RIGHT, WRONG, UNCLEAR, UNKNOWN = "right", "wrong", "unclear", "unknown"
"""An estimator's mean has the truth's sign, or the other; cannot be told from zero; or the truth cannot."""


def describe(
    windows: Mapping[str, np.ndarray], lifetimes: np.ndarray, horizons: Sequence[int], names: Sequence[str]
) -> Json:
    """Compares the estimators' means with the truth at one point.

    Args:
      windows: by each critic, the horizon gradients of N windows, float [N, n, M].
      lifetimes: float [L, H, M], samples whose mean is minus the true return's gradient.
      horizons: the H numbers of updates, the longest last.
      names: of the M meta-parameters.

    Returns:
      Parts of `variance.json`: `reference`, the truth at the longest horizon; `num_lifetimes`; `evolution`, a pair of
      lifetimes as an estimator of its own; and `truth`, at each horizon the truth by meta-parameter, and by critic and
      estimator the `sign` of each mean and the `cosine`.
    """
    truths = [_by_name(statistics.mean(lifetimes[:, place]), names) for place in range(len(horizons))]
    entries = []
    for place, horizon in enumerate(horizons):
        truth = lifetimes[:, place]
        weights = {"multi_step": estimators.multi_step(horizon), "mixing": estimators.mixing(horizon)}
        if horizon == 1:
            weights = {"single_step": estimators.single_step()}
        entries.append(
            {
                "horizon": horizon,
                "truth": truths[place],
                "critics": {
                    critic: {
                        name: _compare(np.tensordot(gradients[:, :horizon], one, (1, 0)), truth, names)
                        for name, one in weights.items()
                    }
                    for critic, gradients in windows.items()
                },
            }
        )
    return {
        "reference": truths[-1],
        "num_lifetimes": len(lifetimes),
        "evolution": _describe_samples(lifetimes[:, -1], names),
        "truth": entries,
    }


def _describe_samples(samples: np.ndarray, names: Sequence[str]) -> Json:
    """Describes an estimator that is compared with nothing, samples [L, M]."""
    return {
        **{
            name: {
                "mean": as_json(_pick(statistics.mean(samples), place)),
                "variance": as_json(statistics.variance(samples[:, [place]])),
                "snr": as_json(statistics.signal_to_noise(samples[:, [place]])),
            }
            for place, name in enumerate(names)
        },
        TOTAL: {
            "variance": as_json(statistics.variance(samples)),
            "snr": as_json(statistics.signal_to_noise(samples)),
        },
    }


def _compare(samples: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> Json:
    """Compares the means of samples, float [N, M], and of the truth's, float [L, M]."""
    signs, true_signs = _signs(statistics.mean(samples)), _signs(statistics.mean(truth))
    agreement = statistics.sign_agreement(samples, truth)
    return {
        **{
            name: {
                "mean": as_json(_pick(statistics.mean(samples), place)),
                "sign": _verdict(signs[place], true_signs[place]),
                "sign_agreement": as_json(_pick(agreement, place)),
            }
            for place, name in enumerate(names)
        },
        TOTAL: {"cosine": as_json(statistics.cosine(samples, truth))},
    }


def _signs(mean: Estimate) -> np.ndarray:
    """Returns the sign of each mean whose interval leaves out zero, and else zero."""
    outside = (mean.low > 0.0) | (mean.high < 0.0)
    return np.where(outside, np.sign(mean.estimate), 0.0)


def _verdict(sign: float, true_sign: float) -> str:
    if true_sign == 0.0:
        return UNKNOWN
    if sign == 0.0:
        return UNCLEAR
    return RIGHT if sign == true_sign else WRONG


def _by_name(estimate: Estimate, names: Sequence[str]) -> dict[str, Json]:
    return {name: as_json(_pick(estimate, place)) for place, name in enumerate(names)}


def _pick(estimate: Estimate, place: int) -> Estimate:
    return Estimate(*(part[place] for part in estimate))
