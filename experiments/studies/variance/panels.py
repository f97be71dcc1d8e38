"""Panels that the pictures of a study share.

Lines stand for estimators by their colour, and for agents or meta-parameters by their stroke and marker; bands and bars
are 95% confidence intervals.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.config.settings import estimator_title
from experiments.figures import styles
from experiments.studies.variance.analysis import Json
from experiments.studies.variance.summary import NOT_DETERMINED

STROKES: tuple[Any, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (1, 1)),
    (0, (5, 1, 1, 1)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (8, 3)),
    (0, (1, 4)),
)
MARKERS = "osD^vPX"
ESTIMATORS = ("multi_step", "mixing")

CLAIM = 3.0
"""The paper's: mixing's variance is that many times smaller."""

RATIOS: dict[str, dict[str, Any]] = {
    "raw": {"marker": "o", "color": "black"},
    "at equal scale": {"marker": "D", "color": "black", "markerfacecolor": "white"},
}
REFERENCES: dict[str, dict[str, Any]] = {
    f"the paper's claim, {CLAIM:g}": {"x": CLAIM, "color": "#009E73", "linestyle": "--"},
    "equal variances, 1": {"x": 1.0, "color": "#999999", "linewidth": 0.8},
}


def curves(axes: Axes, point: Json, name: str, statistic: str, index: int) -> None:
    """Draws a statistic of both estimators against the horizon, with bands, and with gaps where it is undetermined.

    Args:
      axes: the panel.
      point: of `variance.json`.
      name: the meta-parameter, or the total.
      statistic: of an estimator.
      index: of what the lines stand for, among others in the panel.
    """
    horizons = np.array([entry["horizon"] for entry in point["by_horizon"]])
    for estimator in ESTIMATORS:
        values = [entry["estimators"][estimator][name][statistic] for entry in point["by_horizon"]]
        heights = np.array([value["estimate"] for value in values], float)
        low, high = np.array([value["ci95"] for value in values], float).T
        colour = styles.COLOURS[estimator]
        axes.plot(horizons, heights, color=colour, **stroke(index))
        axes.fill_between(horizons, low, high, color=colour, alpha=0.15, linewidth=0)
        known = np.pad(np.isfinite(heights), 1)
        alone = known[1:-1] & ~known[:-2] & ~known[2:]  # where a band would have no width
        axes.vlines(horizons[alone], low[alone], high[alone], color=colour, alpha=0.4)
    axes.set(xlabel="horizon n [updates]", xlim=(0.5, horizons[-1] + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def variances(axes: Axes, described: Sequence[tuple[Json, str]]) -> None:
    """Draws the variance of both estimators for pairs of a point and one of its meta-parameters or the total."""
    for index, (point, name) in enumerate(described):
        curves(axes, point, name, "variance", index)
    if np.isfinite(axes.dataLim.minposy):  # else nothing varies
        styles.set_scale(axes, "y", "log")
    axes.set_ylabel("(d outer loss / d eta)²")


def compared(horizon: int) -> str:
    """Returns what the panel of ratios is called."""
    return " / ".join(estimator_title(name, horizon) for name in ESTIMATORS)


def ratios(axes: Axes, rows: Mapping[str, Sequence[Json]], undetermined: str = NOT_DETERMINED) -> None:
    """Draws ratios of multi-step's variance to mixing's, one below the other.

    Args:
      axes: the panel.
      rows: by what each is called, the ratios that `RATIOS` names.
      undetermined: what is written in the place of the last one, if it is no number.
    """
    box = {"facecolor": "white", "linewidth": 0.0, "pad": 1.0}
    for place, values in enumerate(rows.values()):
        for value, style, offset in zip(values, RATIOS.values(), (-0.17, 0.17), strict=True):
            low, high = value["ci95"]
            if low is not None:  # an interval need not lie around its estimate, so it is drawn by itself
                axes.plot([low, high], [place + offset] * 2, color="black", marker="|", markersize=7, linewidth=1.2)
            if value["estimate"] is not None:
                axes.plot(value["estimate"], place + offset, **style)
        if value["estimate"] is None:  # of the last, without which the others may be known
            axes.text(1.1, place + offset, undetermined, va="center", bbox=box)
    for reference in REFERENCES.values():
        axes.axvline(**reference, zorder=0)
    styles.set_scale(axes, "x", "log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.8), max(high, 12.0))
    axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel("ratio of variances")


def legend(names: Sequence[str]) -> dict[str, Line2D]:
    """Returns what explains the panels, by its text; strokes stand for `names`, of which one needs no explanation."""
    lines: dict[str, dict[str, Any]] = {
        estimator_title(name, "n"): {"color": styles.COLOURS[name]} for name in ESTIMATORS
    }
    if len(names) > 1:
        lines |= {name: {"color": "black", **stroke(index)} for index, name in enumerate(names)}
    lines |= {f"ratio, {name}": {**style, "linestyle": ""} for name, style in RATIOS.items()}
    lines |= {text: {key: value for key, value in line.items() if key != "x"} for text, line in REFERENCES.items()}
    return {text: Line2D([], [], **style) for text, style in lines.items()}


def say(axes: Axes, text: str) -> None:
    """Writes into an empty panel why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")


def stroke(index: int) -> dict[str, Any]:
    """Returns the stroke and marker of what comes at this place among others."""
    again, place = divmod(index, len(STROKES))
    return {"linestyle": STROKES[place], "marker": MARKERS[(place + again) % len(MARKERS)], "markersize": 3.5}
