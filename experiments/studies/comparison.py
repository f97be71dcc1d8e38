"""One run for each of several estimators, on the same seeds, and what each returns and gains."""

import dataclasses
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.config.comparison import NO_GRID, Grid
from experiments.config.own_code import is_own_code
from experiments.config.ranges import refuse
from experiments.config.settings import EXECUTION, Config, Execution, plain
from experiments.config.validation import validate
from experiments.figures import plots
from experiments.figures.averages import over_training
from experiments.figures.outcome import final_returns, gradient_deviations
from experiments.figures.tables import as_json
from experiments.runs.building import make_agent
from experiments.runs.progress import Turn
from experiments.runs.training import Result, train
from experiments.storage import config_file
from experiments.storage.config_file import CONFIG
from experiments.storage.files import told, write_whole
from experiments.storage.folder import local_path
from experiments.storage.metrics import Metrics, dropped_seeds, of_survivors
from metagrad import statistics

COMPARISON = "compare.json"


def compare(
    configs: Mapping[str, Config],
    folder: str | os.PathLike[str] | None = None,
    grid: Grid = NO_GRID,
    execution: Execution = EXECUTION,
    *,
    quiet: bool = False,
) -> dict:
    """Trains one run for each of some settings, in subfolders, and writes `compare.json` and `compare.png`.

    Runs that are complete are not trained again, and one that was stopped goes on.

    Args:
      configs: settings by the name of their run, as `make_configs` makes them, alike in seeds and environment steps.
      folder: new, empty, or that of the same comparison. None leaves nothing on disk.
      grid: how meta-learning rates are chosen.
      execution: how the runs are carried out.
      quiet: whether to show no progress.

    Returns:
      The content of `compare.json`.

    Raises:
      UsageError: if a setting is impossible, or the folder holds a run with other settings.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if a run broke, and is to stop then.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return compare(configs, place, grid, execution, quiet=quiet)
    folder = local_path("logdir", folder)
    trials = {name: grid.trials(name, config) for name, config in configs.items()}
    for name, config in configs.items():
        _check(folder, name, config, trials[name])
        if is_own_code(config.agent) or is_own_code(config.estimator):
            make_agent(config)  # which tells what does not fit, before anything is trained
    planned = {place: run for name, config in configs.items() for place, run in [*trials[name].items(), (name, config)]}
    results: dict[str, Result] = {}

    def run(place: str, config: Config) -> None:
        turn = _turn(planned, place)
        results[place] = train(config, folder / place, execution, quiet=quiet, turn=turn)

    for name, config in configs.items():
        for place, trial in trials[name].items():
            run(place, trial)
        run(name, _with_best_rate(config, trials[name], results))
    comparison = _describe(configs, trials, grid, results)
    with told(folder):
        write_whole(folder / COMPARISON, json.dumps(comparison, indent=2) + "\n")
        plots.draw_comparison({name: folder / name for name in configs}, folder / plots.COMPARISON_PICTURE)
    return comparison


def _turn(planned: Mapping[str, Config], place: str) -> Turn:
    """Returns a run's place among all."""
    index, run = list(planned).index(place), planned[place]
    later = list(planned.values())[index + 1 :]
    to_come = sum(other.num_env_steps * other.num_seeds for other in later) / (run.num_env_steps * run.num_seeds)
    slower = run.estimator == "none" and any(other.estimator != "none" for other in later)
    return Turn(f"run {index + 1}/{len(planned)}, {place}", to_come, ">" if slower else "~")


def _with_best_rate(config: Config, trials: Mapping[str, Config], results: Mapping[str, Result]) -> Config:
    """Returns the settings with the meta-learning rate whose trial returned most; one without a return is the worst."""

    def worth(place: str) -> float:
        mean = as_json(_trial_return(results[place].metrics))["estimate"]
        return -math.inf if mean is None else mean

    if not trials:
        return config
    return dataclasses.replace(config, meta_learning_rate=trials[max(trials, key=worth)].meta_learning_rate)


