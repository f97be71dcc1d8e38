"""The search from end to end: settings drawn, trained, ranked, and the best one confirmed.

Both its parts are runs in folders of their own, which go on where they were stopped. The seeds of such a run are
numbered setting by setting.
"""

import dataclasses
import json
import math
import os
import pathlib
import tempfile
from typing import Any, NamedTuple

import numpy as np

from experiments.config.ranges import refuse
from experiments.config.search import UNUSED, Ranges, Settings, sample, validate_search
from experiments.config.settings import Config, Execution, by_flag, flag_name, plain
from experiments.figures.outcome import final_returns
from experiments.figures.tables import as_json
from experiments.runs.building import require_agent
from experiments.runs.progress import Turn
from experiments.runs.seeds import Starts
from experiments.runs.training import train_seeds
from experiments.storage.config_file import without_new_defaults
from experiments.storage.files import PARTIAL, holds, told, write_whole
from experiments.storage.folder import local_path
from experiments.storage.metrics import dropped_seeds
from metagrad import statistics

RESULTS, ASKED = "search.json", "asked.json"

OWN = (ASKED, f"{ASKED}{PARTIAL}")
"""What a folder holds at least where a search began, if only for a moment."""


class Outcome(NamedTuple):
    """What became of settings.

    Attributes:
      returns: float [settings, seeds], mean episode returns over the last tenth of training; NaN where training broke,
        or no episode ended.
      diverged: bool [settings, seeds], whether a loss or a parameter became NaN or infinite.
      seconds: that training took, compilation and earlier calls included.
    """

    returns: np.ndarray
    diverged: np.ndarray
    seconds: float


