"""Searches for fixed hyperparameters, or a schedule of them, and measures the best found with fresh seeds.

Example:
    python -m experiments.search --preset=quick --num_settings=32 --logdir=runs/search
    python -m experiments.search --method=pbt --num_settings=16 --logdir=runs/pbt

What one would do without meta-gradients, and what it costs. Every setting is trained with the same seeds. The best of
many owes something to luck, so its return is measured anew, with seeds on which it was not chosen.

random draws all settings at random. tpe draws batch after batch, near settings that did well (Optuna's sampler). pbt
trains a population, whose bad members copy good ones from time to time and change their hyperparameters (Jaderberg et
al., 2017); what it finds is a schedule. The same flags cost the same environment steps with each of them.

Stopped in the middle, the same command goes on from its last checkpoint, and ends with the same results.
"""

import sys
from typing import Any

from absl import flags

from experiments.config import flags as config_flags
from experiments.config.ranges import finite_number, refuse
from experiments.config.search import (
    METHODS,
    NUMBERS,
    RANDOM,
    SEARCH_PRESETS,
    SEARCHED,
    UNUSED,
    Method,
    Ranges,
    validate_search,
)
from experiments.runs import command_line
from experiments.storage.folder import new_logdir

MOST_USED = (
    *("method", "num_settings", "num_seeds", "num_fresh_seeds", "discount_range", "lambda_range"),
    *("entropy_cost_range", "learning_rate_range", "num_env_steps", "logdir"),
)
"""What `--help` shows."""


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = config_flags.define_flags(SEARCH_PRESETS, UNUSED)
    values["logdir"].help += ", or that of the same search, to go on from its last checkpoint"
    values["num_seeds"].help = "seeds that each setting is trained with; at least 1 and below 2^31"
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is searched"}
    flags.DEFINE_enum(
        "method",
        RANDOM.name,
        METHODS,
        "how settings are searched for: at random; by the tree-structured Parzen estimator of Optuna, which the extra "
        "[search] installs; or by population-based training",
        **where,
    )
    flags.DEFINE_integer(
        "num_settings",
        32,
        "settings that are tried; for pbt, --num_settings × --num_seeds members make up the population, each with a "
        f"setting and a seed of its own; {NUMBERS['num_settings'].text}",
        **where,
    )
    flags.DEFINE_integer(
        "batch_size",
        RANDOM.batch_size,
        "for tpe, settings that are asked for and trained at once, the first batch at random; 0 for a quarter of "
        "--num_settings; at least 0 and at most --num_settings",
        **where,
    )
    flags.DEFINE_integer(
        "exploit_every",
        RANDOM.exploit_every,
        "for pbt, environment steps of a member after which, at the next logging point, the worst fifth copy the best "
        "fifth and perturb what they copied; 0 for a tenth of --num_env_steps; at least 0, and reached before the end",
        **where,
    )
    flags.DEFINE_integer(
        "num_fresh_seeds",
        8,
        "seeds, after those of the search, that the best setting, or the best member's schedule, is trained with anew; "
        f"{NUMBERS['num_fresh_seeds'].text}",
        **where,
    )
    for name, searched in SEARCHED.items():
        scale = f"evenly in the logarithm of {f'1 - {name}' if searched.below_one else 'it'}"
        text = f"range that {name} is drawn from, {scale}; {searched.ends.text}"
        flags.DEFINE_list(f"{name}_range", list(map(str, searched.default)), text, **where)
    return values


def ranges_from_flags(values: flags.FlagValues) -> Ranges:
    """Returns the ends of every hyperparameter's range.

    Raises:
      UsageError: if they are no numbers.
    """
    ranges = {}
    for name, searched in SEARCHED.items():
        given = values[f"{name}_range"].value or []
        ends = tuple(number for text in given if (number := finite_number(text)) is not None)
        if len(ends) < len(given):
            refuse(f"{name}_range", given, searched.ends.text)
        ranges[name] = ends
    return ranges


def main(values: flags.FlagValues) -> None:
    """Searches as the flags say."""
    config, ranges = config_flags.settings_from_flags(values, SEARCH_PRESETS), ranges_from_flags(values)
    method = Method(values.method, values.batch_size, values.exploit_every)
    validate_search(config, ranges, values.num_settings, values.num_fresh_seeds, method)

    from experiments.figures.tables import INTERVALS_NOTE  # what is slow to import, after --help
    from experiments.storage.files import told
    from experiments.studies.search import picture, report, searching

    folder = new_logdir(values.logdir, searching.OWN)
    results = searching.search(config, ranges, values.num_settings, values.num_fresh_seeds, folder, method=method)
    print(report.table_of(results))
    if results["best"] is None:
        where = folder / searching.RESULTS
        sys.exit(f"stopped: no setting has a return, so there is none to confirm; {where} has them all")
    drawing = folder / "search.png"
    with told(folder):
        picture.draw(results, config, drawing)
    print(report.confirmation(results))
    print(f"{INTERVALS_NOTE} The results are in {folder / searching.RESULTS}, the picture is {drawing}")


if __name__ == "__main__":
    command_line.run(main, define_flags(), "the same command goes on from here")
