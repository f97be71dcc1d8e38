"""Trains agents, several seeds at once, with one meta-gradient estimator.

Example:
    python -m experiments.train --preset=quick --estimator=mixing --logdir=runs/mixing

The game is Snake unless `--environment` names another. Stopped in the middle, the same command goes on from the last
checkpoint, and ends with the same results. Several processes, on as many hosts, train one run with `--coordinator`.
"""

from absl import flags

from experiments.config import hosts as hosts_config
from experiments.config.flags import define_training_flags, execution_from_flags, settings_from_flags
from experiments.config.ranges import refuse
from experiments.config.validation import check_ranges, validate
from experiments.runs import command_line
from experiments.storage.folder import new_logdir

MOST_USED = (
    *("estimator", "horizon", "meta_params", "logdir", "preset"),
    *("num_env_steps", "num_seeds", "discount", "meta_learning_rate", "environment"),
)
"""What `--help` shows."""


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = define_training_flags()
    hosts_config.define_flags(values)
    return values


def main(values: flags.FlagValues) -> None:
    """Trains as the flags say."""
    place = hosts_config.place_from_flags(values)
    config, execution = settings_from_flags(values), execution_from_flags(values)
    validate(config)
    check_ranges(execution)
    if config.estimator == "none" and values["outer_critic"].present and config.outer_critic:
        refuse("outer_critic", True, "left out with --estimator=none, which has no outer loss")
    config = config.with_estimator(config.estimator)

    from experiments.figures import outcome, plots  # what is slow to import, after --help and all that is refused
    from experiments.runs import hosts as hosts_lib
    from experiments.runs.training import train
    from experiments.storage.files import told
    from experiments.storage.run_folder import OWN

    with hosts_lib.joined(place) as hosts:
        folder = new_logdir(values.logdir, OWN) if hosts.first else None
        metrics, seconds = train(config, folder, execution, hosts=hosts)
        if folder is not None:
            with told(folder):
                plots.draw_training(folder)
            print(outcome.describe(config, metrics, seconds))
            print(f"The run is in {folder}, its picture is {folder / plots.TRAINING_PICTURE}")


if __name__ == "__main__":
    command_line.run(main, define_flags(), "the same command goes on from here")
