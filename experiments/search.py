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

from experiments.config import flags as commands
from experiments.figures.tables import INTERVALS_NOTE, cell, table
from experiments.runs.divergence import NonFiniteError
from experiments.storage import files
from experiments.storage.files import WriteError
from experiments.studies.search import picture, searching
from experiments.studies.search.searching import OWN, RESULTS, ranking
from experiments.studies.search.settings import SEARCH_PRESETS, SEARCHED, define_flags, ranges_from_flags, validate

PICTURE = "search.png"


def main(values: flags.FlagValues) -> None:
    """Searches as the flags say."""
    config = commands.config_from_flags(values, SEARCH_PRESETS)
    ranges = ranges_from_flags(values)
    validate(config, ranges, values.num_settings, values.num_fresh_seeds)
    folder = commands.new_logdir(values.logdir, OWN)
    try:
        results = searching.search(config, ranges, values.num_settings, values.num_fresh_seeds, folder)
        print(_table(results))
        if results["best"] is None:
            sys.exit(f"stopped: no setting has a return, so there is none to confirm; {folder / RESULTS} has them all")
        with files.told(folder):
            picture.draw(results, config, folder / PICTURE)
    except (NonFiniteError, WriteError) as error:
        sys.exit(str(error))
    print(_confirmation(results))
    print(f"{INTERVALS_NOTE} The results are in {folder / RESULTS}, the picture is {folder / PICTURE}")


def _table(results: dict[str, Any]) -> str:
    """Lays the settings out for a terminal, the best first."""
    settings = results["settings"]
    rows = [
        [
            str(index),
            *(f"{value:.4g}" for value in settings[index]["hyperparameters"].values()),
            cell(settings[index]["return"], "diverged" if settings[index]["diverged"] else "no episode ended"),
        ]
        for index in ranking(settings)
    ]
    return table(["setting", *SEARCHED, "final return"], rows)


def _confirmation(results: dict[str, Any]) -> str:
    """Says what the best setting is worth, what finding it cost, and how to train with it."""
    best, cost = results["best"], f"{results['env_steps']:,} environment steps in all"
    given = " ".join(f"--{name}={value}" for name, value in best["hyperparameters"].items())
    missing = "diverged" if best["diverged"] else "no episode ended"
    return (
        f"Setting {best['setting']} with {len(best['seeds'])} fresh seeds: {cell(best['return'], missing)}; {cost}.\n"
        f"To train with it: --estimator=none {given}"
    )


if __name__ == "__main__":
    commands.run(main, define_flags(), "the same command goes on from here")
