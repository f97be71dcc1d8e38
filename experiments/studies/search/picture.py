"""The picture of a search: return against each hyperparameter."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from experiments.config import settings as config_lib
from experiments.config.search import SEARCHED, Searched
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
        for axes, (name, searched) in zip(panels.flat, SEARCHED.items(), strict=True):
            _draw_panel(axes, name, searched, results)
        figure.supylabel(f"{config_lib.return_label(config)}, last tenth of training", fontsize="medium")
        styles.legend(figure, *panels.flat[0].get_legend_handles_labels())
        styles.title(
            figure,
            f"{config_lib.environment_title(config)}, {len(results['settings'])} settings, "
            f"{config.num_env_steps:,} environment steps a seed; {results['env_steps']:,} in all",
        )


def _draw_panel(axes: Axes, name: str, searched: Searched, results: dict[str, Any]) -> None:
    """Draws the returns against one hyperparameter, on the scale on which it was drawn."""

    def place(described: dict[str, Any]) -> float:
        value = described["hyperparameters"][name]
        return 1.0 - value if searched.below_one else value

    settings, best = results["settings"], results["best"]
    measured = [setting for setting in settings if setting["return"]["estimate"] is not None]
    missing = [setting for setting in settings if setting["return"]["estimate"] is None]
    blue, vermilion, *_ = styles.OKABE_ITO
    num_seeds = results["flags"]["num_seeds"]
    means = [setting["return"]["estimate"] for setting in measured]
    lows, highs = ([end(setting["returns"]) for setting in measured] for end in (min, max))
    places = list(map(place, measured))
    axes.vlines(places, lows, highs, color=blue, alpha=0.35, linewidth=1.0)
    seeds = f"mean of {num_seeds} seeds, line from least to most" if num_seeds > 1 else "one seed"
    axes.plot(places, means, "o", color=blue, markersize=5, label=f"setting: {seeds}")
    if missing:
        axes.plot(
            list(map(place, missing)), [0.0] * len(missing), "x", color="#000000", label="diverged, or no episode ended"
        )
    chosen = settings[best["setting"]]
    axes.plot(
        place(chosen),
        chosen["return"]["estimate"],
        "o",
        color=vermilion,
        fillstyle="none",
        markersize=12,
        markeredgewidth=1.8,
        label="best of the search",
    )
    confirmed = best["return"]
    if confirmed["estimate"] is not None:
        axes.errorbar(
            place(chosen),
            confirmed["estimate"],
            np.abs(np.array(confirmed["ci95"]) - confirmed["estimate"])[:, None],
            fmt="D",
            color=vermilion,
            markersize=5,
            capsize=4,
            label=f"the same, {len(best['seeds'])} fresh seeds, 95% interval",
        )
    styles.set_scale(axes, "x", "log")
    axes.set_xlabel(searched.label)
    if searched.below_one:
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda distance, _: f"{1.0 - distance:.9g}"))
