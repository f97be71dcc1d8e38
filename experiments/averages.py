"""Means over training of what is logged at points, which are not evenly spaced in a run that was made longer."""

import numpy as np

from metagrad import statistics


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

    Args:
      env_steps: float [points], environment steps of one seed up to each logging point.
      values: float [points, seeds], of what happened since the point before; NaN where nothing was measured.

    Returns:
      The mean, float [seeds], in which each point counts for the steps since the one before, and those where nothing
      was measured for none; NaN where nothing ever was.
    """
    steps = np.diff(env_steps, prepend=0.0)[:, None] * ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.nansum(steps * values, axis=0) / steps.sum(axis=0)
