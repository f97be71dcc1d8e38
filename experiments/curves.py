"""Draws training runs side by side, one panel a column of their metrics, and prints where they end.

Example:
    python -m experiments.curves --runs=runs/a,runs/b --columns=hyper/discount,episode_return --picture=curves.png

A run is called by the settings in which the runs differ. Lines are means over seeds, with 95% bands or each seed's thin
line. `hyper/NAME` is level where a run did not tune the hyperparameter; its means and their intervals are those of
log-odds (discount, lambda) or logarithms (costs, learning rate).
"""

from typing import Any

from absl import flags

from experiments.config.ranges import refuse
from experiments.config.settings import Group
from experiments.runs import command_line
from experiments.storage import folder as storage_folder


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
    import numpy as np

    from experiments.figures import plots
    from experiments.figures.averages import final
    from experiments.figures.outcome import final_returns, left_out
    from experiments.figures.tables import INTERVALS_NOTE, as_json, cell, table

    if not values.runs:
        refuse("runs", "", "given: a comma list of folders of training runs")
    if not values.columns:
        refuse("columns", "", "given: a comma list of columns")
    folders = [storage_folder.local_path("runs", run) for run in values.runs]
    picture = storage_folder.local_path("picture", values.picture) if values.picture else None
    runs = plots.read_runs(folders)
    if len(runs) > 1:
        runs = plots.label_by_settings(runs)
    else:
        runs = [runs[0]._replace(label=storage_folder.folder_name(folders[0]))]
    for run in runs:
        for column in values.columns:
            if column not in run.metrics:
                refuse("columns", column, f"among those of every run; {run.label} has {', '.join(run.metrics)}")
    header = ["run", "seeds", *(f"{column}, last tenth" for column in values.columns)]
    rows = []
    for run in runs:
        others = left_out(run.config.num_seeds, run.dropped, int(np.isnan(final_returns(run.metrics)).sum()))
        ends = [cell(as_json(final(run.metrics, column))) for column in values.columns]
        rows.append([run.label, f"{run.config.num_seeds}{others}", *ends])
    print(f"{table(header, rows)}\n{INTERVALS_NOTE}")
    if picture:
        try:
            plots.draw_curves(runs, values.columns, picture)
        except (OSError, ValueError) as error:
            refuse("picture", values.picture, f"a file that can be written ({error})")


if __name__ == "__main__":
    command_line.run(main, define_flags())