def _describe(
    configs: Mapping[str, Config],
    trials: Mapping[str, Mapping[str, Config]],
    grid: Grid,
    results: Mapping[str, Result],
) -> dict[str, Any]:
    """Returns the content of `compare.json`."""
    fixed = results["none"].metrics if "none" in results else None
    estimators: dict[str, dict[str, Any]] = {}
    for name, config in configs.items():
        chosen = _with_best_rate(config, trials[name], results)
        tried = [
            {
                "meta_learning_rate": trial.meta_learning_rate,
                "final_return": as_json(_trial_return(results[place].metrics)),
                "wall_seconds": round(results[place].seconds, 1),
            }
            for place, trial in trials[name].items()
        ]
        tuned = {} if config.estimator == "none" else {"meta_learning_rate": chosen.meta_learning_rate}
        wall_seconds = {"wall_seconds": round(results[name].seconds, 1)}
        estimators[name] = _summarise(config, results[name].metrics, fixed) | {"grid": tried} | tuned | wall_seconds
    first = next(iter(configs.values()))
    return {
        "env_steps": first.num_env_steps,
        "num_seeds": first.num_seeds,
        "num_grid_seeds": plain(grid.num_seeds) if grid.rates else 0,
        "wall_seconds": round(sum(round(result.seconds, 1) for result in results.values()), 1),
        "estimators": estimators,
    }


def _check(folder: pathlib.Path, name: str, config: Config, trials: Mapping[str, Config]) -> None:
    """Checks a run and the trials that choose its meta-learning rate, before anything is trained.

    A run that is there already must be one whose rate these trials chose: other ones could choose another, and would
    have been trained for nothing.

    Raises:
      UsageError: if a setting is impossible, or the folder has a run of other settings, or one that was chosen by other
        trials or shorter ones.
    """
    for settings in (config, *trials.values()):
        validate(settings)
    for place, trial in trials.items():
        config_file.check_settings(folder / place, trial)
    if not trials or not (folder / name / CONFIG).exists():
        config_file.check_settings(folder / name, config)
        return
    run = config_file.load(folder / name / CONFIG)
    config_file.check_settings(folder / name, dataclasses.replace(config, meta_learning_rate=run.meta_learning_rate))
    rates = [trial.meta_learning_rate for trial in trials.values()]
    if run.meta_learning_rate not in rates or not all((folder / place / CONFIG).exists() for place in trials):
        allowed = f"those of which the run in {folder / name} has `meta_learning_rate`={run.meta_learning_rate}"
        refuse("meta_learning_rates", [f"{rate:g}" for rate in rates], allowed)
    if run.num_env_steps != config.num_env_steps:
        allowed = f"{run.num_env_steps}, as of the run in {folder / name}, which trials as long have chosen"
        refuse("num_env_steps", config.num_env_steps, allowed)


def _trial_return(metrics: Metrics) -> statistics.Estimate:
    """Estimates what a meta-learning rate returns: nothing if a seed has no return, without which it would look better.

    One that diverged has none, nor has one that learned to play on and on, so that no episode ends any more.
    """
    returns = final_returns(metrics)
    return statistics.mean(np.where(np.isfinite(returns).all(), returns, np.nan))


def _summarise(config: Config, metrics: Metrics, fixed: Metrics | None) -> dict[str, Any]:
    """Returns a run's returns, what it gains over the one that tunes nothing, and the spread of its meta-gradients.

    Seeds that were dropped have no part in them, and those without an episode that ended in the last tenth none in
    what is said of it; both are named.
    """
    survivors = of_survivors(metrics)
    returns, dropped = final_returns(metrics), dropped_seeds(metrics)
    summary = {
        "final_return": statistics.mean(returns),
        "interquartile_mean": statistics.interquartile_mean(returns),
        "mean_return": statistics.mean(over_training(survivors["env_steps"][:, 0], survivors["episode_return"])),
    }
    if fixed is not None and fixed is not metrics:
        pairs = returns, final_returns(fixed)  # seed by seed
        summary["gain"] = statistics.mean(pairs[0] - pairs[1])
        summary["probability_of_improvement"] = statistics.probability_of_improvement(*pairs)
    return {name: as_json(estimate) for name, estimate in summary.items()} | {
        "meta_grad_std": {name: as_json(deviation) for name, deviation in gradient_deviations(metrics).items()},
        "dropped_seeds": metrics["seed"][0][dropped].astype(int).tolist(),
        "endless_seeds": metrics["seed"][0][~dropped & np.isnan(returns)].astype(int).tolist(),
    }
