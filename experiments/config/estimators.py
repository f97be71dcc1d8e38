"""Estimators by the names that `--estimator` knows them by."""

import functools

import numpy as np

from experiments.config import own_code
from metagrad import estimators
from metagrad.estimators import Estimator

BUILT_IN = ("none", "single_step", "multi_step", "mixing")

NAMES = f"one of {', '.join(BUILT_IN)}, or PACKAGE.MODULE:FACTORY, which returns an estimator for a horizon"


def make(name: str, horizon: int, decay: float = 1.0) -> Estimator | None:
    """Makes an estimator.

    Args:
      name: one of `BUILT_IN`, or `package.module:factory`, where the factory is called with the horizon.
      horizon: of multi-step and mixing.
      decay: of mixing.

    Returns:
      The estimator; None for `none`.

    Raises:
      ValueError: says in one sentence why there is no such estimator.
    """
    if name == "none":
        return None
    if name == "single_step":
        return estimators.from_weights(estimators.single_step())
    if name == "multi_step":
        return estimators.from_weights(estimators.multi_step(horizon))
    if name == "mixing":
        return estimators.from_weights(estimators.mixing(horizon, decay))
    return own(name, horizon)


@functools.cache
def own(name: str, horizon: int) -> Estimator:
    """Makes an estimator that is the user's code, as `make` does."""
    made = own_code.call(name, NAMES, horizon)
    if not isinstance(made, Estimator):
        raise ValueError(f"must be {NAMES}; {name} returned {made!r}")
    for what in ("updates", "rollouts"):
        number = getattr(made, what)
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"must be {NAMES}; that of {name} has {what} of {number!r}, not a positive whole number")
    return made
