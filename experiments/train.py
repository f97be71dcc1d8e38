"""Trains agents, several seeds at once, with one meta-gradient estimator.

Example:
    python -m experiments.train --preset=quick --estimator=mixing --logdir=runs/mixing

The game is Snake unless `--environment` names another. Stopped in the middle, the same command goes on from the last
checkpoint, and ends with the same results. Several processes, on as many hosts, train one run with `--coordinator`.
"""

import sys

from absl import flags

from experiments.config import flags as commands
from experiments.config.settings import refuse
from experiments.figures import outcome
from experiments.runs import hosts as hosts_lib
from experiments.runs.divergence import NonFiniteError
from experiments.runs.training import train
from experiments.storage import files, run_folder
from experiments.storage.files import WriteError


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = commands.define_training_flags()
    hosts_lib.define_flags(values)
    return values


def main(values: flags.FlagValues) -> None:
    """Trains as the flags say."""
    from experiments.figures import plots  # not above, so that --help need not wait for Matplotlib

    place = hosts_lib.place_from_flags(values)
    config = commands.config_from_flags(values)
    if config.estimator == "none" and values["outer_critic"].present and config.outer_critic:
        refuse("outer_critic", True, "left out with --estimator=none, which has no outer loss")
    config = config.with_estimator(config.estimator)
    execution = commands.execution_from_flags(values)
    try:
        with hosts_lib.joined(place, (NonFiniteError, WriteError)) as hosts:
            folder = commands.new_logdir(values.logdir, run_folder.OWN) if hosts.first else None
            metrics, seconds = train(config, folder, execution, hosts=hosts)
            if folder is not None:
                with files.told(folder):
                    plots.draw_training(folder)
                print(outcome.describe(config, metrics, seconds))
                print(f"The run is in {folder}, its picture is {folder / plots.TRAINING_PICTURE}")
    except (NonFiniteError, WriteError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    commands.run(main, define_flags(), "the same command goes on from here")
