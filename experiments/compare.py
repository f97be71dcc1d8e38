"""Trains with every meta-gradient estimator on the same seeds, and compares returns and meta-gradients.

Example:
    python -m experiments.compare --preset=quick --logdir=runs/compare

Stopped in the middle, the same command goes on from the last checkpoint, and ends with the same results.
"""

import json
import pathlib
import sys

import numpy as np
from absl import flags

from experiments import config as config_lib
from experiments import plots, run_folder
from experiments.config import ESTIMATORS, EXECUTION, Config, Execution
from experiments.reporting import INTERVALS_NOTE, as_json, cell, table
from experiments.run_folder import WriteError, dropped_seeds, of_survivors, read_metrics
from experiments.train import NonFiniteError, train
from metagrad import statistics

COMPARISON = "compare.json"


def compare(config: Config, folder: pathlib.Path, execution: Execution = EXECUTION) -> dict:
    """Trains one run for each estimator, in a subfolder of its name, and writes `compare.json` and `compare.png`.

    Runs that are complete are not trained again, and one that was stopped goes on.

    Args:
      config: settings that are valid for every estimator; its own estimator is not used.
      folder: new, empty, or that of the same comparison.
      execution: how the runs are carried out.

    Returns:
      The content of `compare.json`.

    Raises:
      UsageError: if the folder holds a run with other settings.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if a run broke, and is to stop then.
    """
    folders = {estimator: folder / estimator for estimator in ESTIMATORS}
    for estimator, run in folders.items():
        run_folder.check_settings(run, config.with_estimator(estimator))
    seconds = {estimator: train(config.with_estimator(estimator), run, execution) for estimator, run in folders.items()}
    results = {estimator: _summarise(config, estimator, run) for estimator, run in folders.items()}
    for estimator, result in results.items():
        result["wall_seconds"] = round(seconds[estimator], 1)
    comparison = {
        "env_steps": config.num_env_steps,
        "num_seeds": config.num_seeds,
        "wall_seconds": round(sum(seconds.values()), 1),
        "estimators": results,
    }
    (folder / COMPARISON).write_text(json.dumps(comparison, indent=2) + "\n")
    plots.draw_comparison(folders, folder / plots.COMPARISON_PICTURE)
    return comparison


def final_returns(env_steps: np.ndarray, episode_returns: np.ndarray) -> np.ndarray:
    """Returns each run's mean episode return over the last tenth of its training.

    Args:
      env_steps: float [points], environment steps of one seed up to each logging point.
      episode_returns: float [points, ...], means over the episodes that ended since the point before; NaN if none did.

    Returns:
      The mean over the points that began in the last tenth, at least over the last one, float [...]; NaN where no
      episode ended in them.
    """
    starts = np.concatenate([[0.0], env_steps[:-1]])
    last_tenth = starts >= min(0.9 * env_steps[-1], starts[-1])
    return statistics.mean(episode_returns[last_tenth]).estimate


def _summarise(config: Config, estimator: str, run: pathlib.Path) -> dict:
    """Returns a run's final return and the spread of its meta-gradients, and which seeds have no part in them."""
    logged = read_metrics(run)
    metrics = of_survivors(logged)
    returns = final_returns(metrics["env_steps"][:, 0], metrics["episode_return"])
    tuned = () if estimator == "none" else config.meta_params
    return {
        "final_return": as_json(statistics.mean(returns)),
        "meta_grad_std": {
            name: as_json(statistics.pooled_standard_deviation(metrics[f"meta_grad/{name}"])) for name in tuned
        },
        "dropped_seeds": logged["seed"][0][dropped_seeds(logged)].astype(int).tolist(),
    }


def _table(comparison: dict, tuned: tuple[str, ...]) -> str:
    """Lays the comparison out for a terminal."""
    header = ["estimator", "final return", *(f"meta-grad std: {name}" for name in tuned), "seconds"]
    rows = []
    for estimator, result in comparison["estimators"].items():
        deviations = [result["meta_grad_std"].get(name) for name in tuned]
        dropped = len(result["dropped_seeds"])
        name = f"{estimator} ({dropped} of {comparison['num_seeds']} seeds dropped)" if dropped else estimator
        rows.append([name, cell(result["final_return"]), *map(cell, deviations), f"{result['wall_seconds']:.0f}"])
    return table(header, rows)


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    return config_lib.define_training_flags(omit=("estimator",))


def main(values: flags.FlagValues) -> None:
    """Compares as the flags say."""
    config = config_lib.config_from_flags(values)
    for estimator in ESTIMATORS:
        config_lib.validate(config.with_estimator(estimator))
    execution = config_lib.execution_from_flags(values)
    folder = config_lib.new_logdir(values.logdir, ESTIMATORS)
    try:
        comparison = compare(config, folder, execution)
    except (NonFiniteError, WriteError) as error:
        sys.exit(str(error))
    print(_table(comparison, config.meta_params))
    print(f"{INTERVALS_NOTE} The runs are in {folder}, the picture is {folder / plots.COMPARISON_PICTURE}")


if __name__ == "__main__":
    config_lib.run(main, define_flags(), "the same command goes on from here")
