"""One run for each of several estimators, on the same seeds, and what each returns and gains."""

import dataclasses
import json
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from agents.networks import Network
from experiments.config import flags as commands
from experiments.config import settings as config_lib
from experiments.config.ranges import count
from experiments.config.settings import (
    ESTIMATORS,
    EXECUTION,
    POSITIVE,
    Config,
    Execution,
    Range,
    as_computed,
    refuse,
)
from experiments.figures.averages import over_training
from experiments.figures.outcome import final_returns, gradient_deviations
from experiments.figures.tables import as_json
from experiments.runs.progress import Series
from experiments.runs.training import Result, train
from experiments.storage import files, run_folder
from experiments.storage.files import write_whole
from experiments.storage.metrics import Metrics, dropped_seeds, of_survivors
from metagrad import statistics
from metagrad.meta_parameters import INTERVALS

COMPARISON, GRID = "compare.json", "grid"

BASELINE = "baseline"
"""What the run with the fixed hyperparameters of `--baseline` is called."""

RATES = Range(
    "positive numbers, a comma list without repetition",
    lambda rates: (
        all(POSITIVE.accepts(as_computed(rate)) for rate in rates)
        and len({as_computed(rate) for rate in rates}) == len(rates)
    ),
)
GRID_SEEDS = count(1)
ALLOWED_ESTIMATORS = f"a comma list, without repetition, of {', '.join(ESTIMATORS)}, the last two also as NAME_HORIZON"
ALLOWED_BASELINE = f"a comma list of NAME:VALUE, NAME of {', '.join(INTERVALS)}"


class Grid(NamedTuple):
    """How each estimator's meta-learning rate is chosen before it is compared, with equal effort for all.

    Attributes:
      rates: the meta-learning rates that are tried; with none, that of the settings is used.
      num_seeds: seeds that each is tried with, which follow those of the comparison.
    """

    rates: tuple[float, ...] = ()
    num_seeds: int = 3


NO_GRID = Grid()


def compare(
    configs: Mapping[str, Config],
    folder: str | os.PathLike[str] | None = None,
    grid: Grid = NO_GRID,
    execution: Execution = EXECUTION,
    *,
    network: Network | None = None,
    quiet: bool = False,
) -> dict:
    """Trains one run for each of some settings, in subfolders, and writes `compare.json` and `compare.png`.

    Runs that are complete are not trained again, and one that was stopped goes on.

    Args:
      configs: settings by the name of their run, as `make_configs` makes them, alike in seeds and environment steps.
      folder: new, empty, or that of the same comparison. None leaves nothing on disk.
      grid: how meta-learning rates are chosen.
      execution: how the runs are carried out.
      network: as in `train.train`.
      quiet: whether to show no progress.

    Returns:
      The content of `compare.json`.

    Raises:
      UsageError: if a setting is impossible, or the folder holds a run with other settings.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if a run broke, and is to stop then.
    """
    from experiments.figures import plots  # not above, so that --help need not wait for Matplotlib

    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return compare(configs, place, grid, execution, network=network, quiet=quiet)
    folder = commands.local_path("logdir", folder)
    tried = {name: _grid_configs(config, grid) for name, config in configs.items()}
    planned: dict[str, Config] = {}
    for name, config in configs.items():
        trials = {_trial(name, rate): trial for rate, trial in tried[name].items()}
        planned |= trials | {name: config}
        for settings in (config, *trials.values()):
            config_lib.validate(settings)
        for place, trial in trials.items():
            run_folder.check_settings(folder / place, trial)
        if tried[name]:
            _check_chosen(folder, name, config, tried[name])
        else:
            run_folder.check_settings(folder / name, config)
    series = Series(planned)

    def trained_in(place: str, config: Config) -> Result:
        result = train(config, folder / place, execution, network=network, quiet=quiet, turn=series.turn(place))
        series.finish(place, result.seconds)
        return result

    results: dict[str, dict] = {}
    runs: dict[str, Metrics] = {}
    for name, config in configs.items():
        result: dict[str, Any] = {"grid": []}
        for rate, trial in tried[name].items():
            trained = trained_in(_trial(name, rate), trial)
            result["grid"].append(
                {
                    "meta_learning_rate": rate,
                    "final_return": as_json(_trial_return(trained.metrics)),
                    "wall_seconds": round(trained.seconds, 1),
                }
            )
        if tried[name]:
            config = dataclasses.replace(config, meta_learning_rate=_best_rate(result["grid"]))
        if config.estimator != "none":
            result["meta_learning_rate"] = config.meta_learning_rate
        trained = trained_in(name, config)
        result["wall_seconds"] = round(trained.seconds, 1)
        results[name], runs[name] = result, trained.metrics
    for name, config in configs.items():
        results[name] = _summarise(config, runs[name], runs.get("none")) | results[name]
    first = next(iter(configs.values()))
    grid_seconds = [trial["wall_seconds"] for result in results.values() for trial in result["grid"]]
    comparison = {
        "env_steps": first.num_env_steps,
        "num_seeds": first.num_seeds,
        "num_grid_seeds": config_lib.plain(grid.num_seeds) if grid.rates else 0,
        "wall_seconds": round(sum([result["wall_seconds"] for result in results.values()] + grid_seconds), 1),
        "estimators": results,
    }
    with files.told(folder):
        write_whole(folder / COMPARISON, json.dumps(comparison, indent=2) + "\n")
        plots.draw_comparison({name: folder / name for name in configs}, folder / plots.COMPARISON_PICTURE)
    return comparison


