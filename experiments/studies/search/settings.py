"""What is searched, where, and the command's flags."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from experiments.config import flags as commands
from experiments.config import settings as config_lib
from experiments.config.ranges import count
from experiments.config.settings import POSITIVE, PRESETS, UNIT_OPEN, Config, Range, as_computed, refuse

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


SEARCHED = {
    "discount": Searched((0.5, 0.999), UNIT_OPEN, True, "discount, by the logarithm of 1 − discount"),
    "lambda": Searched(
        (0.0, 0.99), Range("in [0, 1)", lambda end: 0.0 <= end < 1.0), True, "lambda, by the logarithm of 1 − lambda"
    ),
    "entropy_cost": Searched((1e-4, 1e-1), POSITIVE, False, "entropy cost"),
    "learning_rate": Searched((1e-4, 1e-2), POSITIVE, False, "learning rate"),
}

UNUSED = (
    *("estimator", "horizon", "mixing_weights", "mixing_decay", "meta_params"),
    *("meta_learning_rate", "meta_learning_rate_halving", "exact_targets"),
    *("meta_gradient_clip", "outer_discount", "outer_lambda", "outer_critic", "outer_value_cost", "outer_entropy_cost"),
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


def sample(ranges: Mapping[str, tuple[float, float]], num_settings: int, seed: int) -> Settings:
    """Draws settings at random, evenly on each hyperparameter's scale.

    Args:
      ranges: the ends, for each name in `SEARCHED`.
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


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = commands.define_flags(SEARCH_PRESETS, UNUSED)
    values["logdir"].help += ", or that of the same search, to go on from its last checkpoint"
    values["num_seeds"].help = "seeds that each setting is trained with; at least 1 and below 2^31"
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is searched"}
    flags.DEFINE_integer("num_settings", 32, f"settings that are drawn; {NUMBERS['num_settings'].text}", **where)
    flags.DEFINE_integer(
        "num_fresh_seeds",
        8,
        "seeds, after those of the search, that the best setting is trained with anew; "
        f"{NUMBERS['num_fresh_seeds'].text}",
        **where,
    )
    for name, searched in SEARCHED.items():
        scale = f"evenly in the logarithm of {f'1 - {name}' if searched.below_one else 'it'}"
        flags.DEFINE_list(
            f"{name}_range",
            list(map(str, searched.default)),
            f"range that {name} is drawn from, {scale}; {_ends(searched)}",
            **where,
        )
    return values


def _ends(searched: Searched) -> str:
    return f"two numbers LOW,HIGH, each {searched.allowed.text}, LOW at most HIGH"


def ranges_from_flags(values: flags.FlagValues) -> dict[str, tuple[float, float]]:
    """Returns the ends of every hyperparameter's range.

    Raises:
      UsageError: if they are no such numbers.
    """
    ranges = {}
    for name, searched in SEARCHED.items():
        given = values[f"{name}_range"].value or []
        try:
            low, high = map(float, given)
            fits = _fit(searched, low, high)
        except ValueError:
            fits = False
        if not fits:
            refuse(f"{name}_range", given, _ends(searched))
        ranges[name] = low, high
    return ranges


def _fit(searched: Searched, low: float, high: float) -> bool:
    """Returns whether two numbers are the ends of a range."""
    return low <= high and all(searched.allowed.accepts(as_computed(end)) for end in (low, high))


def validate(
    config: Config, ranges: Mapping[str, tuple[float, float]], num_settings: int, num_fresh_seeds: int
) -> None:
    """Refuses an impossible search.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    config_lib.validate(config)
    for name, value in (("num_settings", num_settings), ("num_fresh_seeds", num_fresh_seeds)):
        if not NUMBERS[name].accepts(value):
            refuse(name, value, NUMBERS[name].text)
    for name, searched in SEARCHED.items():
        if not _fit(searched, *ranges[name]):
            refuse(f"{name}_range", list(map(str, ranges[name])), _ends(searched))
    if config.seed + config.num_seeds + num_fresh_seeds > 2**31:
        refuse("seed", config.seed, "at most 2^31 - `num_seeds` - `num_fresh_seeds`")
