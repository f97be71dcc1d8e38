"""What is compared: the settings of each run, and how its meta-learning rate is chosen."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agents.hyperparameters import BIJECTIONS
from experiments.config import estimators as estimators_config
from experiments.config.estimators import BUILT_IN, WEIGHTED
from experiments.config.own_code import is_own_code
from experiments.config.ranges import POSITIVE, Range, as_computed, count, finite_number, refuse
from experiments.config.settings import Config
from experiments.config.validation import check_numbers, steps_per_window, validate

BASELINE = "baseline"
"""What the run with fixed hyperparameters of its own is called."""

GRID = "grid"
"""The folder of the runs that choose meta-learning rates."""

RATES = Range(
    "positive numbers, a comma list without repetition",
    lambda rates: (
        all(POSITIVE.accepts(as_computed(rate)) for rate in rates)
        and len({as_computed(rate) for rate in rates}) == len(rates)
    ),
)
GRID_SEEDS = count(1)
DEFAULT_ESTIMATORS = ("none", *WEIGHTED)
ALLOWED_ESTIMATORS = (
    f"a comma list, without repetition, of {', '.join(BUILT_IN)}, also as mixing_10 and "
    "bootstrapped_5+5, and PACKAGE.MODULE:FACTORY, FACTORY being none of these names"
)
ALLOWED_BASELINE = f"a comma list of NAME:VALUE, NAME of {', '.join(BIJECTIONS)}"


class Grid(NamedTuple):
    """How each estimator's meta-learning rate is chosen before it is compared, with equal effort for all.

    Attributes:
      rates: the meta-learning rates that are tried; with none, that of the settings is used.
      num_seeds: seeds that each is tried with, which follow those of the comparison.
    """

    rates: tuple[float, ...] = ()
    num_seeds: int = 3

    def trials(self, name: str, config: Config) -> dict[str, Config]:
        """Returns the runs that choose a run's rate, by their places; none where nothing is tuned or to be chosen."""
        rates = () if config.estimator == "none" else self.rates
        elsewhere = dataclasses.replace(config, seed=config.seed + config.num_seeds, num_seeds=self.num_seeds)
        trials = [dataclasses.replace(elsewhere, meta_learning_rate=rate) for rate in rates]
        # As many digits as tell numbers in single precision apart.
        return {f"{GRID}/{name}_{trial.meta_learning_rate:.9g}": trial for trial in trials}


NO_GRID = Grid()


def make_configs(
    config: Config, estimators: Sequence[str] = DEFAULT_ESTIMATORS, baseline: Sequence[str] = ()
) -> dict[str, Config]:
    """Returns the settings of a comparison's runs, by name.

    Args:
      config: settings that the runs share.
      estimators: their estimators, each as `estimators.named` reads it.
      baseline: `NAME:VALUE` of hyperparameters that one more run fixes, which tunes nothing; empty for no such run.

    Returns:
      The settings, validated.

    Raises:
      UsageError: if any of this is impossible.
    """
    if not estimators:
        refuse("estimators", "", "given: a comma list")
    configs: dict[str, Config] = {}
    for text in estimators:
        named = estimators_config.named(text)
        if not named:
            refuse("estimators", estimators, ALLOWED_ESTIMATORS)
        taken = (*configs, *((*BUILT_IN, BASELINE, GRID) if is_own_code(named.name) else ()))
        if named.title in taken:
            refuse("estimators", estimators, ALLOWED_ESTIMATORS)
        configs[named.title] = config.with_named(named)
    if baseline:
        configs[BASELINE] = dataclasses.replace(config.with_estimator("none"), **_fixed(baseline))
    for settings in configs.values():
        check_numbers(settings)
    for settings in sorted(configs.values(), key=lambda settings: -steps_per_window(settings)):
        validate(settings)  # the longest window first: a number of steps that suits it may suit all
    return configs


def _fixed(baseline: Sequence[str]) -> Mapping[str, Any]:
    """Returns the hyperparameters of `NAME:VALUE`, by the names of the settings."""
    values: dict[str, Any] = {}
    for text in baseline:
        name, _, value = text.partition(":")
        field, number = "lambda_" if name == "lambda" else name, finite_number(value)
        if name not in BIJECTIONS or field in values or number is None:
            refuse("baseline", baseline, ALLOWED_BASELINE)
        values[field] = number
    return values
