"""Trains with every meta-gradient estimator on the same seeds, and compares returns and meta-gradients.

Example:
    python -m experiments.compare --preset=quick --logdir=runs/compare

Stopped in the middle, the same command goes on from the last checkpoint, and ends with the same results.
"""

import sys
from typing import Any

from absl import flags

from experiments.config import flags as commands
from experiments.config.settings import ESTIMATORS, PRESETS, refuse
from experiments.figures.outcome import sentences, tables
from experiments.runs.divergence import NonFiniteError
from experiments.storage.files import WriteError
from experiments.studies.comparison import (
    ALLOWED_BASELINE,
    ALLOWED_ESTIMATORS,
    GRID,
    GRID_SEEDS,
    NO_GRID,
    RATES,
    Grid,
    compare,
    is_number,
    make_configs,
)


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = commands.define_training_flags(omit=("estimator",))
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is compared"}
    flags.DEFINE_list(
        "estimators",
        list(ESTIMATORS),
        f"estimators that are compared, such as mixing_10; {ALLOWED_ESTIMATORS}",
        **where,
    )
    flags.DEFINE_list(
        "baseline",
        [],
        "hyperparameters of one more run, which tunes nothing, such as the best of a search, discount:0.997; "
        f"{ALLOWED_BASELINE}",
        **where,
    )
    flags.DEFINE_list(
        "meta_learning_rates",
        [],
        f"meta-learning rates of which each estimator gets the best, by its return on other seeds; {RATES.text}",
        **where,
    )
    flags.DEFINE_integer(
        "num_grid_seeds",
        NO_GRID.num_seeds,
        f"seeds that each of --meta_learning_rates is tried with; {GRID_SEEDS.text}",
        **where,
    )
    return values


def grid_from_flags(values: flags.FlagValues) -> Grid:
    """Returns how the parsed command line has meta-learning rates chosen.

    Raises:
      UsageError: if a value or a combination is impossible.
    """
    texts = values.meta_learning_rates
    rates = tuple(float(text) for text in texts if is_number(text))
    if len(rates) < len(texts) or not RATES.accepts(rates):
        refuse("meta_learning_rates", texts, RATES.text)
    if rates and values["meta_learning_rate"].present:
        refuse("meta_learning_rate", values.meta_learning_rate, "left out with --meta_learning_rates")
    if not GRID_SEEDS.accepts(values.num_grid_seeds):
        refuse("num_grid_seeds", values.num_grid_seeds, GRID_SEEDS.text)
    return Grid(rates, values.num_grid_seeds)


def main(values: flags.FlagValues) -> None:
    """Compares as the flags say."""
    from experiments.figures import plots

    configs = make_configs(commands.settings_from_flags(values, PRESETS), values.estimators, values.baseline)
    grid = grid_from_flags(values)
    execution = commands.execution_from_flags(values)
    folder = commands.new_logdir(values.logdir, (*configs, GRID))
    try:
        comparison = compare(configs, folder, grid, execution)
    except (NonFiniteError, WriteError) as error:
        sys.exit(str(error))
    print(f"{tables(comparison)}\n\n{sentences(configs, comparison)}")
    print(f"The runs are in {folder}, the picture is {folder / plots.COMPARISON_PICTURE}")


if __name__ == "__main__":
    commands.run(main, define_flags(), "the same command goes on from here")
