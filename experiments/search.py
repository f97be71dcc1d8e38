"""Searches at random for fixed hyperparameters, and measures the best that it finds with fresh seeds.

Example:
    python -m experiments.search --preset=quick --num_settings=32 --logdir=runs/search

What one would do without meta-gradients, and what it costs. Every setting is trained with the same seeds. The best of
many owes something to luck, so its return is measured anew, with seeds on which it was not chosen.

Stopped in the middle, the same command goes on from its last checkpoint, and ends with the same results.
"""

import sys
from typing import Any

from absl import flags

from experiments.config import flags as config_flags
from experiments.config.ranges import finite_number, refuse
from experiments.config.search import NUMBERS, SEARCH_PRESETS, SEARCHED, UNUSED, Ranges, validate_search
from experiments.runs import command_line
from experiments.storage.folder import new_logdir

MOST_USED = (
    *("num_settings", "num_seeds", "num_fresh_seeds", "discount_range", "lambda_range"),
    *("entropy_cost_range", "learning_rate_range", "num_env_steps", "environment", "logdir"),
)
"""What `--help` shows."""


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = config_flags.define_flags(SEARCH_PRESETS, UNUSED)
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
    validate_search(config, ranges, values.num_settings, values.num_fresh_seeds)

    from experiments.figures.tables import INTERVALS_NOTE  # what is slow to import, after --help
    from experiments.storage.files import told
    from experiments.studies.search import picture, report, searching

    folder = new_logdir(values.logdir, searching.OWN)
    results = searching.search(config, ranges, values.num_settings, values.num_fresh_seeds, folder)
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