def search(
    config: Config,
    ranges: Ranges,
    num_settings: int,
    num_fresh_seeds: int,
    folder: str | os.PathLike[str] | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Searches, and writes `search.json`: once the settings are trained, and again once the best is confirmed.

    Stopped anywhere, the same call goes on from the last checkpoint, to the same end.

    Args:
      config: the settings; nothing is tuned, whatever its estimator, and its seeds are those of the search.
      ranges: ends of the range of each hyperparameter in `SEARCHED`.
      num_settings: settings to draw.
      num_fresh_seeds: seeds for the best of them; they follow those of the search.
      folder: new, empty, or that of the same search. None leaves nothing on disk.
      quiet: whether to show no progress.

    Returns:
      The content of `search.json`; its `best` is None if no setting has a return.

    Raises:
      UsageError: if a setting is impossible, or the folder holds another search or spoilt files.
      StoppedError: if the folder cannot be written to any more, or the environment did what it may not.
      KeyboardInterrupt: with a signal's number, if one came.
    """
    config = config.with_estimator("none")
    validate_search(config, ranges, num_settings, num_fresh_seeds)
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return search(config, ranges, num_settings, num_fresh_seeds, place, quiet=quiet)
    folder = local_path("logdir", folder)
    num_settings, num_fresh_seeds = plain(num_settings), plain(num_fresh_seeds)
    asked = _asked(config, ranges)
    _claim(folder, asked | {"num_settings": num_settings, "num_fresh_seeds": num_fresh_seeds})
    settings = sample(ranges, num_settings, config.seed)
    outcome = train_settings(config, settings, folder / "searching", quiet)
    results: dict[str, Any] = {
        "env_steps": config.num_env_steps * config.num_seeds * num_settings,
        "wall_seconds": round(outcome.seconds, 1),
        **asked,
        "best": None,
        "settings": _describe(settings, outcome),
    }
    _write(results, folder)
    best = ranking(results["settings"])[0]
    if results["settings"][best]["return"]["estimate"] is not None:
        fresh = dataclasses.replace(config, seed=config.seed + config.num_seeds, num_seeds=num_fresh_seeds)
        chosen = {name: values[best : best + 1] for name, values in settings.items()}
        outcome = train_settings(fresh, chosen, folder / "confirming", quiet)
        results["best"] = {"setting": best, "seeds": [*range(fresh.seed, fresh.seed + num_fresh_seeds)]} | _describe(
            chosen, outcome
        )[0]
        results["env_steps"] += fresh.num_env_steps * num_fresh_seeds
        results["wall_seconds"] = round(results["wall_seconds"] + outcome.seconds, 1)
        _write(results, folder)
    return results


def _asked(config: Config, ranges: Ranges) -> dict[str, Any]:
    """Returns what a search is asked for, but for its numbers, as JSON has it."""
    unused = {flag_name(field) for field in dataclasses.fields(config) if field.name in UNUSED}
    flags = without_new_defaults({name: value for name, value in by_flag(config).items() if name not in unused})
    return {
        "flags": {name: list(value) if isinstance(value, tuple) else value for name, value in flags.items()},
        "ranges": {name: list(map(plain, ends)) for name, ends in ranges.items()},
    }


def _write(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes `search.json`, but no results without a best one over complete ones."""
    if results["best"] is None and (folder / RESULTS).exists():
        return
    with told(folder):
        write_whole(folder / RESULTS, json.dumps(results, indent=2, allow_nan=False) + "\n")


def train_settings(config: Config, settings: Settings, folder: pathlib.Path, quiet: bool = False) -> Outcome:
    """Trains every seed of a run with every setting, as the seeds of one run that start from other hyperparameters.

    Args:
      config: validated settings, with estimator `none`; the hyperparameters that are searched are not used.
      settings: these hyperparameters.
      folder: of the run.
      quiet: whether to show no progress.

    Returns:
      The outcome.

    Raises:
      Exception: as `search`.
    """
    shape = len(settings["discount"]), config.num_seeds
    numbers = np.tile(config.seed + np.arange(config.num_seeds, dtype=np.int32), shape[0])
    starts = Starts(numbers, {name: np.repeat(values, shape[1]) for name, values in settings.items()})
    metrics, seconds = train_seeds(
        require_agent(config),
        dataclasses.replace(config, num_seeds=len(numbers)),
        starts,
        folder,
        Execution(keep=1, on_divergence="drop"),
        trials=True,
        quiet=quiet,
        turn=Turn(f"{shape[0]} {'settings' if shape[0] > 1 else 'setting'}, {shape[1]} seeds each"),
    )
    return Outcome(final_returns(metrics).reshape(shape), dropped_seeds(metrics).reshape(shape), seconds)


def _claim(folder: pathlib.Path, asked: dict[str, Any]) -> None:
    """Marks the folder as that of this search, or checks that it is.

    Raises:
      UsageError: if it is that of another one.
    """
    file = folder / ASKED
    if file.exists():
        if not holds(file, asked):
            refuse("logdir", folder, "a new or empty folder, or one of a search with the same settings")
        return
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asked, indent=2) + "\n")


def _describe(settings: Settings, outcome: Outcome) -> list[dict[str, Any]]:
    """Returns each setting and its outcome as JSON has it.

    A setting's return is the mean over all its seeds, or null: without those that diverged it would look better.
    """
    complete = np.isfinite(outcome.returns).all(1)
    means = np.where(complete, statistics.mean(outcome.returns.T), np.nan)
    return [
        {
            # The shortest numbers that are the same in single precision, so that flags give the same training.
            "hyperparameters": {name: float(str(values[index])) for name, values in settings.items()},
            "return": as_json(statistics.Estimate(*means[:, index])),
            "returns": [float(value) if np.isfinite(value) else None for value in outcome.returns[index]],
            "diverged": bool(outcome.diverged[index].any()),
        }
        for index in range(len(complete))
    ]


def ranking(settings: list[dict[str, Any]]) -> list[int]:
    """Returns the settings' numbers from the highest mean return to the lowest, and then those without one."""

    def loss(index: int) -> float:
        mean = settings[index]["return"]["estimate"]
        return math.inf if mean is None else -mean

    return sorted(range(len(settings)), key=loss)
