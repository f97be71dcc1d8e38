"""Draws training runs side by side, one panel a column of their metrics, and prints where they end.

Example:
    python -m experiments.curves --runs=runs/a,runs/b --columns=hyper/discount,episode_return --picture=curves.png

A run is called by the settings in which the runs differ. Lines are means over seeds, with 95% bands. `hyper/NAME` is
level where a run did not tune the hyperparameter.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments import commands
from experiments import config as config_lib
from experiments.averages import over_last_tenth
from experiments.config import Config, Group, UsageError, flag_name, refuse
from experiments.plots import OKABE_ITO, as_drawn
from experiments.reporting import INTERVALS_NOTE, as_json, cell, table
from experiments.run_folder import CONFIG, Metrics, dropped_seeds, of_survivors, read_metrics
from metagrad import statistics

STROKES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))


def draw(runs: dict[str, Metrics], columns: Sequence[str], picture: pathlib.Path) -> None:
    """Draws one panel for each column.

    Args:
      runs: metrics by the run's label.
      columns: of the metrics.
      picture: the PNG to write.
    """
    figure = Figure(figsize=(6.4 * len(columns), 4.8), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)
    for axes, column in zip(panels[0], columns, strict=True):
        for index, (label, metrics) in enumerate(runs.items()):
            mean = statistics.mean(metrics[column].T)
            steps = metrics["env_steps"][:, 0]
            colour = OKABE_ITO[index % len(OKABE_ITO)]
            style: dict[str, Any] = {"color": colour, "linestyle": STROKES[index % len(STROKES)]}
            axes.plot(steps, mean.estimate, label=as_drawn(label), **style)
            axes.fill_between(steps, mean.low, mean.high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=as_drawn(column), xlabel="environment steps a seed")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    num_seeds = sorted({metrics["seed"].shape[1] for metrics in runs.values()})
    panels[0, 0].legend(title=f"mean of {' or '.join(map(str, num_seeds))} seeds, 95% band", fontsize=9)
    figure.savefig(picture, dpi=130)


def final(metrics: Metrics, column: str) -> statistics.Estimate:
    """Estimates a column's mean over seeds at the end: each seed's mean over the last tenth of training."""
    return statistics.mean(over_last_tenth(metrics["env_steps"][:, 0], metrics[column]))


def labels(configs: Sequence[Config]) -> list[str]:
    """Calls each run by the settings in which the runs differ, the estimator first.

    Raises:
      UsageError: if two runs have the same settings.
    """
    fields = [field for field in dataclasses.fields(Config) if field.name not in ("estimator", "horizon")]
    settings = [
        [
            config_lib.estimator_title(config.estimator, config.horizon),
            *(f"{flag_name(field)} {getattr(config, field.name)}" for field in fields),
        ]
        for config in configs
    ]
    differing = [values for values in zip(*settings, strict=True) if len(set(values)) > 1]
    called = [", ".join(values) for values in zip(*differing, strict=True)]
    if len(set(called)) < len(configs):
        raise UsageError("--runs: two of the runs have the same settings")
    return called


def with_fixed(metrics: Metrics, config: Config) -> Metrics:
    """Adds the columns of hyperparameters that a run did not tune, so that it can be drawn beside those that did."""
    like = metrics["seed"]
    fixed = {f"hyper/{name}": np.full(like.shape, value) for name, value in config.hyperparameters().items()}
    return fixed | dict(metrics)


def _seeds(metrics: Metrics) -> str:
    """Says how many seeds a run has, and how many of them were dropped."""
    dropped, number = dropped_seeds(metrics).sum(), metrics["seed"].shape[1]
    return f"{number}, {dropped} of them dropped" if dropped else str(number)


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = flags.FlagValues()
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is drawn"}
    text = 'folders of training runs; a comma list, in which a name with a comma is in "double quotes"'
    flags.DEFINE_list("runs", None, text, **where)
    flags.DEFINE_list("columns", ["episode_return"], "columns of the runs' metrics.csv; a comma list", **where)
    text = "the PNG to write; without it, only the table is printed"
    flags.DEFINE_string("picture", None, text, flag_values=values, module_name=Group.OUTPUT)
    return values


def main(values: flags.FlagValues) -> None:
    """Draws what the flags say."""
    if not values.runs:
        refuse("runs", "", "given: a comma list of folders of training runs")
    folders = [commands.local_path("runs", run) for run in values.runs]
    picture = commands.local_path("picture", values.picture) if values.picture else None
    if not values.columns:
        refuse("columns", "", "given: a comma list of columns")
    configs = [config_lib.load(folder / CONFIG) for folder in folders]
    called = labels(configs) if len(folders) > 1 else [commands.folder_name(folders[0])]
    logged = {label: read_metrics(folder) for label, folder in zip(called, folders, strict=True)}
    runs = {
        label: with_fixed(of_survivors(metrics), config)
        for (label, metrics), config in zip(logged.items(), configs, strict=True)
    }
    for label, metrics in runs.items():
        for column in values.columns:
            if column not in metrics:
                refuse("columns", column, f"among those of every run; {label} has {', '.join(metrics)}")
    header = ["run", "seeds", *(f"{column}, last tenth" for column in values.columns)]
    rows = [
        [label, _seeds(logged[label]), *(cell(as_json(final(metrics, column))) for column in values.columns)]
        for label, metrics in runs.items()
    ]
    print(f"{table(header, rows)}\n{INTERVALS_NOTE}")
    if picture:
        try:
            draw(runs, values.columns, picture)
        except (OSError, ValueError) as error:
            refuse("picture", values.picture, f"a file that can be written ({error})")


if __name__ == "__main__":
    commands.run(main, define_flags())
