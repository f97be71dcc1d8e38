"""Holds the estimators against the gradient of the true return: does their mean have its sign, and its direction?

The truth after n updates is `d/d eta J(theta_n(eta))`, with everything that the estimators hold constant (see
`metagrad.evolution`): sampled, it is that of the return smoothed over eta by the perturbation, of episodes that are cut
after very many steps. At each horizon n where it was taken, multi-step(n) and mixing(n) are compared with it, by every
critic. All gradients point downhill, those of a loss or of minus the return.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.figures.tables import as_json
from experiments.studies.variance.analysis import TOTAL, Json, each, named, turned
from metagrad import estimators, statistics
from metagrad.statistics import Estimate

RIGHT, WRONG, UNCLEAR, UNKNOWN = "right", "wrong", "unclear", "unknown"
"""An estimator's mean has the truth's sign, or the other; cannot be told from zero; or the truth cannot."""


def describe(
    windows: Mapping[str, np.ndarray], lifetimes: np.ndarray, horizons: Sequence[int], names: Sequence[str]
) -> list[Json]:
    """Compares the estimators' means with the truth at one point.

    Args:
      windows: by each critic, the horizon gradients of N windows, float [N, n, M].
      lifetimes: float [L, H, M], samples whose mean is minus the true return's gradient.
      horizons: the H numbers of updates.
      names: of the M meta-parameters.

    Returns:
      The part `truth` of `variance.json`: at each horizon the truth by meta-parameter, and by critic and estimator the
      `sign` of each mean and the `cosine`.
    """
    entries = []
    for horizon, truth in zip(horizons, lifetimes.swapaxes(0, 1), strict=True):
        weights = {"multi_step": estimators.multi_step(horizon), "mixing": estimators.mixing(horizon)}
        if horizon == 1:
            weights = {"single_step": estimators.single_step()}
        critics = {
            critic: {
                name: _compare(np.tensordot(gradients[:, :horizon], one, (1, 0)), truth, names)
                for name, one in weights.items()
            }
            for critic, gradients in windows.items()
        }
        entries.append({"horizon": horizon, "truth": named(names, statistics.mean(truth)), "critics": critics})
    return entries


def describe_lifetimes(samples: np.ndarray, names: Sequence[str]) -> Json:
    """Describes a pair of lifetimes as an estimator of its own, samples [L, M]."""
    labels = [*names, TOTAL]
    return turned(
        {
            "mean": named(names, statistics.mean(samples)),
            "variance": named(labels, each(statistics.variance, samples)),
            "snr": named(labels, each(statistics.signal_to_noise, samples)),
        }
    )


def _compare(samples: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> Json:
    """Compares the means of samples, float [N, M], and of the truth's, float [L, M]."""
    mean = statistics.mean(samples)
    return turned(
        {
            "mean": named(names, mean),
            "sign": dict(zip(names, verdicts(mean, statistics.mean(truth)), strict=True)),
            "sign_agreement": named(names, statistics.sign_agreement(samples, truth)),
            "cosine": {TOTAL: as_json(statistics.cosine(samples, truth))},
        }
    )


def verdicts(mean: Estimate, truth: Estimate) -> list[str]:
    """Tells of each mean whether it has the truth's sign, as far as the intervals of both, [M], leave out zero."""
    sign, true_sign = (
        np.where((one.low > 0.0) | (one.high < 0.0), np.sign(one.estimate), 0.0) for one in (mean, truth)
    )
    conditions = [true_sign == 0.0, sign == 0.0, sign == true_sign]
    return np.select(conditions, [UNKNOWN, UNCLEAR, RIGHT], WRONG).tolist()
