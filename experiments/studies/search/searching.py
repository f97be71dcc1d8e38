"""The search from end to end: settings tried by one of the methods, ranked, and the best one confirmed.

All its parts are runs in folders of their own, which go on where they were stopped. The seeds of such a run are
numbered setting by setting.
"""

import dataclasses
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from experiments.config.ranges import refuse
from experiments.config.search import RANDOM, UNUSED, Method, Ranges, Settings, sample, validate_search
from experiments.config.settings import Config, by_flag, flag_name, plain
from experiments.figures.tables import as_json
from experiments.storage.files import PARTIAL, holds, told, write_whole
from experiments.storage.folder import local_path
from experiments.studies.search import pbt
from experiments.studies.search.trials import Outcome, train_settings
from metagrad import statistics

RESULTS, ASKED = "search.json", "asked.json"

OWN = (ASKED, f"{ASKED}{PARTIAL}")
"""What a folder holds at least where a search began, if only for a moment."""


def search(
    config: Config,
    ranges: Ranges,
    num_settings: int,
    num_fresh_seeds: int,
    folder: str | os.PathLike[str] | None = None,
    *,
    method: Method = RANDOM,
    quiet: bool = False,
) -> dict[str, Any]:
    """Searches, and writes `search.json`: once the settings are trained, and again once the best is confirmed.

    Stopped anywhere, the same call goes on from the last checkpoint, to the same end.

    Args:
      config: the settings; nothing is tuned, whatever its estimator, and its seeds are those of the search.
      ranges: ends of the range of each hyperparameter in `SEARCHED`.
      num_settings: settings to try; of PBT, a population has as many members as these have seeds.
      num_fresh_seeds: seeds for the best of them; they follow those of the search.
      folder: new, empty, or that of the same search. None leaves nothing on disk.
      method: how settings are searched for.
      quiet: whether to show no progress.

    Returns:
      The content of `search.json`; its `best` is None if no setting has a return.

    Raises:
      UsageError: if a setting is impossible, or the folder holds another search or spoilt files.
      StoppedError: if the folder cannot be written to any more, or the environment did what it may not.
      KeyboardInterrupt: with a signal's number, if one came.
    """
    config = config.with_estimator("none")
    validate_search(config, ranges, num_settings, num_fresh_seeds, method)
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return search(config, ranges, num_settings, num_fresh_seeds, place, method=method, quiet=quiet)
    folder = local_path("logdir", folder)
    num_settings, num_fresh_seeds = plain(num_settings), plain(num_fresh_seeds)
    asked = _asked(config, ranges) | _asked_of(method := method.complete(config, num_settings))
    _claim(folder, asked | {"num_settings": num_settings, "num_fresh_seeds": num_fresh_seeds})
    settings, outcome, population = _try(config, ranges, num_settings, method, folder, quiet)
    results: dict[str, Any] = {
        "env_steps": config.num_env_steps * config.num_seeds * num_settings,
        "wall_seconds": round(outcome.seconds, 1),
        **asked,
        "best": None,
        "settings": _describe(settings, outcome),
    }
    if population:
        results |= _describe_population(population)
    _write(results, folder)
    best = ranking(results["settings"])[0]
    if results["settings"][best]["return"]["estimate"] is not None:
        after = config.seed + (outcome.returns.size if population else config.num_seeds)
        fresh = dataclasses.replace(config, seed=after, num_seeds=num_fresh_seeds)
        results["best"], seconds = _confirm(best, fresh, settings, population, folder / "confirming", quiet)
        results["env_steps"] += fresh.num_env_steps * num_fresh_seeds
        results["wall_seconds"] = round(results["wall_seconds"] + seconds, 1)
        _write(results, folder)
    return results


def _try(
    config: Config, ranges: Ranges, num_settings: int, method: Method, folder: pathlib.Path, quiet: bool
) -> tuple[Settings, Outcome, pbt.Population | None]:
    """Trains settings, or a population, as the method asks for them."""
    if method.name == "pbt":
        number = config.num_seeds * num_settings
        population = pbt.train(config, ranges, number, method.exploit_every, folder / "searching", quiet)
        return population.hyperparameters(), population.outcome, population
    if method.name == "tpe":
        return *_search_by_tpe(config, ranges, num_settings, method.batch_size, folder, quiet), None
    settings = sample(ranges, num_settings, config.seed)
    return settings, train_settings(config, settings, folder / "searching", quiet), None


