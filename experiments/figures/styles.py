"""What all pictures share: their size, colours, axes, bands and legends.

A picture is as wide as a column of text, 700 pixels on a screen, where its smallest letters have 9 points. Colours are
Okabe and Ito's, which readers with any colour vision can tell apart.
"""

import contextlib
import pathlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullFormatter

from experiments.figures.averages import UNBOUNDED
from metagrad.statistics import Estimate

WIDTH = 7.29
"""Inches: 700 pixels, of which 96 are one."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
STROKES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))

COLOURS = {
    **{"none": "#555555", "single_step": "#E69F00", "multi_step": "#D55E00", "mixing": "#0072B2"},
    **{"bootstrapped": "#CC79A7", "corrected_multi_step": "#882255", "corrected_mixing": "#56B4E9"},
    "evolution_strategies": "#009E73",
}
OTHERS = ("#000000", "#117733", "#AA4499")
"""Colours of estimators that are the user's own code."""

STYLES: dict[str, Any] = {
    "none": (0, (1, 1)),
    "single_step": (0, (5, 2)),
    "multi_step": (0, (3, 1, 1, 1)),
    "mixing": "solid",
    "bootstrapped": (0, (5, 1, 1, 1, 1, 1)),
    "corrected_multi_step": (0, (3, 1, 1, 1)),
    "corrected_mixing": "solid",
    "evolution_strategies": (0, (8, 2)),
}

SETTINGS: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "figure.titlesize": 10.0,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

LINE = 40
"""Letters in a line of a legend, of which there are two beside each other."""


def line_style(index: int) -> dict[str, Any]:
    """Returns the style of a line that stands for no estimator in particular."""
    return {"color": OKABE_ITO[index % len(OKABE_ITO)], "linestyle": STROKES[index % len(STROKES)]}


@contextlib.contextmanager
def picture(path: pathlib.Path, height: float) -> Iterator[Figure]:
    """Makes a figure of a height in inches, which is written to a file once it is drawn."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure
        figure.savefig(path, dpi=150)


def grid(number: int) -> tuple[int, int]:
    """Returns the rows and columns that so many panels are laid out in, at most three in a row."""
    num_rows = max(-(-number // 3), 1)
    return num_rows, max(-(-number // num_rows), 1)


class _RoundTicks(Locator):
    """Ticks at decimal powers, or finer numbers where these are too few; among log-odds also at one less such a number.

    Two of them are at least a fraction `apart` of the axis from each other.
    """

    def __init__(self, scale: str, apart: float) -> None:
        self.apart, self.to_real = apart, UNBOUNDED[scale][0]
        self.round = [
            np.outer(10.0 ** np.arange(-38, 39), digits).ravel() for digits in ((1,), (2, 5), (3, 4, 6, 7, 8, 9))
        ]
        if scale == "logit":
            tails = [numbers[numbers < 0.5] for numbers in self.round]
            self.round = [np.concatenate([tail, 1.0 - tail[::-1]]) for tail in tails]
            self.round[0] = np.append(0.5, self.round[0])

    def __call__(self) -> list[float]:
        axis: Any = self.axis
        return self.tick_values(*sorted(axis.get_view_interval()))

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        least = self.apart * (self.to_real(vmax) - self.to_real(vmin))
        ticks: list[float] = []
        even = np.asarray(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(vmin, vmax), float)
        for numbers in (*self.round, even):
            if len(ticks) > 2:
                break
            for number in numbers[(vmin <= numbers) & (numbers <= vmax)]:
                if np.all(np.abs(self.to_real(number) - self.to_real(np.array(ticks))) >= least):
                    ticks.append(number)
        return sorted(ticks)


def set_scale(axes: Axes, direction: str, scale: str) -> None:
    """Makes an axis, x or y, `linear`, `log`, or `logit`: log-odds, with ticks such as 0.5, 0.9 and 0.99."""
    if scale != "linear":  # which is how axes begin
        getattr(axes, f"set_{direction}scale")(scale, nonpositive="mask")
        axis = getattr(axes, f"{direction}axis")
        axis.set_major_locator(_RoundTicks(scale, 0.2 if direction == "x" else 0.12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.9g}"))
        axis.set_minor_formatter(NullFormatter())


def draw_mean(axes: Axes, places: Any, mean: Estimate, style: Mapping[str, Any], band: bool = True) -> Line2D:
    """Draws means, float [places], as a line that it returns, and perhaps their intervals as a band."""
    if band:
        axes.fill_between(places, mean.low, mean.high, color=style["color"], alpha=0.18, linewidth=0)
    return axes.plot(places, mean.estimate, **style)[0]


def fit_lines(axes: Axes, least: float = np.inf) -> None:
    """Fits the vertical axis to the lines; of bands that are much wider a part is enough.

    Args:
      axes: the panel. What its scale has no place for, such as a lambda of one among log-odds, is drawn on its edge.
      least: where the axis begins if no line goes below.
    """
    transform = axes.yaxis.get_transform()
    places = transform.transform(np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines]))
    places = places[np.isfinite(places)]
    if not places.size:
        return
    low, high = places.min(), places.max()
    level = high - low < 1e-6 * abs(high)
    margin = (0.1 * abs(high) if level else 0.25 * (high - low)) or 1.0
    bottom, top = transform.inverted().transform(np.array([low - margin, high + margin]))
    axes.set_ylim(least - 0.04 * (top - least) if low >= least else bottom, top)
    for line in axes.lines:
        line.set_ydata(np.clip(np.asarray(line.get_ydata(), float), *axes.get_ylim()))


def title(figure: FigureBase, text: str) -> None:
    """Writes what all panels are of above them."""
    figure.suptitle(_fold(text, 2 * LINE))


def legend(figure: FigureBase, handles: Sequence[Artist], texts: Sequence[str], title: str | None = None) -> None:
    """Writes one legend below all panels: handles, what each is, and a title; short entries are beside each other."""
    figure.legend(
        handles,
        [_fold(text, LINE) for text in texts],
        title=title,
        loc="outside lower center",
        ncols=3 if max(map(len, texts)) < 0.6 * LINE else 2,
        frameon=False,
    )


def _fold(text: str, width: int) -> str:
    """Breaks a text after commas, and draws names, which may be anybody's, as they are: `$` begins no mathematics."""
    whole = " ".join(text.split()).replace("$", r"\$").replace(" ", "\xa0").replace(",\xa0", ", ")
    return textwrap.fill(whole, width).replace("\xa0", " ")
