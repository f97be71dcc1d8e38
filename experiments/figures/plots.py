"""The pictures of training runs: returns, the tuned hyperparameters' paths, and the meta-gradients' spread over seeds.

Lines are means over seeds. Where seeds are few each has a thin line of its own, else a band is the mean's 95% interval.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from experiments.config import settings as config_lib
from experiments.config.settings import Config
from experiments.figures import outcome, styles
from experiments.figures.averages import over_seeds, scale_of
from experiments.storage import config_file
from experiments.storage.config_file import CONFIG
from experiments.storage.metrics import Metrics, dropped_seeds, of_survivors, read_metrics
from metagrad.meta_parameters import INTERVALS

TRAINING_PICTURE, COMPARISON_PICTURE = "train.png", "compare.png"

FIXED = "#009E73"
"""For a second run that tunes nothing."""

SMOOTHING_POINTS = 5
"""Neighbouring logging points that the spread of the meta-gradient is pooled over, since each has few seeds."""

MANY = 10
"""Seeds from which on a band tells more than their lines."""


class _Run(NamedTuple):
    """A run as it is drawn; `style` is that of its lines."""

    label: str
    config: Config
    metrics: Metrics
    style: Mapping[str, Any]


def draw_training(folder: pathlib.Path) -> None:
    """Draws `train.png` of one run."""
    draw_comparison({"": folder}, folder / TRAINING_PICTURE)


def draw_comparison(folders: Mapping[str, pathlib.Path], picture: pathlib.Path) -> None:
    """Draws one picture of runs on one board that differ in their estimators, or in what they fix.

    Args:
      folders: the runs, by the name that tells those which tune nothing apart.
      picture: the PNG to write.
    """
    runs = _read_runs(folders)
    config = next((run.config for run in runs if run.config.estimator != "none"), runs[0].config)
    tuned = outcome.tuned(config)
    panels = _layout(tuned)
    with styles.picture(picture, 1.6 + 1.6 * len(panels) + 0.12 * len(runs)) as figure:
        axes = figure.subplot_mosaic(panels, empty_sentinel="", height_ratios=[1.5] + [1.0] * (len(panels) - 1))
        returns = axes["episode_return"]
        handles = [draw_column(returns, run.metrics, "episode_return", run.style) for run in runs]
        styles.fit_lines(returns, least=0.0)
        returns.set(title="Return of the episodes that ended", ylabel=config_lib.return_label(config))
        for name in tuned:
            _draw_path(axes[f"hyper/{name}"], name, runs)
            _draw_spread(axes[f"meta_grad/{name}"], name, runs)
        for panel in axes.values():
            styles.count_steps(panel, last_step(run.metrics for run in runs))
        for column in filter(None, panels[-1]):
            axes[column].set_xlabel("environment steps a seed")
        styles.title(figure, _title(config))
        styles.legend(figure, handles, [run.label for run in runs], legend_title(run.metrics for run in runs))


def _layout(tuned: Sequence[str]) -> list[Any]:
    """Returns rows of columns of the metrics: returns above, then paths and below each its meta-gradient's spread."""
    _, width = styles.grid(len(tuned))
    paths, spreads = ([f"{kind}/{name}" for name in tuned] for kind in ("hyper", "meta_grad"))
    if len(tuned) == 1:
        return [["episode_return"] * 2, paths + spreads]
    rows = [part[start : start + width] for start in range(0, len(tuned), width) for part in (paths, spreads)]
    return [["episode_return"] * width, *(row + [""] * (width - len(row)) for row in rows)]


def draw_column(axes: Axes, metrics: Metrics, column: str, style: Mapping[str, Any]) -> Line2D:
    """Draws a column of the metrics against environment steps.

    Args:
      axes: the panel.
      metrics: of a run, without the seeds that were dropped.
      column: its name.
      style: of the lines.

    Returns:
      The line of the mean; each seed has a thin line besides, or from `MANY` on all together the 95% interval's band.
    """
    axes.set_autoscaley_on(False)  # `fit_lines` does it
    steps, values = metrics["env_steps"][:, 0], metrics[column]
    alone: dict[str, Any] = {"marker": "o", "markersize": 3.0} if len(steps) == 1 else {}
    mean = over_seeds(column, values)
    (line,) = axes.plot(steps, mean.estimate, **style, **alone)
    if values.shape[1] >= MANY:
        axes.fill_between(steps, mean.low, mean.high, color=style["color"], alpha=0.18, linewidth=0)
    else:
        axes.plot(steps, values, color=style["color"], linewidth=0.7, alpha=0.45, zorder=1.5, **alone)
    return line


