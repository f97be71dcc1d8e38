"""The picture of which estimators' means have the sign of the true return's gradient, from `variance.json`."""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from experiments.config.titles import estimator_title
from experiments.figures import styles
from experiments.studies.variance.analysis import TOTAL, Json
from experiments.studies.variance.text import title
from experiments.studies.variance.truth import RIGHT, UNCLEAR, UNKNOWN, WRONG

VERDICTS: dict[str, tuple[str, str, str]] = {
    UNKNOWN: ("#FFFFFF", "", "the truth cannot be told from zero"),
    UNCLEAR: ("#DDDDDD", "·", "its mean cannot be told from zero"),
    RIGHT: ("#56B4E9", "✓", "its mean has the true sign"),
    WRONG: ("#D55E00", "✗", "its mean has the wrong sign"),
}
"""The colour, sign and meaning of each in `truth.png`."""

COLUMNS = 12
"""Of `truth.png`; points that do not fit beside the others are in a further band below."""


def draw_truth(results: Json, picture: pathlib.Path) -> None:
    """Draws whether each estimator's mean has the sign of the true return's gradient.

    A column for each point and meta-parameter, a row for each critic and estimator. Colours and signs say the same.
    """
    names = results["meta_params"]
    points = [
        (title(name, point).replace(" after ", "\nafter "), point["truth"]) for name, point in results["points"].items()
    ]
    first = points[0][1]
    rows = [
        (critic, place, estimator)
        for critic in first[0]["critics"]
        for place, entry in enumerate(first)
        for estimator in entry["critics"][critic]
    ]
    labels = [f"true d J / d eta, n = {entry['horizon']}" for entry in first]
    labels += [
        f"{critic.replace('_', ' ')}: {estimator_title(estimator, first[place]['horizon'])}"
        for critic, place, estimator in rows
    ]
    beside = max(COLUMNS // (len(names) + 1), 1)
    bands = [points[start : start + beside] for start in range(0, len(points), beside)]
    with styles.picture(picture, 1.2 + len(bands) * (1.5 + 0.19 * len(labels))) as figure:
        for axes, band in zip(figure.subplots(len(bands), 1, squeeze=False)[:, 0], bands, strict=True):
            _draw_band(axes, band, rows, names)
            axes.set_yticks(range(len(labels)), labels)
            axes.set_xlim(-0.5, beside * (len(names) + 1) - 0.5)
        about = "by 95% intervals? Arrows: to where the return rises, ? where that is unknown"
        styles.title(figure, f"Which means point the right way, {about}")
        patches = [Patch(facecolor=colour, edgecolor="#999999") for colour, _, _ in VERDICTS.values()]
        styles.legend(figure, patches, [f"{sign} {meaning}".strip() for _, sign, meaning in VERDICTS.values()])


def _draw_band(
    axes: Axes, points: Sequence[tuple[str, list[Json]]], rows: Sequence[tuple[str, int, str]], names: Sequence[str]
) -> None:
    """Draws some points beside each other: what each is called, its truth at each horizon, and the rows below."""
    verdicts, num_truths = list(VERDICTS), len(points[0][1])
    write = functools.partial(axes.text, ha="center", va="center")
    width = len(names) + 1
    shades = np.full((num_truths + len(rows), width * len(points)), np.nan)
    for left, (_, truth) in zip(range(0, shades.shape[1], width), points, strict=True):
        for row, entry in enumerate(truth):
            for column, name in enumerate(names, left):
                write(column, row, arrow(entry["truth"][name]))
        for row, (critic, place, estimator) in enumerate(rows, num_truths):
            found = truth[place]["critics"][critic][estimator]
            for column, name in enumerate(names, left):
                shades[row, column] = verdicts.index(found[name]["sign"])
                write(column, row, VERDICTS[found[name]["sign"]][1])
            cosine = found[TOTAL]["cosine"]["estimate"]
            write(left + len(names), row, "" if cosine is None else f"{cosine:.1f}")
        axes.axvline(left - 0.5, color="black", linewidth=0.8)
    colours = ListedColormap([colour for colour, _, _ in VERDICTS.values()])
    axes.imshow(shades, cmap=colours, vmin=-0.5, vmax=len(verdicts) - 0.5, aspect="auto")
    for row, (critic, *_) in enumerate(rows):
        if row == 0 or critic != rows[row - 1][0]:
            axes.axhline(num_truths + row - 0.5, color="black", linewidth=0.8)
    axes.set_xticks(range(shades.shape[1]), [*names, "cosine"] * len(points), rotation=90)
    above = axes.secondary_xaxis("top")
    above.set_xticks(np.arange(len(points)) * width + (width - 1) / 2, [name for name, _ in points])
    for side in (axes, above):
        side.tick_params(length=0)
    axes.grid(False)


def arrow(truth: Json) -> str:
    """Points to where the hyperparameter must move to raise the return; the truth is that of minus the return."""
    low, high = truth["ci95"]
    return "?" if low is None or low <= 0.0 <= high else "↓" if low > 0.0 else "↑"
