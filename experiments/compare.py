"""Trains with every meta-gradient estimator on the same seeds, and compares returns and meta-gradients.

Example:
    python -m experiments.compare --preset=quick --logdir=runs/compare

Stopped in the middle, the same command goes on from the last checkpoint, and ends with the same results.
"""

from typing import Any

from absl import flags

from experiments.config.comparison import (
    ALLOWED_BASELINE,
    ALLOWED_ESTIMATORS,
    DEFAULT_ESTIMATORS,
    GRID,
    GRID_SEEDS,
    NO_GRID,
    RATES,
    Grid,
    make_configs,
)
from experiments.config.flags import define_training_flags, execution_from_flags, settings_from_flags
from experiments.config.ranges import finite_number, refuse
from experiments.config.validation import check_ranges
from experiments.runs import command_line
from experiments.storage.folder import new_logdir

MOST_USED = (
    *("estimators", "meta_learning_rates", "baseline", "logdir", "meta_params"),
    *("num_env_steps", "num_seeds", "discount", "environment", "agent"),
)
"""What `--help` shows."""


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = define_training_flags(omit=("estimator",))
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is compared"}
    flags.DEFINE_list(
        "estimators",
        list(DEFAULT_ESTIMATORS),
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
    numbers = [finite_number(text) for text in texts]
    rates = tuple(number for number in numbers if number is not None)
    if len(rates) < len(texts) or not RATES.accepts(rates):
        refuse("meta_learning_rates", texts, RATES.text)
    if rates and values["meta_learning_rate"].present:
        refuse("meta_learning_rate", values.meta_learning_rate, "left out with --meta_learning_rates")
    if values["num_grid_seeds"].present and not rates:
        refuse("num_grid_seeds", values.num_grid_seeds, "left out without --meta_learning_rates")
    if not GRID_SEEDS.accepts(values.num_grid_seeds):
        refuse("num_grid_seeds", values.num_grid_seeds, GRID_SEEDS.text)
    return Grid(rates, values.num_grid_seeds)


def main(values: flags.FlagValues) -> None:
    """Compares as the flags say."""
    configs = make_configs(settings_from_flags(values), values.estimators, values.baseline)
    grid, execution = grid_from_flags(values), execution_from_flags(values)
    check_ranges(execution)
    folder = new_logdir(values.logdir, (*configs, GRID))

    from experiments.figures import outcome, plots  # what is slow to import, after --help and all that is refused
    from experiments.studies.comparison import compare

    comparison = compare(configs, folder, grid, execution)
    print(f"{outcome.tables(comparison)}\n\n{outcome.sentences(configs, comparison)}")
    print(f"The runs are in {folder}, the picture is {folder / plots.COMPARISON_PICTURE}")


if __name__ == "__main__":
    command_line.run(main, define_flags(), "the same command goes on from here")
