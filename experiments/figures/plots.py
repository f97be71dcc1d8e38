"""The pictures of training runs: `train.png`, `compare.png`, curves. A study's pictures are in its own package.

Commands draw them once training has ended. The curves of `report.html` are in `studies.report.curves`.
"""

import itertools
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from agents.hyperparameters import BIJECTIONS
from experiments.config.own_code import is_own_code
from experiments.config.ranges import UsageError
from experiments.config.settings import Config, by_flag
from experiments.config.titles import environment_title, return_label, run_title
from experiments.figures import outcome, styles
from experiments.figures.averages import over_seeds, scale_of
from experiments.storage.config_file import CONFIG, load
from experiments.storage.metrics import Metrics, of_survivors, read_metrics

RETURN = "episode_return"
TRAINING_PICTURE, COMPARISON_PICTURE = "train.png", "compare.png"

FIXED = (styles.COLOURS["none"], "#009E73", *styles.OTHERS)
"""Colours of runs that tune nothing, one after another."""

SMOOTHING_POINTS = 5
"""Neighbouring logging points that the spread of the meta-gradient is pooled over, since each has few seeds."""

MANY = 10
"""Seeds from which on a band tells more than their lines."""

OF_TUNING = ("meta_", "mixing_", "bootstrap_", "sampling_", "evolution_", "exact_", "outer_")
"""How settings begin that mean nothing where nothing is tuned."""


class Run(NamedTuple):
    """A run to be drawn.

    Attributes:
      config: its settings.
      metrics: its columns, without the seeds that were dropped; hyperparameters that it did not tune are level.
      label: what the legend calls it.
      style: of its lines.
    """

    config: Config
    metrics: Metrics
    label: str
    style: Mapping[str, Any]

    @property
    def dropped(self) -> int:
        """How many seeds were dropped."""
        return self.config.num_seeds - self.metrics["seed"].shape[1]


def read_runs(folders: Sequence[pathlib.Path]) -> list[Run]:
    """Reads runs, which have no labels yet, and styles that stand for nothing in particular.

    Raises:
      UsageError: if a folder does not hold one.
    """
    runs = []
    for index, folder in enumerate(folders):
        config, metrics = load(folder / CONFIG), of_survivors(read_metrics(folder))
        shape = metrics["seed"].shape
        level = {f"hyper/{name}": np.full(shape, value) for name, value in config.hyperparameters().items()}
        runs.append(Run(config, level | dict(metrics), "", styles.line_style(index)))
    return runs


def pooled_deviation(samples: np.ndarray) -> np.ndarray:
    """Returns the standard deviation over seeds, [points], with variances averaged over neighbouring points.

    Args:
      samples: float [points, seeds].
    """
    variances = samples.var(axis=1, ddof=1)
    window = np.ones(min(SMOOTHING_POINTS, len(variances)))
    return np.sqrt(np.convolve(variances, window, "same") / np.convolve(np.ones_like(variances), window, "same"))


def label_by_settings(runs: Sequence[Run]) -> list[Run]:
    """Labels runs by the settings in which they differ, the estimator first, which has its own style where all differ.

    Raises:
      UsageError: if two runs have the same settings.
    """
    if len({run_title(run.config) for run in runs}) == len(runs):
        runs = label_by_estimators({str(index): run for index, run in enumerate(runs)})
    settings = []
    titles = Counter(title for title, _ in {(run_title(run.config), run.config.estimator) for run in runs})
    for config, *_ in runs:
        unsaid = ("horizon", "bootstrap_updates", *(OF_TUNING if config.estimator == "none" else ()))
        said = {name: f"{name} {value}" for name, value in by_flag(config).items() if not name.startswith(unsaid)}
        title = run_title(config)
        ambiguous = titles[title] > 1 and is_own_code(config.estimator)
        settings.append(said | {"estimator": config.estimator if ambiguous else title})
    names = dict.fromkeys(itertools.chain(*settings))
    differing = [name for name in names if len({each[name] for each in settings if name in each}) > 1]
    # How long a run is the axis shows, and how many seeds it has the legend, unless nothing else tells runs apart.
    for telling in ([name for name in differing if name not in ("num_env_steps", "num_seeds")], differing):
        labels = [", ".join(each[name] for name in telling if name in each) for each in settings]
        if len(set(labels)) == len(runs):
            return [run._replace(label=label) for run, label in zip(runs, labels, strict=True)]
    raise UsageError("`runs`: two of the runs have the same settings")


def label_by_estimators(runs: Mapping[str, Run]) -> list[Run]:
    """Labels runs by their estimators, whose styles they get; further runs of one estimator are paler.

    Those that tune nothing are labelled by their names besides, and by what they fix differently.
    """
    fixed = [run.config.hyperparameters() for run in runs.values()]
    differing = [name for name in BIJECTIONS if len({values[name] for values in fixed}) > 1]
    labelled: list[Run] = []
    own = [run.config.estimator for run in runs.values() if run.config.estimator not in styles.COLOURS]
    colours = styles.COLOURS | dict(zip(dict.fromkeys(own), styles.OTHERS * len(own), strict=False))
    for (name, run), values in zip(runs.items(), fixed, strict=True):
        estimator = run.config.estimator
        alike = sum(estimator == other.config.estimator for other in labelled)
        label = run_title(run.config)
        colour, strength = colours[estimator], max(0.65**alike, 0.3)
        if estimator == "none":
            named = differing or [key for key in run.config.meta_params if key in values]
            told = ", ".join(f"{key} {values[key]:.4g}" for key in named)
            called = "" if name in ("", "none") else f", {name}"
            label = f"{label}{called}: {told}".replace("_", " ")
            colour, strength = FIXED[alike % len(FIXED)], 1.0
        if run.dropped:
            label += f", {run.dropped} of {run.config.num_seeds} seeds dropped"
        paler = [1.0 - strength * (1.0 - channel) for channel in to_rgb(colour)]
        stroke = styles.STYLES.get(estimator, "dashdot")
        labelled.append(run._replace(label=label, style={"color": paler, "linestyle": stroke}))
    return labelled


