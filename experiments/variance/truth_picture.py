"""The picture that comes first: does each estimator's mean have the sign of the true return's gradient?

A column for each point and meta-parameter, a row for each critic and estimator. Colours and signs say the same twice.
"""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.config import estimator_title
from experiments.variance.analysis import TOTAL, Json
from experiments.variance.truth import RIGHT, UNCLEAR, UNKNOWN, WRONG

VERDICTS = (UNKNOWN, UNCLEAR, RIGHT, WRONG)
COLOURS = ("#FFFFFF", "#DDDDDD", "#56B4E9", "#D55E00")
SIGNS = {UNKNOWN: "", UNCLEAR: "·", RIGHT: "✓", WRONG: "✗"}
MEANINGS = {
    UNKNOWN: "the truth cannot be told from zero",
    UNCLEAR: "the estimator's mean cannot be told from zero",
    RIGHT: "the mean has the true sign",
    WRONG: "the mean has the wrong sign",
}


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `truth.png` from the content of a `variance.json` whose reference is the return."""
    points, names = results["points"], results["meta_params"]
    entries = {name: point["truth"] for name, point in points.items()}
    first = next(iter(entries.values()))
    truths = [f"true d J / d eta, n = {entry['horizon']}" for entry in first]
    rows = [
        (critic, place, estimator)
        for critic in first[0]["critics"]
        for place, entry in enumerate(first)
        for estimator in entry["critics"][critic]
    ]
    labels = [_label(critic, first[place]["horizon"], estimator) for critic, place, estimator in rows]
    width = len(names) + 1
    size = (4.5 + 0.42 * width * len(points), 2.6 + 0.3 * (len(rows) + len(truths)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    shades = np.full((len(truths) + len(rows), width * len(points)), np.nan)
    for index, truth in enumerate(entries.values()):
        left = index * width
        for column, name in enumerate(names):
            for row, entry in enumerate(truth):
                _write(axes, left + column, row, _arrow(entry["truth"][name]))
            for row, (critic, place, estimator) in enumerate(rows, len(truths)):
                verdict = truth[place]["critics"][critic][estimator][name]["sign"]
                shades[row, left + column] = VERDICTS.index(verdict)
                _write(axes, left + column, row, SIGNS[verdict])
        for row, (critic, place, estimator) in enumerate(rows, len(truths)):
            cosine = truth[place]["critics"][critic][estimator][TOTAL]["cosine"]["estimate"]
            _write(axes, left + len(names), row, "" if cosine is None else f"{cosine:.1f}", size=7)
        axes.axvline(left - 0.5, color="black", linewidth=0.8)
    axes.imshow(shades, cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=len(COLOURS) - 0.5, aspect="auto")
    for row, (before, after) in enumerate(zip(["", *(critic for critic, _, _ in rows)], rows, strict=False)):
        if before != after[0]:
            axes.axhline(len(truths) + row - 0.5, color="black", linewidth=0.8)
    axes.set_yticks(range(len(truths) + len(rows)), [*truths, *labels], fontsize=8)
    axes.set_xticks(range(width * len(points)), [*names, "cosine"] * len(points), rotation=90, fontsize=8)
    above = axes.secondary_xaxis("top")
    above.set_xticks(
        [index * width + (width - 1) / 2 for index in range(len(points))],
        [_heading(point) for point in points.values()],
        fontsize=8,
    )
    for side in (axes, above):
        side.tick_params(length=0)
    axes.legend(
        handles=[
            Patch(facecolor=colour, edgecolor="#999999", label=f"{SIGNS[verdict]} {MEANINGS[verdict]}".strip())
            for verdict, colour in zip(VERDICTS, COLOURS, strict=True)
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.28),
        ncols=2,
        fontsize=8,
    )
    figure.suptitle(
        "Does the meta-gradient point the right way?\n"
        "Arrows: where eta must move to raise the return, ? where that is unknown. All by 95% intervals.",
        fontsize=10,
    )
    figure.savefig(picture, dpi=130)


def _label(critic: str, horizon: int, estimator: str) -> str:
    return f"{critic.replace('_', ' ')}: {estimator_title(estimator, horizon)}"


def _heading(point: Json) -> str:
    return f"discount {point['hyperparameters']['discount']:.3g}\n{point['env_steps']:,} steps"


def _arrow(truth: Json) -> str:
    """Points to where the hyperparameter must move to raise the return; the truth is that of minus the return."""
    low, high = truth["ci95"]
    return "?" if low is None or low <= 0.0 <= high else "↓" if low > 0.0 else "↑"


def _write(axes: Axes, x: float, y: float, text: str, size: int = 9) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=size)
