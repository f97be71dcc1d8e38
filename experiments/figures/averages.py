"""Means of what is logged: over seeds, and over training, whose points are not evenly spaced in a run made longer."""

from collections.abc import Mapping

import numpy as np
import scipy.special

from agents.hyperparameters import BIJECTIONS
from metagrad import statistics
from metagrad.hyperparameters import UNIT

UNBOUNDED = {
    "linear": (np.asarray, np.asarray),
    "log": (np.log, np.exp),
    "logit": (scipy.special.logit, scipy.special.expit),
}
"""To the real numbers and back, by the scale of an axis."""


def scale_of(column: str) -> str:
    """Returns the scale on which a column of the metrics is unbounded: log-odds or logarithms for hyperparameters."""
    kind, _, name = column.partition("/")
    if kind != "hyper" or name not in BIJECTIONS:
        return "linear"
    return "logit" if BIJECTIONS[name] is UNIT else "log"


def over_seeds(column: str, values: np.ndarray) -> statistics.Estimate:
    """Estimates the mean over seeds with Student's t interval, neither of which leaves the column's range.

    Args:
      column: what it is, as in `metrics.csv`.
      values: float [..., seeds]; NaNs are left out.

    Returns:
      The mean on the column's scale and its interval, [...]; NaN as `statistics.mean` has it.
    """
    there, back = UNBOUNDED[scale_of(column)]
    with np.errstate(divide="ignore"):  # a cost of zero, which nothing tunes
        mean = statistics.mean(there(np.moveaxis(np.asarray(values, np.float64), -1, 0)))
    return statistics.Estimate(*map(back, mean))


def over_last_tenth(env_steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns each seed's mean over the last tenth of training.

    Args:
      env_steps: float [points], environment steps of one seed up to each logging point.
      values: float [points, ...], of what happened since the point before; NaN where nothing was measured.

    Returns:
      The mean over the points that began in the last tenth, at least over the last one, float [...]; NaN where nothing
      was measured in them.
    """
    starts = np.concatenate([[0.0], env_steps[:-1]])
    last_tenth = starts >= min(0.9 * env_steps[-1], starts[-1])
    return statistics.mean(values[last_tenth]).estimate


def over_training(env_steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns each seed's mean over all of training: the area under its curve over its length.

    Arguments and result are those of `over_last_tenth`; each point counts for the steps since the one before.
    """
    steps = np.diff(env_steps, prepend=0.0)[:, None] * ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.nansum(steps * values, axis=0) / steps.sum(axis=0)


def final(metrics: Mapping[str, np.ndarray], column: str) -> statistics.Estimate:
    """Estimates a column's mean over seeds of each seed's mean over the last tenth of training."""
    return over_seeds(column, over_last_tenth(metrics["env_steps"][:, 0], metrics[column]))