def _grid_configs(config: Config, grid: Grid) -> dict[float, Config]:
    """Returns the runs that choose a meta-learning rate; none where nothing is tuned, or nothing is to be chosen."""
    rates = () if config.estimator == "none" else grid.rates
    elsewhere = dataclasses.replace(config, seed=config.seed + config.num_seeds, num_seeds=grid.num_seeds)
    return {config_lib.plain(rate): dataclasses.replace(elsewhere, meta_learning_rate=rate) for rate in rates}


def _trial(name: str, rate: float) -> str:
    """Returns where such a run is, with as many digits as tell numbers in single precision apart."""
    return f"{GRID}/{name}_{rate:.9g}"


def _check_chosen(folder: pathlib.Path, name: str, config: Config, trials: Mapping[float, Config]) -> None:
    """Checks that a run, if it is there, is one that these trials chose the meta-learning rate of.

    Other ones could choose another rate, and would have been trained for nothing.

    Raises:
      UsageError: if it has other settings, or was chosen by other trials or shorter ones.
    """
    if not (folder / name / run_folder.CONFIG).exists():
        return
    run = config_lib.load(folder / name / run_folder.CONFIG)
    run_folder.check_settings(folder / name, dataclasses.replace(config, meta_learning_rate=run.meta_learning_rate))
    made = all((folder / _trial(name, rate) / run_folder.CONFIG).exists() for rate in trials)
    if not made or run.meta_learning_rate not in trials:
        allowed = f"those of which the run in {folder / name} has `meta_learning_rate`={run.meta_learning_rate}"
        refuse("meta_learning_rates", ",".join(f"{rate:g}" for rate in trials), allowed)
    if run.num_env_steps != config.num_env_steps:
        allowed = f"{run.num_env_steps}, as of the run in {folder / name}, which trials as long have chosen"
        refuse("num_env_steps", config.num_env_steps, allowed)


def _trial_return(metrics: Metrics) -> statistics.Estimate:
    """Estimates what a meta-learning rate returns: nothing if a seed has no return, without which it would look better.

    One that diverged has none, nor has one that learned to play on and on, so that no episode ends any more.
    """
    returns = final_returns(metrics)
    return statistics.mean(np.where(np.isfinite(returns).all(), returns, np.nan))


def _best_rate(trials: Sequence[Mapping[str, Any]]) -> float:
    """Returns the meta-learning rate with the highest mean return; one without a return is the worst."""
    returns = [trial["final_return"]["estimate"] for trial in trials]
    best = max(range(len(trials)), key=lambda index: -math.inf if returns[index] is None else returns[index])
    return trials[best]["meta_learning_rate"]


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
        "meta_grad_std": {name: as_json(deviation) for name, deviation in gradient_deviations(config, metrics).items()},
        "dropped_seeds": metrics["seed"][0][dropped].astype(int).tolist(),
        "endless_seeds": metrics["seed"][0][~dropped & np.isnan(returns)].astype(int).tolist(),
    }


def make_configs(
    config: Config, estimators: Sequence[str] = ESTIMATORS, baseline: Sequence[str] = ()
) -> dict[str, Config]:
    """Returns the settings of a comparison's runs, by name.

    Args:
      config: settings that the runs share.
      estimators: their estimators, each `NAME`, or `NAME_HORIZON` for a horizon of its own.
      baseline: `NAME:VALUE` of hyperparameters that one more run fixes, which tunes nothing; empty for no such run.

    Returns:
      The settings, validated.

    Raises:
      UsageError: if any of this is impossible.
    """
    if not estimators:
        refuse("estimators", "", "given: a comma list")
    configs: dict[str, Config] = {}
    for text in estimators:
        match = re.fullmatch(r"(multi_step|mixing)[_:](\d{1,9})", text)
        name, horizon = (match[1], int(match[2])) if match else (text, config.horizon)
        run = f"{name}_{horizon}" if match else name
        if name not in ESTIMATORS or run in configs:
            refuse("estimators", ",".join(estimators), ALLOWED_ESTIMATORS)
        configs[run] = dataclasses.replace(config.with_estimator(name), horizon=horizon)
    if baseline:
        values: dict[str, Any] = {}
        for text in baseline:
            name, _, value = text.partition(":")
            field = "lambda_" if name == "lambda" else name
            if name not in INTERVALS or field in values or not is_number(value):
                refuse("baseline", ",".join(baseline), ALLOWED_BASELINE)
            values[field] = float(value)
        configs[BASELINE] = dataclasses.replace(config.with_estimator("none"), **values)
    for settings in sorted(configs.values(), key=lambda settings: -settings.updates_per_window):
        config_lib.validate(settings)  # the longest window first: a number of steps that suits it may suit all
    return configs


def is_number(text: str) -> bool:
    """Returns whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
