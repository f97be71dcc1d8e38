"""What a search prints: its settings, the best first, and what the best is worth."""

from typing import Any

from experiments.config.search import SEARCHED
from experiments.figures.tables import cell, table
from experiments.studies.search.searching import ranking


def table_of(results: dict[str, Any]) -> str:
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


def confirmation(results: dict[str, Any]) -> str:
    """Says what the best setting is worth, what finding it cost, and how to train with it."""
    best, cost = results["best"], f"{results['env_steps']:,} environment steps in all"
    given = " ".join(f"--{name}={value}" for name, value in best["hyperparameters"].items())
    missing = "diverged" if best["diverged"] else "no episode ended"
    return (
        f"Setting {best['setting']} with {len(best['seeds'])} fresh seeds: {cell(best['return'], missing)}; {cost}.\n"
        f"To train with it: --estimator=none {given}"
    )
