"""The figures as a table and as a picture."""

import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.figures import styles, tables

Report = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Figures as JSON has them, by suite and name."""

SHARES = {"product_share": "share of the rate of matrix products", "copy_share": "share of the bandwidth"}
"""What is shown of figures beside both sides; the second in older files alone."""

COLUMNS = {"peer": "peer", "ratio": "ours / peer"} | SHARES | {"against": "against"}


def table(suite: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Lays out a suite's figures, with their shares of the machine's rates."""
    shown = {column: title for column, title in COLUMNS.items() if any(column in figure for figure in figures.values())}
    rows = [
        [f"{suite}.{name}", f"{_cell(figure['ours'])} {figure['unit'].removeprefix('environment ')}"]
        + [_cell(figure.get(column)) for column in shown]
        for name, figure in figures.items()
    ]
    return tables.table(["figure", "ours", *shown.values()], rows)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return tables.number(value) if isinstance(value, float) else tables.cell(value)


def draw(report: Report, picture: pathlib.Path) -> None:
    """Draws a panel of ratios for each suite, and one for each share of the machine's rates, into a PNG."""
    panels = {f"{suite}: ours / peer": _values(figures, "ratio") for suite, figures in report.items()}
    everything = {f"{suite}.{name}": figure for suite, figures in report.items() for name, figure in figures.items()}
    panels |= {title: _values(everything, share) for share, title in SHARES.items()}
    panels = {title: values for title, values in panels.items() if values}
    heights = [len(values) + 2 for values in panels.values()]
    with styles.picture(picture, 1.0 + 0.24 * sum(heights)) as figure:
        rows = figure.subplots(len(panels) or 1, squeeze=False, height_ratios=heights or None)
        for index, (axes, (title, values)) in enumerate(zip(rows[:, 0], panels.items(), strict=False)):
            colour = styles.line_style(index)["color"]
            for place, (estimate, low, high) in enumerate(values.values()):
                axes.plot([low, high], [place, place], color=colour, alpha=0.5, linewidth=3)
                axes.plot(estimate, place, "o", color=colour, markersize=5)
            styles.set_scale(axes, "x", "log")
            axes.set(title=title, ylim=(len(values) - 0.5, -0.5))
            axes.set_yticks(range(len(values)), list(values))
            axes.axvline(1.0, color="black", linewidth=0.8)


def _values(figures: Mapping[str, Mapping[str, Any]], column: str) -> dict[str, tuple[float, float, float]]:
    """Returns a column's values, each with the ends of its interval, or itself where it has none."""
    found = {name: figure[column] for name, figure in figures.items() if column in figure}
    values = {}
    for name, value in found.items():
        estimate, ends = (value, (None, None)) if isinstance(value, float) else (value["estimate"], value["ci95"])
        low, high = (estimate if end is None else end for end in ends)
        values[name] = (estimate, low, high)
    return values
