"""The search from end to end: settings drawn, trained, ranked, the best one confirmed, and all of it on disk.

Stopped anywhere, it goes on from there: what a folder was asked for, how far training is, and the results are files.
"""

import dataclasses
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.config import settings as config_lib
from experiments.config.flags import local_path
from experiments.config.settings import Config, UsageError, flag_name, refuse
from experiments.figures.tables import as_json
from experiments.storage import files
from experiments.storage.files import PARTIAL, holds, read_text, write_whole
from experiments.studies.search.settings import UNUSED, Settings, sample, validate
from experiments.studies.search.training import Outcome, train_settings
from metagrad import statistics

RESULTS, ASKED = "search.json", "asked.json"

OWN = (ASKED, f"{ASKED}{PARTIAL}")
"""What a folder holds at least where a search began, if only for a moment."""

CHECKPOINTS = "searching.npz", "confirming.npz"
"""The last checkpoint of each part, until the part is complete."""


def search(
    config: Config,
    ranges: Mapping[str, tuple[float, float]],
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
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if the environment did what it may not.
      KeyboardInterrupt: with a signal's number, if one came.
    """
    config = config.with_estimator("none")
    validate(config, ranges, num_settings, num_fresh_seeds)
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return search(config, ranges, num_settings, num_fresh_seeds, place, quiet=quiet)
    folder = local_path("logdir", folder)
    num_settings, num_fresh_seeds = config_lib.plain(num_settings), config_lib.plain(num_fresh_seeds)
    unused = {flag_name(field) for field in dataclasses.fields(config) if field.name in UNUSED}
    asked = {
        "flags": {name: value for name, value in config_lib.by_flag(config).items() if name not in unused},
        "ranges": {name: list(map(config_lib.plain, ends)) for name, ends in ranges.items()},
    }
    _claim(folder, asked | {"num_settings": num_settings, "num_fresh_seeds": num_fresh_seeds})
    settings = sample(ranges, num_settings, config.seed)
    searching, confirming = (folder / name for name in CHECKPOINTS)
    results = _read_results(folder / RESULTS, num_settings)
    if results is None:
        outcome = train_settings(config, settings, searching, quiet)
        results = {
            "env_steps": config.num_env_steps * config.num_seeds * num_settings,
            "wall_seconds": round(outcome.seconds, 1),
            **asked,
            "best": None,
            "settings": _describe(settings, outcome),
        }
        _save(results, folder)
    best = ranking(results["settings"])[0]
    if results["best"] is not None or results["settings"][best]["return"]["estimate"] is None:
        return results
    fresh = dataclasses.replace(config, seed=config.seed + config.num_seeds, num_seeds=num_fresh_seeds)
    chosen = {name: values[best : best + 1] for name, values in settings.items()}
    outcome = train_settings(fresh, chosen, confirming, quiet)
    (confirmed,) = _describe(chosen, outcome)
    results["best"] = {"setting": best, "seeds": [fresh.seed + index for index in range(num_fresh_seeds)]} | confirmed
    results["env_steps"] += fresh.num_env_steps * num_fresh_seeds
    results["wall_seconds"] = round(results["wall_seconds"] + outcome.seconds, 1)
    _save(results, folder)
    return results


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
    with files.told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asked, indent=2) + "\n")


def _read_results(file: pathlib.Path, num_settings: int) -> dict[str, Any] | None:
    """Reads `search.json`, if it is there yet.

    Raises:
      UsageError: if it is something else.
    """
    if not file.exists():
        return None
    try:
        results = json.loads(read_text(file))
        complete = {"env_steps", "wall_seconds", "flags", "best"} <= results.keys()
        if not complete or len(ranking(results["settings"])) != num_settings:
            raise ValueError("it has something else in it")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file}: is not the results of this search; without it, it starts anew ({error})") from error
    return results


def _save(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes `search.json`, and removes the checkpoints that it makes superfluous."""
    with files.told(folder):
        write_whole(folder / RESULTS, json.dumps(results, indent=2, allow_nan=False) + "\n")
        for file in (file for name in CHECKPOINTS for file in folder.glob(f"{name}*")):
            file.unlink()


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
