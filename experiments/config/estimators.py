"""Estimators by the names that `--estimator` knows them by."""

import functools
import re
from typing import NamedTuple

import numpy as np

from experiments.config import own_code
from metagrad import estimators
from metagrad.bootstrapped import bootstrapped
from metagrad.estimators import Estimator

BUILT_IN = ("none", "single_step", "multi_step", "mixing", "bootstrapped")

WEIGHTED = BUILT_IN[1:4]
"""Those that are weighted sums of the horizons' gradients."""

NAMES = f"one of {', '.join(BUILT_IN)}, or PACKAGE.MODULE:FACTORY, which returns an estimator for a horizon"


class Named(NamedTuple):
    """An estimator of a list, with what its name says besides; None where it says nothing.

    Attributes:
      name: one of `BUILT_IN`, or `package.module:factory`.
      horizon: of `mixing_10`, `multi_step_10` or `bootstrapped_10+5`, 10; a colon may stand in place of the last line.
      further: of the latter, 5.
    """

    name: str
    horizon: int | None = None
    further: int | None = None

    @property
    def title(self) -> str:
        """What results and folders call it."""
        said = [str(number) for number in self[1:] if number is not None]
        return f"{self.name}_{'+'.join(said)}" if said else self.name.rpartition(":")[2]


def named(text: str) -> Named | None:
    """Reads an estimator of a list; None if it is none."""
    match = re.fullmatch(r"(multi_step|mixing)[_:](\d{1,9})|(bootstrapped)[_:](\d{1,9})\+(\d{1,9})", text)
    if match:
        weighted, horizon, name, updates, further = match.groups()
        return Named(weighted, int(horizon)) if weighted else Named(name, int(updates), int(further))
    return Named(text) if text in BUILT_IN or own_code.is_own_code(text) else None


def make(name: str, horizon: int, decay: float = 1.0, further: int = 0) -> Estimator | None:
    """Makes an estimator.

    Args:
      name: one of `BUILT_IN`, or `package.module:factory`, where the factory is called with the horizon.
      horizon: of all but single-step.
      decay: of mixing.
      further: updates of bootstrapped that move the target ahead.

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
    if name == "bootstrapped":
        return bootstrapped(horizon, further)
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
