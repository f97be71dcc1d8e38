"""What all pictures share: their size, colours, axes and legends.

A picture is as wide as a column of text, 700 pixels on a screen, where its smallest letters have 9 points. Colours are
Okabe and Ito's, which readers with any colour vision can tell apart.
"""

import contextlib
import pathlib
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import EngFormatter, FuncFormatter, Locator, MaxNLocator, NullFormatter

from experiments.figures.averages import UNBOUNDED

WIDTH = 7.29
"""Inches: 700 pixels, of which 96 are one."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
STROKES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))

COLOURS = {"none": "#555555", "single_step": "#E69F00", "multi_step": "#D55E00", "mixing": "#0072B2"}
STYLES: dict[str, Any] = {
    "none": (0, (1, 1)),
    "single_step": (0, (5, 2)),
    "multi_step": (0, (3, 1, 1, 1)),
    "mixing": "solid",
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

    Attributes:
      scale: `log` or `logit`.
      apart: the least distance of two ticks, as a fraction of the axis.
    """

    def __init__(self, scale: str, apart: float) -> None:
        self.scale, self.apart = scale, apart

    def __call__(self) -> list[float]:
        axis: Any = self.axis
        return self.tick_values(*sorted(axis.get_view_interval()))

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        to_real, _ = UNBOUNDED[self.scale]
        least = self.apart * (to_real(vmax) - to_real(vmin))
        even = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(vmin, vmax)
        ticks: list[float] = []
        for candidates in (*map(self._round, ((1,), (2, 5), (3, 4, 6, 7, 8, 9))), even):
            if len(ticks) > 2:
                break
            for number in candidates:
                if vmin <= number <= vmax and all(abs(to_real(number) - to_real(tick)) >= least for tick in ticks):
                    ticks.append(number)
        return sorted(ticks)

    def _round(self, digits: tuple[int, ...]) -> list[float]:
        """Returns numbers whose first digit is one of these and whose others are zeros."""
        numbers = [digit * 10.0**power for power in range(-38, 39) for digit in digits]
        if self.scale == "log":
            return numbers
        tails = [number for number in numbers if number < 0.5]
        return [*([0.5] if 1 in digits else []), *tails, *(1.0 - tail for tail in reversed(tails))]


def set_scale(axes: Axes, direction: str, scale: str) -> None:
    """Makes an axis `linear`, `log`, or `logit`: log-odds, with ticks such as 0.5, 0.9 and 0.99.

    Args:
      axes: the panel.
      direction: x or y.
      scale: its name.
    """
    if scale != "linear":  # which is how axes begin
        getattr(axes, f"set_{direction}scale")(scale, nonpositive="mask")
        axis = getattr(axes, f"{direction}axis")
        axis.set_major_locator(_RoundTicks(scale, 0.2 if direction == "x" else 0.12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.9g}"))
        axis.set_minor_formatter(NullFormatter())


def count_steps(axes: Axes, last: float) -> None:
    """Makes the horizontal axis one of environment steps, from zero to the last, written as 100k or 25M."""
    axes.set_xlim(0.0, 1.03 * last)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def fit_lines(axes: Axes, least: float = np.inf) -> None:
    """Fits the vertical axis to the lines; of bands that are much wider a part is enough.

    Args:
      axes: the panel. What its scale has no place for, such as a lambda of one among log-odds, is drawn on its edge.
      least: where the axis begins if no line goes below.
    """
    transform = axes.yaxis.get_transform()
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    places = transform.transform(heights)
    if not np.isfinite(places).any():
        return
    places = places[np.isfinite(places)]
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
    """Writes one legend below all panels, with its entries beside each other where they are short.

    Args:
      figure: all panels.
      handles: what is explained.
      texts: what it is.
      title: of the legend.
    """
    figure.legend(
        handles,
        [_fold(text, LINE) for text in texts],
        title=title,
        loc="outside lower center",
        ncols=3 if max(map(len, texts)) < 0.6 * LINE else 2,
        frameon=False,
    )


def as_drawn(name: str) -> str:
    """Returns a name, which may be anybody's, for Matplotlib to draw as it is.

    Matplotlib takes what is between two `$` for mathematics, leaves labels with a leading underscore out of legends,
    and warns of letters that its font does not have.
    """
    letters = get_font(findfont(FontProperties())).get_charmap()
    known = "".join(letter if ord(letter) in letters else "?" for letter in " ".join(name.split()))
    return (" " if known.startswith("_") else "") + known.replace("$", r"\$")


def _fold(text: str, width: int) -> str:
    """Breaks a text after commas."""
    whole = as_drawn(text).replace(" ", "\xa0").replace(",\xa0", ", ")
    return textwrap.fill(whole, width).replace("\xa0", " ")
