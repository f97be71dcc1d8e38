"""The pictures of training runs: returns, the tuned hyperparameters' paths, and the meta-gradients' spread over seeds.

Lines are means over seeds, bands are 95% confidence intervals of the mean. Colours are Okabe and Ito's, which readers
with any colour vision can tell apart.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import EngFormatter

from experiments import config as config_lib
from experiments.config import Config
from experiments.run_folder import CONFIG, Metrics, dropped_seeds, of_survivors, read_metrics
from metagrad import statistics
from metagrad.meta_parameters import INTERVALS

TRAINING_PICTURE, COMPARISON_PICTURE = "train.png", "compare.png"

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
"""For lines that stand for no estimator in particular."""

COLOURS = {"none": "#555555", "single_step": "#E69F00", "multi_step": "#D55E00", "mixing": "#0072B2"}
STYLES: dict[str, Any] = {
    "none": (0, (1, 1)),
    "single_step": (0, (5, 2)),
    "multi_step": (0, (3, 1, 1, 1)),
    "mixing": "solid",
}
FIXED = "#009E73"
"""For a second run that tunes nothing."""

SMOOTHING_POINTS = 5
"""Neighbouring logging points that the spread of the meta-gradient is pooled over, since each has few seeds."""


class _Run(NamedTuple):
    """A run as it is drawn; `style` is that of its lines."""

    label: str
    config: Config
    metrics: Metrics
    style: Mapping[str, Any]


def as_drawn(name: str) -> str:
    """Returns a name, which may be anybody's, for Matplotlib to draw as it is.

    Matplotlib takes what is between two `$` for mathematics, leaves labels with a leading underscore out of legends,
    and warns of letters that its font does not have.
    """
    letters = get_font(findfont(FontProperties())).get_charmap()
    known = "".join(letter if ord(letter) in letters else "?" for letter in " ".join(name.split()))
    return (" " if known.startswith("_") else "") + known.replace("$", r"\$")


def draw_training(folder: pathlib.Path) -> None:
    """Draws `train.png` of one run."""
    _draw(_read_runs({"": folder}), folder / TRAINING_PICTURE)


def draw_comparison(folders: Mapping[str, pathlib.Path], picture: pathlib.Path) -> None:
    """Draws one picture of runs on one board that differ in their estimators, or in what they fix.

    Args:
      folders: the runs, by the name that those which tune nothing are called by.
      picture: the PNG to write.
    """
    _draw(_read_runs(folders), picture)


def _read_runs(folders: Mapping[str, pathlib.Path]) -> list[_Run]:
    """Reads runs and gives each a label and a style: that of its estimator, paler where it has had others."""
    runs: list[_Run] = []
    for name, folder in folders.items():
        config = config_lib.load(folder / CONFIG)
        alike = sum(run.config.estimator == config.estimator for run in runs)
        colour = FIXED if config.estimator == "none" and alike else COLOURS[config.estimator]
        strength = 1.0 if colour == FIXED else 0.65**alike
        rgb = [1.0 - strength * (1.0 - channel) for channel in to_rgb(colour)]
        called = f"{as_drawn(name.replace('_', '-'))}: " if name else ""
        fixed = f"{called}nothing is tuned" if config.estimator == "none" else ""
        metrics = read_metrics(folder)
        dropped = dropped_seeds(metrics).sum()
        label = (fixed or config_lib.estimator_title(config.estimator, config.horizon)) + (
            f" ({dropped} seeds dropped)" if dropped else ""
        )
        style = {"color": rgb, "linestyle": STYLES[config.estimator]}
        runs.append(_Run(label, config, of_survivors(metrics), style))
    return runs


def _draw(runs: Sequence[_Run], picture: pathlib.Path) -> None:
    """Draws returns on the left; on the right a column for each tuned hyperparameter."""
    config = next((run.config for run in runs if run.config.estimator != "none"), runs[0].config)
    tuned = () if config.estimator == "none" else config.meta_params
    figure = Figure(figsize=(7.0 + 3.6 * len(tuned), 6.4), layout="constrained")
    returns, *columns = figure.subfigures(1, 1 + len(tuned), width_ratios=[2.0] + [1.0] * len(tuned), squeeze=False)[0]
    axes = returns.subplots()
    for run in runs:
        _line(axes, run, "episode_return")
    axes.set(title="Return of the episodes that ended", ylabel=config_lib.return_label(config))
    _fit_lines(axes, least=0.0)
    axes.legend(title=f"mean of {config.num_seeds} seeds, 95% band" if config.num_seeds > 1 else "one seed")
    for name, column in zip(tuned, columns, strict=True):
        _draw_hyperparameter(column, name, runs)
    for axes in figure.axes:
        axes.set_xlabel("environment steps a seed")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(config), fontsize=11)
    figure.savefig(picture, dpi=130)


def _draw_hyperparameter(column: Figure, name: str, runs: Sequence[_Run]) -> None:
    """Draws one hyperparameter's path above the spread of its meta-gradient."""
    path, spread = column.subplots(2, 1, sharex=True)
    spread.set_yscale("log")  # before the limits of either panel are asked for, which a logarithm may not have
    for run in runs:
        if run.config.estimator == "none":
            path.axhline(run.config.hyperparameters()[name], **run.style)
            continue
        _line(path, run, f"hyper/{name}")
        if run.metrics["seed"].shape[1] > 1:
            deviation = _pooled_deviation(run.metrics[f"meta_grad/{name}"])
            spread.plot(run.metrics["env_steps"][:, 0], np.where(deviation > 0.0, deviation, np.nan), **run.style)
    _fit_lines(path)
    low, high = np.clip(path.get_ylim(), *INTERVALS[name])  # bands may reach beyond what there is
    if low < high:
        path.set_ylim(low, high)
    path.set(title=name)
    path.ticklabel_format(axis="y", useOffset=False)
    spread.set(title="meta-gradient: std over seeds", ylabel="d outer loss / d eta")
    if max(run.config.num_seeds for run in runs) == 1:
        spread.text(0.5, 0.5, "needs two seeds", transform=spread.transAxes, ha="center")


def _line(axes: Axes, run: _Run, column: str) -> None:
    """Draws a column's mean over seeds with its 95% band."""
    steps = run.metrics["env_steps"][:, 0]
    mean = statistics.mean(run.metrics[column].T)
    axes.plot(steps, mean.estimate, label=run.label, **run.style)
    axes.fill_between(steps, mean.low, mean.high, color=run.style["color"], alpha=0.18, linewidth=0)


def _fit_lines(axes: Axes, least: float = np.inf) -> None:
    """Fits the vertical axis to the lines; of bands that are much wider, as few seeds make them, a part is enough.

    Lines that stay above `least` start there.
    """
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    if np.isfinite(heights).any():
        low, high = np.nanmin(heights), np.nanmax(heights)
        margin = 0.35 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(least if low >= least else low - margin, high + margin)


def _pooled_deviation(samples: np.ndarray) -> np.ndarray:
    """Returns the standard deviation over seeds, [points], with variances averaged over neighbouring points."""
    variances = samples.var(axis=1, ddof=1)
    window = np.ones(min(SMOOTHING_POINTS, len(variances)))
    return np.sqrt(np.convolve(variances, window, "same") / np.convolve(np.ones_like(variances), window, "same"))


def _title(config: Config) -> str:
    title = config_lib.environment_title(config)
    return f"{title}, {config.num_envs} environments × {config.rollout_length} steps a rollout"
