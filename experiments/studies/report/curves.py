"""The curves of runs as plain data, for whichever library draws them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from experiments.config.titles import return_label
from experiments.figures import outcome, plots, styles
from experiments.figures.averages import over_seeds, scale_of
from experiments.figures.plots import MANY, RETURN, Run

DIGITS = 6
"""Of a number on the page."""


def label(runs: Mapping[str, Run]) -> list[Run]:
    """Labels runs as the picture of a comparison does, or by their names where that would not tell them apart."""
    labelled = plots.label_by_estimators(runs)
    if len({run.label for run in labelled}) == len(runs):
        return labelled
    return [run._replace(label=name, style=styles.line_style(index)) for index, (name, run) in enumerate(runs.items())]


def describe(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the curves of labelled runs of one game.

    Returns:
      `runs`, of which each has a `label`, `color`, `dash` (lengths in pixels; none are a solid line), `seeds` and
      `env_steps`, and `banded` if a band tells more than the seeds' lines; and `panels`, of which each has a `title`,
      `axis`, `scale`, `kind` and `lines`: of the run with this index, the `mean`, `low` and `high` by logging point,
      and `seeds`, a list for each. What is not known is None.
    """
    named = dict.fromkeys(name for run in runs for name in outcome.tuned(run.metrics))
    columns = [RETURN, *(f"{kind}/{name}" for name in named for kind in ("hyper", "spread"))]
    panels = [_panel(column, [plots.with_spreads(run) for run in runs]) for column in columns]
    return {"runs": list(map(_style, runs)), "panels": [panel for panel in panels if panel["lines"]]}


def _style(run: Run) -> dict[str, Any]:
    return {
        "label": run.label,
        "color": to_hex(run.style["color"]),
        "dash": _dash(run.style["linestyle"]),
        "seeds": run.metrics["seed"][0].astype(int).tolist(),
        "env_steps": numbers(run.metrics["env_steps"][:, 0]),
        "banded": run.metrics["seed"].shape[1] >= MANY,
    }


def _dash(stroke: Any) -> list[float]:
    """Returns lengths of a line's dashes and gaps, of Matplotlib's strokes in multiples of its width."""
    named: dict[str, Sequence[float]] = {"solid": (), "dashdot": (5, 2, 1, 2)}
    return [2.0 * length for length in (named[stroke] if isinstance(stroke, str) else stroke[1])]


def _panel(column: str, runs: Sequence[Run]) -> dict[str, Any]:
    kind, _, name = column.partition("/")
    name = name.replace("_", " ")
    title, axis = {
        RETURN: ("Return of the episodes that ended", return_label(runs[0].config)),
        "hyper": (f"{name.capitalize()}", name),
        "spread": (f"Spread of the meta-gradient of {name}", "std over seeds"),
    }[kind]
    lines = [_line(index, column, run) for index, run in enumerate(runs) if column in run.metrics]
    positive = any((value or 0.0) > 0.0 for line in lines for value in line["mean"])
    scale = ("log" if positive else "linear") if kind == "spread" else scale_of(column)
    return {"title": title, "axis": axis, "scale": scale, "kind": kind, "lines": lines}


def _line(index: int, column: str, run: Run) -> dict[str, Any]:
    values = run.metrics[column]
    mean = over_seeds(column, values)
    seeds = [] if column.startswith("spread/") else list(map(numbers, values.T))  # a spread is of all seeds
    return {"run": index, **dict(zip(("mean", "low", "high"), map(numbers, mean), strict=True)), "seeds": seeds}


def numbers(values: Iterable[float]) -> list[float | None]:
    """Returns numbers as JSON has them, None where there is none."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in np.asarray(values).tolist()]
