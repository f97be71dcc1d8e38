"""The ranges that a random search draws hyperparameters from."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.config.presets import PRESETS
from experiments.config.ranges import POSITIVE, UNIT_OPEN, Range, as_computed, count, refuse
from experiments.config.settings import Config, MetaLearning, OuterLoss
from experiments.config.validation import validate

Settings = Mapping[str, np.ndarray]
"""Many settings of the hyperparameters in `SEARCHED`, float32 [settings] each."""


class Searched(NamedTuple):
    """How one hyperparameter is searched.

    Attributes:
      default: ends of the range.
      allowed: what an end may be.
      below_one: whether one minus it is drawn evenly on a logarithmic scale, or it itself.
      label: of its axis.
    """

    default: tuple[float, float]
    allowed: Range
    below_one: bool
    label: str

    @property
    def ends(self) -> Range:
        """What the two ends may be."""
        return Range(
            f"two numbers LOW,HIGH, each {self.allowed.text}, LOW at most HIGH",
            lambda ends: (
                len(ends) == 2 and ends[0] <= ends[1] and all(self.allowed.accepts(as_computed(end)) for end in ends)
            ),
        )


SEARCHED = {
    "discount": Searched((0.5, 0.999), UNIT_OPEN, True, "discount, by the logarithm of 1 − discount"),
    "lambda": Searched(
        (0.0, 0.99), Range("in [0, 1)", lambda end: 0.0 <= end < 1.0), True, "lambda, by the logarithm of 1 − lambda"
    ),
    "entropy_cost": Searched((1e-4, 1e-1), POSITIVE, False, "entropy cost"),
    "learning_rate": Searched((1e-4, 1e-2), POSITIVE, False, "learning rate"),
}

Ranges = Mapping[str, Sequence[float]]
"""The ends of the range of each hyperparameter in `SEARCHED`."""

UNUSED = (
    *(field.name for group in (MetaLearning, OuterLoss) for field in dataclasses.fields(group)),
    *("discount", "lambda_", "entropy_cost", "learning_rate"),
)
"""Settings that mean nothing here: nothing is tuned online, and some are searched."""

SEARCH_PRESETS = {
    name: {**preset, "estimator": "none", "outer_critic": False, "num_seeds": 2} for name, preset in PRESETS.items()
}
"""The presets with two seeds a setting, since steps are better spent on more settings."""

NUMBERS = {
    "num_settings": Range("in [1, 65536]", lambda value: 1 <= value <= 65_536),
    "num_fresh_seeds": count(2),
}


def sample(ranges: Ranges, num_settings: int, seed: int) -> Settings:
    """Draws settings at random, evenly on each hyperparameter's scale.

    Args:
      ranges: where.
      num_settings: how many.
      seed: the same seed gives the same settings, and more settings begin with fewer.

    Returns:
      The settings.
    """
    places = np.random.default_rng(seed).uniform(size=(num_settings, len(SEARCHED)))
    settings = {}
    for place, (name, searched) in zip(places.T, SEARCHED.items(), strict=True):
        low, high = ranges[name]
        value = 1.0 - _between(place, 1.0 - low, 1.0 - high) if searched.below_one else _between(place, low, high)
        settings[name] = np.clip(value, low, high).astype(np.float32)
    return settings


def _between(place: np.ndarray, start: float, end: float) -> np.ndarray:
    """Maps places in [0, 1] to the logarithmic scale between two positive numbers."""
    return start * (end / start) ** place


def validate_search(config: Config, ranges: Ranges, num_settings: int, num_fresh_seeds: int) -> None:
    """Refuses an impossible search.

    Raises:
      UsageError: names the argument, its value and what is allowed.
    """
    validate(config)
    for name, value in (("num_settings", num_settings), ("num_fresh_seeds", num_fresh_seeds)):
        if not NUMBERS[name].accepts(value):
            refuse(name, value, NUMBERS[name].text)
    for name, searched in SEARCHED.items():
        if not searched.ends.accepts(ranges[name]):
            refuse(f"{name}_range", list(map(str, ranges[name])), searched.ends.text)
    if config.seed + config.num_seeds * num_settings + num_fresh_seeds > 2**31:
        refuse("seed", config.seed, "at most 2^31 - `num_seeds` × `num_settings` - `num_fresh_seeds`")
