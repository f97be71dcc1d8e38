"""Draws training runs side by side, one panel a column of their metrics, and prints where they end.

Example:
    python -m experiments.curves --runs=runs/a,runs/b --columns=hyper/discount,episode_return --picture=curves.png

A run is called by the settings in which the runs differ. Lines are means over seeds, with 95% bands or each seed's thin
line. `hyper/NAME` is level where a run did not tune the hyperparameter; its means and their intervals are those of
log-odds (discount, lambda) or logarithms (costs, learning rate).
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from experiments.config import settings as config_lib
from experiments.config.ranges import UsageError, refuse
from experiments.config.settings import Config, Group, flag_name
from experiments.figures import styles
from experiments.figures.averages import over_last_tenth, over_seeds, scale_of
from experiments.figures.plots import draw_column, last_step, legend_title
from experiments.figures.tables import INTERVALS_NOTE, as_json, cell, table
from experiments.runs import command_line
from experiments.storage import config_file
from experiments.storage import folder as storage_folder
from experiments.storage.config_file import CONFIG
from experiments.storage.metrics import Metrics, dropped_seeds, of_survivors, read_metrics
from metagrad import statistics

OF_TUNING = ("meta_", "mixing_", "exact_", "outer_")
"""How settings begin that mean nothing where nothing is tuned."""


def draw(runs: dict[str, Metrics], columns: Sequence[str], picture: pathlib.Path) -> None:
    """Draws one panel for each column.

    Args:
      runs: metrics by the run's label.
      columns: of the metrics.
      picture: the PNG to write.
    """
    num_rows, num_columns = styles.grid(len(columns))
    with styles.picture(picture, 0.8 + 2.4 * num_rows + 0.12 * len(runs)) as figure:
        panels = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes, column in zip(panels.flat, columns, strict=False):
            styles.set_scale(axes, "y", scale_of(column))
            handles = [
                draw_column(axes, metrics, column, styles.line_style(index))
                for index, metrics in enumerate(runs.values())
            ]
            styles.fit_lines(axes)
            styles.count_steps(axes, last_step(runs.values()))
            axes.set(title=styles.as_drawn(column), xlabel="environment steps a seed")
        for axes in panels.flat[len(columns) :]:
            axes.remove()
        styles.legend(figure, handles, list(runs), legend_title(runs.values()))


def final(metrics: Metrics, column: str) -> statistics.Estimate:
    """Estimates a column's mean over seeds, as it is drawn, of each seed's mean over the last tenth of training."""
    return over_seeds(column, over_last_tenth(metrics["env_steps"][:, 0], metrics[column]))


def labels(configs: Sequence[Config]) -> list[str]:
    """Calls each run by the settings in which the runs differ, the estimator first.

    Raises:
      UsageError: if two runs have the same settings.
    """
    settings = [
        [
            config_lib.estimator_title(config.estimator, config.horizon),
            *(
                f"{flag_name(field)} {getattr(config, field.name)}"
                if config.estimator != "none" or not field.name.startswith(OF_TUNING)
                else ""
                for field in dataclasses.fields(Config)
                if field.name not in ("estimator", "horizon")
            ),
        ]
        for config in configs
    ]
    differing = [values for values in zip(*settings, strict=True) if len({*values} - {""}) > 1]
    called = [", ".join(filter(None, values)) for values in zip(*differing, strict=True)]
    if len(set(called)) < len(configs):
        raise UsageError("`runs`: two of the runs have the same settings")
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
    folders = [storage_folder.local_path("runs", run) for run in values.runs]
    picture = storage_folder.local_path("picture", values.picture) if values.picture else None
    if not values.columns:
        refuse("columns", "", "given: a comma list of columns")
    configs = [config_file.load(folder / CONFIG) for folder in folders]
    called = labels(configs) if len(folders) > 1 else [storage_folder.folder_name(folders[0])]
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
    command_line.run(main, define_flags())
