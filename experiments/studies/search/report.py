"""What a search prints: its settings, the best first, and what the best is worth."""

from typing import Any

from experiments.config.search import SEARCHED
from experiments.figures.tables import cell, table
from experiments.studies.search.searching import ranking


def table_of(results: dict[str, Any]) -> str:
    """Lays the settings out for a terminal, the best first."""
    return table(*rows_of(results))


def rows_of(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Returns the header of the table of settings, and its rows, the best first."""
    settings = results["settings"]
    rows = [
        [
            str(index),
            *(f"{settings[index]['hyperparameters'][name]:.4g}" for name in SEARCHED),
            cell(settings[index]["return"], _missing(settings[index])),
        ]
        for index in ranking(settings)
    ]
    member, end = ("member", "final {}") if "exploitations" in results else ("setting", "{}")
    return [member, *map(end.format, SEARCHED), "final return"], rows


def confirmation(results: dict[str, Any]) -> str:
    """Says what the best setting is worth, what finding it cost, and how to train with it."""
    best, number = results["best"], len(results["settings"])
    cost = f"{results['env_steps']:,} environment steps and {results['wall_seconds']:,.0f} s in all"
    given = " ".join(f"--{name}={value}" for name, value in best["hyperparameters"].items())
    worth = f"{len(best['seeds'])} fresh seeds: {cell(best['return'], _missing(best))}; {cost}."
    if "schedule" not in best:
        return f"Setting {best['setting']} with {worth}\nTo train with it: --estimator=none {given}"
    own = cell(results["settings"][best["setting"]]["return"])
    return (
        f"Member {best['setting']} ends at {own}, the best of {number}, for which it was chosen.\n"
        f"Its schedule of hyperparameters with {worth}\n"
        f"To train with the schedule's end alone, which is another thing: --estimator=none {given}"
    )


def _missing(result: dict[str, Any]) -> str:
    return "diverged" if result["diverged"] else "no episode ended"
