"""The picture that comes first: does each estimator's mean have the sign of the true return's gradient?

A column for each point and meta-parameter, a row for each critic and estimator; points that do not fit beside the
others are in a further band below. Colours and signs say the same twice.
"""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from experiments.config.settings import estimator_title
from experiments.figures import styles
from experiments.studies.variance.analysis import TOTAL, Json
from experiments.studies.variance.summary import title
from experiments.studies.variance.truth import RIGHT, UNCLEAR, UNKNOWN, WRONG

VERDICTS = (UNKNOWN, UNCLEAR, RIGHT, WRONG)
COLOURS = ("#FFFFFF", "#DDDDDD", "#56B4E9", "#D55E00")
SIGNS = {UNKNOWN: "", UNCLEAR: "·", RIGHT: "✓", WRONG: "✗"}
MEANINGS = {
    UNKNOWN: "the truth cannot be told from zero",
    UNCLEAR: "its mean cannot be told from zero",
    RIGHT: "its mean has the true sign",
    WRONG: "its mean has the wrong sign",
}

COLUMNS = 12
"""Of one band."""


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `truth.png` from the content of a `variance.json` whose reference is the return."""
    names = results["meta_params"]
    points = [(title(name, point), point["truth"]) for name, point in results["points"].items()]
    first = points[0][1]
    truths = [f"true d J / d eta, n = {entry['horizon']}" for entry in first]
    rows = [
        (critic, place, estimator)
        for critic in first[0]["critics"]
        for place, entry in enumerate(first)
        for estimator in entry["critics"][critic]
    ]
    labels = [*truths, *(_label(critic, first[place]["horizon"], estimator) for critic, place, estimator in rows)]
    beside = max(COLUMNS // (len(names) + 1), 1)
    bands = [points[start : start + beside] for start in range(0, len(points), beside)]
    with styles.picture(picture, 1.2 + len(bands) * (1.5 + 0.19 * len(labels))) as figure:
        for axes, band in zip(figure.subplots(len(bands), 1, squeeze=False)[:, 0], bands, strict=True):
            _draw_band(axes, band, rows, names)
            axes.set_yticks(range(len(labels)), labels)
            axes.set_xlim(-0.5, beside * (len(names) + 1) - 0.5)
        about = "by 95% intervals? Arrows: to where the return rises, ? where that is unknown"
        styles.title(figure, f"Which means point the right way, {about}")
        patches = [Patch(facecolor=colour, edgecolor="#999999") for colour in COLOURS]
        styles.legend(figure, patches, [f"{SIGNS[verdict]} {MEANINGS[verdict]}".strip() for verdict in VERDICTS])


def _draw_band(
    axes: Axes, points: list[tuple[str, list[Json]]], rows: list[tuple[str, int, str]], names: list[str]
) -> None:
    """Draws some points beside each other: what each is called, and its truth at each horizon where it was taken."""
    width, num_truths = len(names) + 1, len(points[0][1])
    shades = np.full((num_truths + len(rows), width * len(points)), np.nan)
    for left, (_, truth) in zip(range(0, shades.shape[1], width), points, strict=True):
        for column, name in enumerate(names, left):
            for row, entry in enumerate(truth):
                _write(axes, column, row, _arrow(entry["truth"][name]))
        for row, (critic, place, estimator) in enumerate(rows, num_truths):
            found = truth[place]["critics"][critic][estimator]
            for column, name in enumerate(names, left):
                shades[row, column] = VERDICTS.index(found[name]["sign"])
                _write(axes, column, row, SIGNS[found[name]["sign"]])
            cosine = found[TOTAL]["cosine"]["estimate"]
            _write(axes, left + len(names), row, "" if cosine is None else f"{cosine:.1f}")
        axes.axvline(left - 0.5, color="black", linewidth=0.8)
    axes.imshow(shades, cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=len(COLOURS) - 0.5, aspect="auto")
    critics = [critic for critic, _, _ in rows]
    for critic in dict.fromkeys(critics):
        axes.axhline(num_truths + critics.index(critic) - 0.5, color="black", linewidth=0.8)
    axes.set_xticks(range(shades.shape[1]), [*names, "cosine"] * len(points), rotation=90)
    above = axes.secondary_xaxis("top")
    middles = np.arange(len(points)) * width + (width - 1) / 2
    above.set_xticks(middles, [name.replace(" after ", "\nafter ") for name, _ in points])
    for side in (axes, above):
        side.tick_params(length=0)
    axes.grid(False)


def _label(critic: str, horizon: int, estimator: str) -> str:
    return f"{critic.replace('_', ' ')}: {estimator_title(estimator, horizon)}"


def _arrow(truth: Json) -> str:
    """Points to where the hyperparameter must move to raise the return; the truth is that of minus the return."""
    low, high = truth["ci95"]
    return "?" if low is None or low <= 0.0 <= high else "↓" if low > 0.0 else "↑"


def _write(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="center")
