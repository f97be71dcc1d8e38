"""Estimators by the names that `--estimator` knows them by.

A new one is a name in `BUILT_IN`, a case in `make`, a colour in `figures.styles`, and for its arguments a setting each.
"""

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.config import own_code
from metagrad import bootstrapped, estimators, evolution_strategies, sampling_corrected
from metagrad.estimators import Estimator

if TYPE_CHECKING:
    from experiments.config.settings import Config

BUILT_IN = (
    *("none", "single_step", "multi_step", "mixing"),
    *("bootstrapped", "corrected_multi_step", "corrected_mixing", "evolution_strategies"),
)

WEIGHTED = BUILT_IN[1:4]
"""Those that are weighted sums of the horizons' gradients."""

NAMES = f"one of {', '.join(BUILT_IN)}, or PACKAGE.MODULE:FACTORY, which returns an estimator for a horizon"


class Named(NamedTuple):
    """An estimator of a list, with what its name says besides; None where it says nothing.

    Attributes:
      name: one of `BUILT_IN`, or `package.module:factory`.
      horizon: of `mixing_10` or `bootstrapped_10+5`, 10; a colon may stand in place of the last line.
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
    match = re.fullmatch(r"([a-z_]+)[_:](\d{1,9})(?:\+(\d{1,9}))?", text)
    if match and match[1] in BUILT_IN[2:] and bool(match[3]) == (match[1] == "bootstrapped"):
        return Named(match[1], int(match[2]), int(match[3]) if match[3] else None)
    return Named(text) if text in BUILT_IN or own_code.is_own_code(text) else None


@functools.cache
def make(config: "Config") -> Estimator | None:
    """Makes the estimator of some settings; None for `none`.

    Raises:
      ValueError: says in one sentence why there is no such estimator.
    """
    horizon, decay = config.horizon, config.mixing_decay if config.mixing_weights == "geometric" else 1.0
    match config.estimator:
        case "none":
            return None
        case "single_step":
            return estimators.from_weights(estimators.single_step())
        case "multi_step":
            return estimators.from_weights(estimators.multi_step(horizon))
        case "mixing":
            return estimators.from_weights(estimators.mixing(horizon, decay))
        case "bootstrapped":
            return bootstrapped(horizon, config.bootstrap_updates)
        case "corrected_multi_step":
            return sampling_corrected(estimators.multi_step(horizon), config.sampling_correction)
        case "corrected_mixing":
            return sampling_corrected(estimators.mixing(horizon, decay), config.sampling_correction)
        case "evolution_strategies":
            return evolution_strategies(horizon, config.evolution_scale, config.evolution_pairs)
    return own(config.estimator, horizon)


def own(name: str, horizon: int) -> Estimator:
    """Makes an estimator that is the user's code, by calling its factory with the horizon; raises as `make` does."""
    made = own_code.call(name, NAMES, horizon)
    if not isinstance(made, Estimator):
        raise ValueError(f"must be {NAMES}; {name} returned {made!r}")
    for what in ("updates", "rollouts"):
        number = getattr(made, what)
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"must be {NAMES}; that of {name} has {what} of {number!r}, not a positive whole number")
    return made
