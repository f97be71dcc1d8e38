"""Summaries of a run or a comparison in words, and the numbers in them."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from experiments.config.settings import Config
from experiments.config.titles import return_label, run_title
from experiments.figures.averages import over_last_tenth
from experiments.figures.tables import INTERVALS_NOTE, as_json, cell, table
from experiments.storage.metrics import Metrics, dropped_seeds, of_survivors
from metagrad import statistics
from metagrad.statistics import Estimate


def final_returns(metrics: Metrics) -> np.ndarray:
    """Returns what each seed of a run had over the last tenth of training, float [seeds].

    NaN where no episode ended in it, or the seed was dropped, even during it.
    """
    returns = over_last_tenth(metrics["env_steps"][:, 0], metrics["episode_return"])
    return np.where(dropped_seeds(metrics), np.nan, returns)


MOST_SHOWN = 12
"""Tuned numbers that tables and pictures show; of more, as of a network, the first."""


def tuned(columns: Collection[str]) -> list[str]:
    """Returns the names of the tuned numbers in the columns of a run's metrics, at most `MOST_SHOWN`."""
    names = [column.partition("/")[2] for column in columns if column.startswith("hyper/")]
    return [name for name in names if f"meta_grad/{name}" in columns][:MOST_SHOWN]


def gradient_deviations(metrics: Metrics) -> dict[str, Estimate]:
    """Estimates the standard deviation over seeds of one window's meta-gradient, by hyperparameter.

    Variances are averaged over the logging points; seeds that were dropped have no part in them.
    """
    survivors = of_survivors(metrics)
    return {name: statistics.pooled_standard_deviation(survivors[f"meta_grad/{name}"]) for name in tuned(metrics)}


def describe(config: Config, metrics: Metrics, seconds: float) -> str:
    """Says in some lines what came of a run with these settings and columns, and how many seconds it took."""
    returns, dropped = final_returns(metrics), dropped_seeds(metrics)
    missing = left_out(config.num_seeds, dropped.sum(), (np.isnan(returns) & ~dropped).sum())
    seeds = f"mean of {np.isfinite(returns).sum()} seeds" if config.num_seeds > 1 else "one seed"
    final = cell(as_json(statistics.mean(returns)))
    lines = [
        f"{return_label(config).capitalize()} over the last tenth of training: {final}, {seeds}{missing}.",
        f"Training took {seconds:.0f} s.",
    ]
    rows = []
    for name, deviation in gradient_deviations(metrics).items():
        ends = of_survivors(metrics)[f"hyper/{name}"][-1]
        end = f"{np.median(ends):.4g}" if ends.size else "-"
        spread = f" ({ends.min():.4g} to {ends.max():.4g})" if ends.size > 1 else ""
        start = config.hyperparameters().get(name)
        rows.append([name, "-" if start is None else f"{start:.4g}", end + spread, cell(as_json(deviation))])
    if rows:
        header = ["tuned", "start", "end: median (lowest to highest)", "meta-gradient: std over seeds"]
        lines.append(table(header, rows))
    return "\n".join([*lines, INTERVALS_NOTE])


def tables(comparison: Mapping[str, Any]) -> str:
    """Lays out the content of `compare.json` for a terminal: returns, meta-gradients, and how rates were chosen."""
    results = comparison["estimators"]
    shown = {"final return": "final_return", "gain": "gain", "better": "probability_of_improvement"}
    returns = [
        [
            name + left_out(comparison["num_seeds"], len(result["dropped_seeds"]), len(result["endless_seeds"])),
            *(cell(result.get(key)) for key in shown.values()),
            f"{result['wall_seconds']:.0f}",
            cell(result["mean_return"]),
        ]
        for name, result in results.items()
    ]
    parts = [
        table(["run", *shown, "seconds", "mean return"], returns),
        "Returns: final, of the last tenth of training; mean, of all of it. Gain: over none, seed by seed;",
        f"better: in how many of the seeds. {INTERVALS_NOTE}",
    ]
    deviations = {name: result["meta_grad_std"] for name, result in results.items() if result["meta_grad_std"]}
    if deviations:
        rows = [[name, *(cell(one, digits=2) for one in of_run.values())] for name, of_run in deviations.items()]
        parts.append("\nMeta-gradient of one window: standard deviation over seeds")
        parts.append(table(["run", *next(iter(deviations.values()))], rows))
    grids = {name: result["grid"] for name, result in results.items() if result["grid"]}
    if grids:
        rates = [f"{trial['meta_learning_rate']:g}" for trial in next(iter(grids.values()))]
        rows = [
            [name, f"{results[name]['meta_learning_rate']:g}", *(cell(trial["final_return"]) for trial in grid)]
            for name, grid in grids.items()
        ]
        parts.append(f"\nFinal return at each meta-learning rate, on {comparison['num_grid_seeds']} other seeds")
        parts.append(table(["run", "chosen", *rates], rows, keys=2))
    return "\n".join(parts)


def sentences(configs: Mapping[str, Config], comparison: Mapping[str, Any]) -> str:
    """Says in a sentence a run what came of a comparison.

    Args:
      configs: settings by the name of their run.
      comparison: the content of `compare.json`.
    """
    values = [config.hyperparameters() for config in configs.values()]
    moved = {name for result in comparison["estimators"].values() for name in result["meta_grad_std"]}
    told = [name for name in values[0] if name in moved or len({each[name] for each in values}) > 1]
    told = told or ([] if moved else ["discount"])
    own = sorted(name for name in moved if name not in values[0])
    lines = []
    for name, config in configs.items():
        result = comparison["estimators"][name]
        start = ", ".join([*(f"{each} {config.hyperparameters()[each]:g}" for each in told), *own])
        how = f"Fixed at {start}" if config.estimator == "none" else f"Tuned from {start} by {run_title(config)}"
        line = f"{how}, agents end at {cell(result['final_return'])} "
        line += return_label(config)
        gain = result.get("gain")
        if gain and gain["ci95"][0] is not None:
            low, high = gain["ci95"]
            line += f", {cell(gain)} more" + (", which could be chance" if low <= 0.0 <= high else "")
        lines.append(f"{line}.")
    return "\n".join(lines)


def left_out(num_seeds: int, dropped: int, endless: int) -> str:
    """Says in brackets how many of a run's seeds have no final return, or nothing if all have one."""
    why = {"dropped": dropped, "without a last return": endless}
    told = ", ".join(f"{number} of {num_seeds} seeds {what}" for what, number in why.items() if number)
    return f" ({told})" if told else ""
