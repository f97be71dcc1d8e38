"""The picture of a search: return against each hyperparameter."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from experiments.config import settings as config_lib
from experiments.config.search import SEARCHED
from experiments.config.settings import Config
from experiments.figures import styles


def draw(results: dict[str, Any], config: Config, picture: pathlib.Path) -> None:
    """Draws the settings' returns against each hyperparameter.

    Args:
      results: the content of `search.json`, with a best setting.
      config: the settings that all share.
      picture: the PNG to write.
    """
    with styles.picture(picture, 6.0) as figure:
        panels = figure.subplots(*styles.grid(len(SEARCHED)), sharey=True)
        for axes, name in zip(panels.flat, SEARCHED, strict=True):
            _draw_panel(axes, name, results)
        figure.supylabel(f"{config_lib.return_label(config)}, last tenth of training", fontsize="medium")
        styles.legend(figure, *panels.flat[0].get_legend_handles_labels())
        styles.title(
            figure,
            f"{config_lib.environment_title(config)}, {len(results['settings'])} settings, "
            f"{config.num_env_steps:,} environment steps a seed; {results['env_steps']:,} in all",
        )


def _draw_panel(axes: Axes, name: str, results: dict[str, Any]) -> None:
    """Draws the returns against one hyperparameter, on the scale on which it was drawn."""
    settings, best, num_seeds = results["settings"], results["best"], results["flags"]["num_seeds"]
    values = np.array([setting["hyperparameters"][name] for setting in settings])
    places = 1.0 - values if SEARCHED[name].below_one else values
    returns = np.array([setting["returns"] for setting in settings], float)  # NaN where there is none
    means = np.array([setting["return"]["estimate"] for setting in settings], float)
    blue, vermilion, *_ = styles.OKABE_ITO
    axes.vlines(places, returns.min(1), returns.max(1), color=blue, alpha=0.35, linewidth=1.0)
    seeds = f"mean of {num_seeds} seeds, line from least to most" if num_seeds > 1 else "one seed"
    axes.plot(places, means, "o", color=blue, markersize=5, label=f"setting: {seeds}")
    if missing := list(places[np.isnan(means)]):
        axes.plot(missing, [0.0] * len(missing), "x", color="black", label="diverged, or no episode ended")
    place, mean = places[best["setting"]], means[best["setting"]]
    ring: dict[str, Any] = {"fillstyle": "none", "markersize": 12, "markeredgewidth": 1.8}
    axes.plot(place, mean, "o", color=vermilion, label="best of the search", **ring)
    confirmed = best["return"]
    if confirmed["estimate"] is not None:
        ends = np.abs(np.array(confirmed["ci95"]) - confirmed["estimate"])[:, None]
        label = f"the same, {len(best['seeds'])} fresh seeds, 95% interval"
        diamond: dict[str, Any] = {"fmt": "D", "markersize": 5, "capsize": 4}
        axes.errorbar(place, confirmed["estimate"], ends, color=vermilion, label=label, **diamond)
    styles.set_scale(axes, "x", "log")
    axes.set_xlabel(SEARCHED[name].label)
    if SEARCHED[name].below_one:
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda distance, _: f"{1.0 - distance:.9g}"))
