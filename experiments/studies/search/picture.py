"""The picture of a search: return against each hyperparameter, or of a population the hyperparameters over time."""

import itertools
import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.config import titles
from experiments.config.search import SEARCHED
from experiments.config.settings import Config
from experiments.figures import styles

BLUE, VERMILION, *_ = styles.OKABE_ITO


def draw(results: dict[str, Any], config: Config, picture: pathlib.Path) -> None:
    """Draws the settings' returns against each hyperparameter, or the life of a population.

    Args:
      results: the content of `search.json`, with a best setting.
      config: the settings that all share.
      picture: the PNG to write.
    """
    population = "exploitations" in results
    with styles.picture(picture, 6.0) as figure:
        panels = figure.subplots(*styles.grid(len(SEARCHED) + population), sharex=population, sharey=not population)
        for axes, name in zip(panels.flat, SEARCHED, strict=False):
            (_draw_members if population else _draw_panel)(axes, name, results)
        if population:
            _draw_scores(panels.flat[len(SEARCHED)], results, config)
        for unused in panels.flat[len(SEARCHED) + population :]:
            unused.set_axis_off()
        if not population:
            figure.supylabel(f"{titles.return_label(config)}, last tenth of training", fontsize="medium")
        drawn = [panels.flat[0], *panels.flat[len(SEARCHED) : len(SEARCHED) + population]]
        handles, labels = zip(*(axes.get_legend_handles_labels() for axes in drawn), strict=True)
        styles.legend(figure, list(itertools.chain(*handles)), list(itertools.chain(*labels)))
        what = "members of a population" if population else "settings"
        styles.title(
            figure,
            f"{titles.environment_title(config)}, {len(results['settings'])} {what}, "
            f"{config.num_env_steps:,} environment steps a seed; {results['env_steps']:,} in all",
        )


def _draw_panel(axes: Axes, name: str, results: dict[str, Any]) -> None:
    """Draws the returns against one hyperparameter, on the scale on which it was drawn."""
    settings, best, num_seeds = results["settings"], results["best"], results["flags"]["num_seeds"]
    values = np.array([setting["hyperparameters"][name] for setting in settings])
    places = SEARCHED[name].natural(values)
    returns = np.array([setting["returns"] for setting in settings], float)  # NaN where there is none
    means = np.array([setting["return"]["estimate"] for setting in settings], float)
    axes.vlines(places, returns.min(1), returns.max(1), color=BLUE, alpha=0.35, linewidth=1.0)
    seeds = f"mean of {num_seeds} seeds, line from least to most" if num_seeds > 1 else "one seed"
    axes.plot(places, means, "o", color=BLUE, markersize=5, label=f"setting: {seeds}")
    if missing := list(places[np.isnan(means)]):
        axes.plot(missing, [0.0] * len(missing), "x", color="black", label="diverged, or no episode ended")
    place, mean = places[best["setting"]], means[best["setting"]]
    ring: dict[str, Any] = {"fillstyle": "none", "markersize": 12, "markeredgewidth": 1.8}
    axes.plot(place, mean, "o", color=VERMILION, label="best of the search", **ring)
    _draw_confirmed(axes, place, results, "the same")
    _set_scale(axes, "x", name)
    axes.set_xlabel(SEARCHED[name].label)


def _draw_confirmed(axes: Axes, place: float, results: dict[str, Any], what: str) -> None:
    """Draws the return of the best with fresh seeds, if there is one."""
    best, confirmed = results["best"], results["best"]["return"]
    if confirmed["estimate"] is not None:
        ends = np.abs(np.array(confirmed["ci95"]) - confirmed["estimate"])[:, None]
        label = f"{what}, {len(best['seeds'])} fresh seeds, 95% interval"
        diamond: dict[str, Any] = {"fmt": "D", "markersize": 5, "capsize": 4, "clip_on": False}
        axes.errorbar(place, confirmed["estimate"], ends, color=VERMILION, label=label, **diamond)


def _set_scale(axes: Axes, direction: str, name: str) -> None:
    """Lets an axis have a hyperparameter's natural scale, in logarithms; larger values are to the right, or above."""
    styles.set_scale(axes, direction, "log")
    if SEARCHED[name].below_one:
        axis = getattr(axes, f"{direction}axis")
        axis.set_inverted(True)
        axis.set_major_formatter(FuncFormatter(lambda distance, _: f"{1.0 - distance:.9g}"))


def _draw_members(axes: Axes, name: str, results: dict[str, Any]) -> None:
    """Draws one hyperparameter of every member over time, and that of the best member's lineage."""
    natural, begins = SEARCHED[name].natural, _begins(results)
    values = np.array([start[name] for start in results["starts"]])
    for exploitation, begin, end in zip([*results["exploitations"], None], begins[:-1], begins[1:], strict=True):
        label = "" if begin else "a member's value"
        axes.hlines(natural(values), begin, end, color=BLUE, alpha=0.45, linewidth=1.2, label=label)
        for copy in exploitation["copies"] if exploitation else ():
            values[copy["to"]] = copy["hyperparameters"][name]
    line = np.array([stretch["hyperparameters"][name] for stretch in results["best"]["schedule"]])
    axes.step(begins, natural(np.append(line, line[-1])), where="post", color=VERMILION, linewidth=2.0)
    _set_scale(axes, "y", name)
    axes.set_title(SEARCHED[name].label.partition(",")[0])
    _label_steps(axes)


def _draw_scores(axes: Axes, results: dict[str, Any], config: Config) -> None:
    """Draws what members returned in each stretch, where it ends."""
    schedule = results["best"]["schedule"]
    final = [setting["return"]["estimate"] for setting in results["settings"]]
    scores = np.array([*(exploitation["scores"] for exploitation in results["exploitations"]), final], float)
    ends = np.array(_begins(results)[1:])
    steps = np.repeat(ends[:, None], scores.shape[1], 1)
    axes.plot(
        steps.ravel(),
        scores.ravel(),
        "o",
        color=BLUE,
        alpha=0.6,
        markersize=4,
        label="its return since the last exploitation; at the end, over the last tenth",
    )
    missing = steps[np.isnan(scores)]
    if missing.size:
        axes.plot(missing, np.zeros(missing.size), "x", color="black", label="diverged, or no episode ended")
    line = scores[np.arange(len(ends)), [stretch["member"] for stretch in schedule]]
    axes.plot(ends, line, color=VERMILION, linewidth=2.0, label="the best member's lineage")
    _draw_confirmed(axes, ends[-1], results, "its schedule")
    axes.set_title(titles.return_label(config))
    _label_steps(axes)


def _begins(results: dict[str, Any]) -> list[int]:
    """Returns the environment steps at which stretches between exploitations begin, and the end of training."""
    times = [exploitation["env_steps"] for exploitation in results["exploitations"]]
    return [0, *times, results["flags"]["num_env_steps"]]


def _label_steps(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_tick_params(labelbottom=True)
    axes.set_xlabel("environment steps")
