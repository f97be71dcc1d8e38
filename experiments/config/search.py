"""What a search is asked for: its method, and the ranges that hyperparameters are taken from."""

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.config.presets import PRESETS
from experiments.config.ranges import POSITIVE, UNIT_OPEN, Range, UsageError, as_computed, count, one_of, refuse
from experiments.config.settings import Config, MetaLearning, OuterLoss, plain
from experiments.config.validation import validate

Settings = Mapping[str, np.ndarray]
"""Many settings of the hyperparameters in `SEARCHED`, float32 [settings] each."""


class Searched(NamedTuple):
    """How one hyperparameter is searched.

    Attributes:
      default: ends of the range.
      allowed: what an end may be.
      below_one: whether its natural scale is that of one minus it, or its own; it is drawn evenly in the logarithm of
        that, and perturbed by factors of that.
      label: of its axis.
    """

    default: tuple[float, float]
    allowed: Range
    below_one: bool
    label: str

    def natural(self, value: Any) -> Any:
        """Maps values, or numbers, to their natural scale, and numbers on it back to values."""
        return 1.0 - value if self.below_one else value

    def values(self, numbers: np.ndarray, ends: Sequence[float]) -> np.ndarray:
        """Maps numbers on the natural scale, of whatever size, to values within the ends of a range, float32."""
        return np.asarray(self.natural(numbers)).clip(ends[0], ends[1]).astype(np.float32)

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

METHODS = ("random", "tpe", "pbt")


class Method(NamedTuple):
    """How settings are searched for.

    Attributes:
      name: one of `METHODS`: at random; by the tree-structured Parzen estimator (TPE; Bergstra et al., 2011); by
        population-based training (PBT; Jaderberg et al., 2017).
      batch_size: of TPE, settings that are trained at once; 0 for a quarter of them, rounded up.
      exploit_every: of PBT, environment steps of a member from one exploitation to the next, in effect up to the next
        logging point; 0 for a tenth of training.
    """

    name: str = "random"
    batch_size: int = 0
    exploit_every: int = 0

    def complete(self, config: Config, num_settings: int) -> "Method":
        """Returns the method with numbers in place of those zeros that mean something."""
        if self.name == "tpe":
            return self._replace(batch_size=plain(self.batch_size) or -(-num_settings // 4))
        if self.name == "pbt":
            return self._replace(exploit_every=plain(self.exploit_every) or -(-config.num_env_steps // 10))
        return self


RANDOM = Method()


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
        numbers = _between(place, searched.natural(low), searched.natural(high))
        settings[name] = searched.values(numbers, (low, high))
    return settings


def _between(place: np.ndarray, start: float, end: float) -> np.ndarray:
    """Maps places in [0, 1] to the logarithmic scale between two positive numbers."""
    return start * (end / start) ** place


def validate_search(
    config: Config, ranges: Ranges, num_settings: int, num_fresh_seeds: int, method: Method = RANDOM
) -> None:
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
    _validate_method(config, num_settings, method)


def _validate_method(config: Config, num_settings: int, method: Method) -> None:
    """Refuses an impossible method, as `validate_search` does."""
    if method.name not in METHODS:
        refuse("method", method.name, one_of(METHODS).text)
    for name, value, theirs in (
        ("batch_size", method.batch_size, "tpe"),
        ("exploit_every", method.exploit_every, "pbt"),
    ):
        if value and method.name != theirs:
            refuse(name, value, f"left out with `method`={method.name}")
    complete = method.complete(config, num_settings)
    if method.name == "tpe":
        if not 1 <= complete.batch_size <= num_settings:
            refuse("batch_size", method.batch_size, f"at least 0 and at most `num_settings` ({num_settings})")
        if importlib.util.find_spec("optuna") is None:
            raise UsageError("`method`=tpe: needs Optuna, which is in the extra [search]: pip install '.[search]'")
    if method.name == "pbt":
        if num_settings * config.num_seeds < 2:
            refuse("num_settings", num_settings, "at least 2 with `num_seeds`=1, since members copy one another")
        between = config.steps_per_point
        if not 1 <= complete.exploit_every <= (config.num_env_steps - 1) // between * between:
            told = f"at least 0, and reached by a logging point before the end; these are {between} steps apart"
            refuse("exploit_every", method.exploit_every, told)
