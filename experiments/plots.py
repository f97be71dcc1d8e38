"""The pictures of training runs: returns, the tuned hyperparameters' paths, and the meta-gradients' spread over seeds.

Lines are means over seeds, bands are 95% confidence intervals of the mean. Colours are Okabe and Ito's, which readers
with any colour vision can tell apart.
"""

import pathlib
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments import config as config_lib
from experiments.config import Config
from experiments.run_folder import CONFIG, Metrics, dropped_seeds, of_survivors, read_metrics
from metagrad import statistics

TRAINING_PICTURE, COMPARISON_PICTURE = "train.png", "compare.png"

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
"""For lines that stand for no estimator in particular."""

COLOURS = {"none": "#555555", "single_step": "#E69F00", "multi_step": "#D55E00", "mixing": "#0072B2"}
STYLES = {"none": (0, (1, 1)), "single_step": (0, (5, 2)), "multi_step": (0, (3, 1, 1, 1)), "mixing": "solid"}

SMOOTHING_POINTS = 5
"""Neighbouring logging points that the spread of the meta-gradient is pooled over, since each has few seeds."""


def draw_training(folder: pathlib.Path) -> None:
    """Draws `train.png` of one run."""
    config = config_lib.load(folder / CONFIG)
    _draw({config.estimator: folder}, config, folder / TRAINING_PICTURE)


def draw_comparison(folders: Mapping[str, pathlib.Path], picture: pathlib.Path) -> None:
    """Draws one picture of runs that differ in their estimator alone.

    Args:
      folders: the runs by the name of their estimator; some of them tune hyperparameters.
      picture: the PNG to write.
    """
    _draw(folders, config_lib.load(list(folders.values())[-1] / CONFIG), picture)


def _draw(folders: Mapping[str, pathlib.Path], config: Config, picture: pathlib.Path) -> None:
    """Draws returns on the left; on the right a column for each tuned hyperparameter."""
    logged = {name: read_metrics(folder) for name, folder in folders.items()}
    dropped = {name: int(dropped_seeds(metrics).sum()) for name, metrics in logged.items()}
    runs = {name: of_survivors(metrics) for name, metrics in logged.items()}
    tuned = config.meta_params if any(name != "none" for name in runs) else ()
    figure = plt.figure(figsize=(7.0 + 3.6 * len(tuned), 6.4), layout="constrained")
    returns, *columns = figure.subfigures(1, 1 + len(tuned), width_ratios=[2.0] + [1.0] * len(tuned), squeeze=False)[0]
    axes = returns.subplots()
    for name, metrics in runs.items():
        _line(axes, name, metrics, "episode_return", f" ({dropped[name]} seeds dropped)" if dropped[name] else "")
    axes.set(title="Return of the episodes that ended", ylabel="fruits an episode")
    _fit_lines(axes)
    axes.set_ylim(bottom=0.0)
    axes.legend(title=f"mean of {config.num_seeds} seeds, 95% band" if config.num_seeds > 1 else "one seed")
    for name, column in zip(tuned, columns, strict=True):
        _draw_hyperparameter(column, name, runs, config)
    for axes in figure.axes:
        axes.set_xlabel("environment steps a seed")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(config), fontsize=11)
    figure.savefig(picture, dpi=130)
    plt.close(figure)


def _draw_hyperparameter(column: Figure, name: str, runs: Mapping[str, Metrics], config: Config) -> None:
    """Draws one hyperparameter's path above the spread of its meta-gradient."""
    path, spread = column.subplots(2, 1, sharex=True)
    for estimator, metrics in runs.items():
        if estimator == "none":
            path.axhline(config.hyperparameters()[name], color=COLOURS["none"], linestyle=STYLES["none"])
            continue
        _line(path, estimator, metrics, f"hyper/{name}")
        if metrics["seed"].shape[1] > 1:
            deviation = _pooled_deviation(metrics[f"meta_grad/{name}"])
            spread.plot(metrics["env_steps"][:, 0], deviation, color=COLOURS[estimator], linestyle=STYLES[estimator])
    _fit_lines(path)
    path.set(title=name)
    path.ticklabel_format(axis="y", useOffset=False)
    spread.set(yscale="log", title="meta-gradient: std over seeds", ylabel="d outer loss / d eta")
    if config.num_seeds == 1:
        spread.text(0.5, 0.5, "needs two seeds", transform=spread.transAxes, ha="center")


def _line(axes: Axes, estimator: str, metrics: Metrics, column: str, remark: str = "") -> None:
    """Draws a column's mean over seeds with its 95% band."""
    steps = metrics["env_steps"][:, 0]
    mean = statistics.mean(metrics[column].T)
    label = estimator.replace("_", "-") + remark
    axes.plot(steps, mean.estimate, color=COLOURS[estimator], linestyle=STYLES[estimator], label=label)
    axes.fill_between(steps, mean.low, mean.high, color=COLOURS[estimator], alpha=0.18, linewidth=0)


def _fit_lines(axes: Axes) -> None:
    """Fits the vertical axis to the lines; of bands that are much wider, as few seeds make them, a part is enough."""
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    if np.isfinite(heights).any():
        low, high = np.nanmin(heights), np.nanmax(heights)
        margin = 0.35 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)


def _pooled_deviation(samples: np.ndarray) -> np.ndarray:
    """Returns the standard deviation over seeds, [points], with variances averaged over neighbouring points."""
    variances = samples.var(axis=1, ddof=1)
    window = np.ones(min(SMOOTHING_POINTS, len(variances)))
    return np.sqrt(np.convolve(variances, window, "same") / np.convolve(np.ones_like(variances), window, "same"))


def _title(config: Config) -> str:
    rows, cols = config_lib.board_shape(config.board_size)
    title = f"Snake {rows}×{cols}, {config.num_envs} environments × {config.rollout_length} steps a rollout"
    return title + (f", horizon {config.horizon}" if config.updates_per_window > 1 else "")