def _confirm(
    best: int, fresh: Config, settings: Settings, population: pbt.Population | None, folder: pathlib.Path, quiet: bool
) -> tuple[dict[str, Any], float]:
    """Trains fresh seeds with the best settings, or as the best member's lineage had them; returns JSON and seconds."""
    chosen = {name: values[best : best + 1] for name, values in settings.items()}
    found = {"setting": best, "seeds": [*range(fresh.seed, fresh.seed + fresh.num_seeds)]}
    stretches = pbt.schedule(population, best) if population else []
    if not stretches:
        outcome = train_settings(fresh, chosen, folder, quiet)
        return found | _describe(chosen, outcome)[0], outcome.seconds
    outcome = pbt.follow(fresh, stretches, folder, quiet)
    schedule = [it._asdict() | {"hyperparameters": _numbers(it.hyperparameters)} for it in stretches]
    return found | _describe(chosen, outcome)[0] | {"schedule": schedule}, outcome.seconds


def _search_by_tpe(
    config: Config, ranges: Ranges, num_settings: int, batch_size: int, folder: pathlib.Path, quiet: bool
) -> tuple[Settings, Outcome]:
    """Searches by TPE, each batch in a folder of its own; see `tpe.search`."""
    from experiments.studies.search import tpe  # here alone, since Optuna may not be installed

    def train(number: int, settings: Settings) -> Outcome:
        place, size = folder / "searching" / f"batch_{number}", len(settings["discount"])
        to_come = (num_settings - number * batch_size - size) / size
        return train_settings(config, settings, place, quiet, to_come)

    return tpe.search(ranges, num_settings, batch_size, config.seed, folder / tpe.STUDY, train)


def _asked_of(method: Method) -> dict[str, Any]:
    """Returns what a search is asked for by its method, as JSON has it; random search has nothing to say."""
    if method.name == "tpe":  # another version may ask for other settings
        return {"method": method.name, "batch_size": method.batch_size, "optuna": metadata.version("optuna")}
    return {"method": method.name, "exploit_every": method.exploit_every} if method.name == "pbt" else {}


def _asked(config: Config, ranges: Ranges) -> dict[str, Any]:
    """Returns what a search is asked for, but for its numbers, as JSON has it."""
    return {
        "flags": _flags(config),
        "ranges": {name: list(map(plain, ends)) for name, ends in ranges.items()},
    }


def _flags(config: Config) -> dict[str, Any]:
    """Returns the settings that a search has, under their flags' names."""
    unused = {flag_name(field) for field in dataclasses.fields(config) if field.name in UNUSED}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in by_flag(config).items()
        if name not in unused
    }


def _write(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes `search.json`, but no results without a best one over complete ones."""
    if results["best"] is None and (folder / RESULTS).exists():
        return
    with told(folder):
        write_whole(folder / RESULTS, json.dumps(results, indent=2, allow_nan=False) + "\n")


def _claim(folder: pathlib.Path, asked: dict[str, Any]) -> None:
    """Marks the folder as that of this search, or checks that it is.

    Raises:
      UsageError: if it is that of another one.
    """
    file = folder / ASKED
    if file.exists():
        if not holds(file, asked, {"flags": _flags(Config(environment=asked["flags"]["environment"]))}):
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
            "hyperparameters": _numbers({name: values[index] for name, values in settings.items()}),
            "return": as_json(statistics.Estimate(*means[:, index])),
            "returns": _or_null(outcome.returns[index]),
            "diverged": bool(outcome.diverged[index].any()),
        }
        for index in range(len(complete))
    ]


def _describe_population(population: pbt.Population) -> dict[str, Any]:
    """Returns what the members started from, and who took over from whom, as JSON has it."""
    happened = []
    for env_steps, scores, (sources, hyperparameters) in population.exploitations:
        copies = [
            {
                "from": int(sources[member]),
                "to": int(member),
                "hyperparameters": _numbers({name: values[member] for name, values in hyperparameters.items()}),
            }
            for member in np.flatnonzero(sources != np.arange(len(sources)))
        ]
        happened.append({"env_steps": env_steps, "scores": _or_null(scores), "copies": copies})
    starts = population.starts
    members = range(len(starts["discount"]))
    return {
        "starts": [_numbers({name: values[member] for name, values in starts.items()}) for member in members],
        "exploitations": happened,
    }


def _numbers(hyperparameters: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the shortest numbers that are the same in single precision, so that flags give the same training."""
    return {name: float(str(value)) for name, value in hyperparameters.items()}


def _or_null(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def ranking(settings: list[dict[str, Any]]) -> list[int]:
    """Returns the settings' numbers from the highest mean return to the lowest, and then those without one."""

    def loss(index: int) -> float:
        mean = settings[index]["return"]["estimate"]
        return math.inf if mean is None else -mean

    return sorted(range(len(settings)), key=loss)
