"""The figures as a table and as a picture."""

import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.figures import tables as reporting

Report = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Figures as JSON has them, by suite and name."""

COLUMNS = {
    "peer": "peer",
    "ratio": "ours / peer",
    "product_share": "matrix products",
    "copy_share": "bandwidth",
    "against": "against",
}
"""What is shown of figures beside ours, where there is any, and what it is called."""


def table(suite: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Lays out a suite's figures, with their shares of the machine's rates."""
    shown = {column: title for column, title in COLUMNS.items() if any(column in figure for figure in figures.values())}
    rows = [
        [f"{suite}.{name}", f"{_cell(figure['ours'])} {figure['unit'].removeprefix('environment ')}"]
        + [_cell(figure.get(column)) for column in shown]
        for name, figure in figures.items()
    ]
    return reporting.table(["figure", "ours", *shown.values()], rows)


def _cell(value: Any) -> str:
    """Writes text, a number, an estimate with its interval, or that there is none."""
    if isinstance(value, str):
        return value
    return reporting.number(value) if isinstance(value, float) else reporting.cell(value)


def draw(report: Report, picture: pathlib.Path) -> None:
    """Draws a panel of ratios for each suite, and one of the shares of the machine's rate where there are any.

    Args:
      report: the figures; what has neither a ratio nor a share is left out.
      picture: the PNG to write.
    """
    from experiments.figures import styles  # not above, so that --help need not wait for Matplotlib

    panels: list[tuple[str, dict[str, Any]]] = [
        (f"{suite}: ours / peer", {name: figure["ratio"] for name, figure in figures.items() if "ratio" in figure})
        for suite, figures in report.items()
    ]
    for share, title in (
        ("product_share", "share of the rate of matrix products"),
        ("copy_share", "share of the bandwidth"),
    ):
        shares = {
            f"{suite}.{name}": figure[share]
            for suite, figures in report.items()
            for name, figure in figures.items()
            if share in figure
        }
        panels.append((title, shares))
    panels = [(title, values) for title, values in panels if values]
    heights = [len(values) + 2 for _, values in panels]
    with styles.picture(picture, 1.0 + 0.24 * sum(heights)) as figure:
        rows = figure.subplots(len(panels) or 1, squeeze=False, height_ratios=heights or None)
        for axes, (title, values), colour in zip(rows[:, 0], panels, styles.OKABE_ITO * 2, strict=False):
            for place, value in enumerate(values.values()):
                estimate, low, high = _ends(value)
                axes.plot([low, high], [place, place], color=colour, alpha=0.5, linewidth=3)
                axes.plot(estimate, place, "o", color=colour, markersize=5)
            styles.set_scale(axes, "x", "log")
            axes.set(title=title, ylim=(len(values) - 0.5, -0.5))
            axes.set_yticks(range(len(values)), list(values))
            axes.axvline(1.0, color="black", linewidth=0.8)


def _ends(value: Any) -> tuple[float, float, float]:
    """Returns a value and the ends of its interval, which are the value itself where there is none."""
    if isinstance(value, float):
        return value, value, value
    low, high = value["ci95"]
    estimate = value["estimate"]
    return estimate, estimate if low is None else low, estimate if high is None else high