def with_spreads(run: Run) -> Run:
    """Adds as columns `spread/NAME`, [points, 1], a meta-gradient's standard deviation over seeds, if there are two."""
    names = outcome.tuned(run.metrics) if run.metrics["seed"].shape[1] > 1 else ()
    spreads = {f"spread/{name}": pooled_deviation(run.metrics[f"meta_grad/{name}"])[:, None] for name in names}
    return run._replace(metrics={**run.metrics, **spreads})


def draw_training(folder: pathlib.Path) -> None:
    """Draws `train.png` of one run."""
    draw_comparison({"": folder}, folder / TRAINING_PICTURE)


def draw_comparison(folders: Mapping[str, pathlib.Path], picture: pathlib.Path) -> None:
    """Draws one picture of runs on one board that differ in their estimators, or in what they fix.

    Args:
      folders: the runs, by the name that tells those which tune nothing apart.
      picture: the PNG to write.
    """
    read = map(with_spreads, read_runs(list(folders.values())))
    runs = label_by_estimators(dict(zip(folders, read, strict=True)))
    first = next((run for run in runs if run.config.estimator != "none"), runs[0])
    config, panels = first.config, _layout(outcome.tuned(first.metrics))
    with styles.picture(picture, 1.6 + 1.6 * len(panels) + 0.12 * len(runs)) as figure:
        ratios = [1.5] + [1.0] * (len(panels) - 1)
        for column, axes in figure.subplot_mosaic(panels, empty_sentinel="", height_ratios=ratios).items():
            kind, _, name = column.partition("/")
            _draw_column(axes, column, runs, least=0.0 if column == RETURN else np.inf)
            axes.set_title("std of meta-gradient" if kind == "spread" else name.replace("_", " "))
            if column == RETURN:
                axes.set(title="Return of the episodes that ended", ylabel=return_label(config))
            if column in panels[-1]:
                axes.set_xlabel("environment steps a seed")
        board = environment_title(config)
        styles.title(figure, f"{board}, {config.num_envs} environments × {config.rollout_length} steps a rollout")
        _legend(figure, runs)


def draw_curves(runs: Sequence[Run], columns: Sequence[str], picture: pathlib.Path) -> None:
    """Draws one panel for each column.

    Args:
      runs: what is drawn.
      columns: of their metrics.
      picture: the PNG to write.
    """
    num_rows, num_columns = styles.grid(len(columns))
    with styles.picture(picture, 0.8 + 2.4 * num_rows + 0.12 * len(runs)) as figure:
        panels = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes, column in zip(panels.flat, columns, strict=False):
            _draw_column(axes, column, runs)
            axes.set(title=column.replace("$", r"\$"), xlabel="environment steps a seed")
        for axes in panels.flat[len(columns) :]:
            axes.remove()
        _legend(figure, runs)


def _layout(tuned: Sequence[str]) -> list[Any]:
    """Returns rows of columns of the metrics: returns above, then paths and below each its meta-gradient's spread."""
    _, width = styles.grid(len(tuned))
    paths, spreads = ([f"{kind}/{name}" for name in tuned] for kind in ("hyper", "spread"))
    if len(tuned) == 1:
        return [[RETURN] * 2, paths + spreads]
    rows = [part[start : start + width] for start in range(0, len(tuned), width) for part in (paths, spreads)]
    return [[RETURN] * width, *(row + [""] * (width - len(row)) for row in rows)]


def _draw_column(axes: Axes, column: str, runs: Sequence[Run], least: float = np.inf) -> None:
    """Draws a column of all runs that have it; `least` is that of `fit_lines`."""
    last = max(run.metrics["env_steps"][-1, 0] for run in runs)
    runs = [run for run in runs if column in run.metrics]
    varying = column.startswith("spread/") and any(np.any(run.metrics[column] > 0.0) for run in runs)
    styles.set_scale(axes, "y", "log" if varying else scale_of(column))
    axes.set(autoscaley_on=False, xlim=(0.0, 1.03 * last))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 100k or 25M
    for run in runs:
        steps, values = run.metrics["env_steps"][:, 0], run.metrics[column]
        style: dict[str, Any] = {"marker": "o" if len(steps) == 1 else None, "markersize": 3.0, **run.style}
        styles.draw_mean(axes, steps, over_seeds(column, values), style, values.shape[1] >= MANY)
        if values.shape[1] < MANY and np.any(values != values[:, :1]):  # else one line is that of every seed
            thin = {"linestyle": "solid", "linewidth": 0.7, "alpha": 0.45, "zorder": 1.5}
            axes.plot(steps, values, **style | thin)
    if runs:
        styles.fit_lines(axes, least)
    else:
        axes.text(0.5, 0.5, "needs two seeds", transform=axes.transAxes, ha="center")


def _legend(figure: Figure, runs: Sequence[Run]) -> None:
    """Writes the legend, whose title says what is drawn of the runs' seeds."""
    numbers = sorted({run.metrics["seed"].shape[1] for run in runs})
    thin = "; thin: each seed" if numbers[0] < MANY else ""
    band = "; band: 95% interval" if numbers[-1] >= MANY else ""
    drawn = f"mean of {' or '.join(map(str, numbers))} seeds{thin}{band}" if numbers != [1] else "one seed"
    styles.legend(figure, [Line2D([], [], **run.style) for run in runs], [run.label for run in runs], drawn)