def last_step(runs: Iterable[Metrics]) -> float:
    """Returns the environment steps at which the longest of runs ends."""
    return max(run["env_steps"][-1, 0] for run in runs)


def legend_title(runs: Iterable[Metrics]) -> str:
    """Says what is drawn of runs, of which each has the seeds that were not dropped."""
    numbers = sorted({run["seed"].shape[1] for run in runs})
    if numbers == [1]:
        return "one seed"
    thin = "; thin: each seed" if numbers[0] < MANY else ""
    band = "; band: 95% interval" if numbers[-1] >= MANY else ""
    return f"mean of {' or '.join(map(str, numbers))} seeds{thin}{band}"


def _read_runs(folders: Mapping[str, pathlib.Path]) -> list[_Run]:
    """Reads runs and gives each a label and a style: that of its estimator, paler where it has had others."""
    configs = {name: config_file.load(folder / CONFIG) for name, folder in folders.items()}
    runs: list[_Run] = []
    for (name, config), label in zip(configs.items(), _labels(configs), strict=True):
        metrics = read_metrics(folders[name])
        dropped = dropped_seeds(metrics).sum()
        alike = sum(run.config.estimator == config.estimator for run in runs)
        colour = FIXED if config.estimator == "none" and alike else styles.COLOURS[config.estimator]
        strength = 1.0 if colour == FIXED else 0.65**alike
        style = {
            "color": [1.0 - strength * (1.0 - channel) for channel in to_rgb(colour)],
            "linestyle": styles.STYLES[config.estimator],
        }
        marked = f"{label}, {dropped} of {config.num_seeds} seeds dropped" if dropped else label
        runs.append(_Run(marked, config, of_survivors(metrics), style))
    return runs


def _labels(configs: Mapping[str, Config]) -> list[str]:
    """Calls runs by their estimators; those which tune nothing by their names, and by what they fix differently."""
    hyperparameters = [config.hyperparameters() for config in configs.values()]
    differing = [name for name in INTERVALS if len({values[name] for values in hyperparameters}) > 1]
    labels = []
    for name, config in configs.items():
        label = config_lib.estimator_title(config.estimator, config.horizon)
        if config.estimator == "none":
            values = config.hyperparameters()
            called = "" if name in ("", "none") else f", {name.replace('_', ' ')}"
            fixed = (f"{key.replace('_', ' ')} {values[key]:.4g}" for key in differing or config.meta_params)
            label += f"{called}: {', '.join(fixed)}"
        labels.append(label)
    return labels


def _draw_path(axes: Axes, name: str, runs: Sequence[_Run]) -> None:
    """Draws a hyperparameter, level where a run fixes it."""
    column = f"hyper/{name}"
    styles.set_scale(axes, "y", scale_of(column))
    for run in runs:
        if run.config.estimator == "none":
            axes.axhline(run.config.hyperparameters()[name], **run.style)
        else:
            draw_column(axes, run.metrics, column, run.style)
    styles.fit_lines(axes)
    axes.set_title(name.replace("_", " "))


def _draw_spread(axes: Axes, name: str, runs: Sequence[_Run]) -> None:
    """Draws the standard deviation over seeds of a hyperparameter's meta-gradient."""
    spreads = [
        (run, _pooled_deviation(run.metrics[f"meta_grad/{name}"]))
        for run in runs
        if run.config.estimator != "none" and run.metrics["seed"].shape[1] > 1
    ]
    logarithmic = any(np.any(deviation > 0.0) for _, deviation in spreads)
    if logarithmic:  # before limits are asked for that a logarithm may not have
        styles.set_scale(axes, "y", "log")
    for run, deviation in spreads:
        marker = "o" if len(deviation) == 1 else None
        axes.plot(run.metrics["env_steps"][:, 0], deviation, marker=marker, markersize=3.0, **run.style)
    if logarithmic:
        styles.fit_lines(axes)
    elif not spreads:
        axes.text(0.5, 0.5, "needs two seeds", transform=axes.transAxes, ha="center")
    axes.set_title("std of meta-gradient")


def _pooled_deviation(samples: np.ndarray) -> np.ndarray:
    """Returns the standard deviation over seeds, [points], with variances averaged over neighbouring points."""
    variances = samples.var(axis=1, ddof=1)
    window = np.ones(min(SMOOTHING_POINTS, len(variances)))
    return np.sqrt(np.convolve(variances, window, "same") / np.convolve(np.ones_like(variances), window, "same"))


def _title(config: Config) -> str:
    title = config_lib.environment_title(config)
    return f"{title}, {config.num_envs} environments × {config.rollout_length} steps a rollout"
