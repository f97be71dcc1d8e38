"""Trains what a search tries: many seeds in one program, each from hyperparameters of its own."""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from experiments.config.search import Settings
from experiments.config.settings import Config, Execution
from experiments.figures.outcome import final_returns
from experiments.runs.building import require_agent
from experiments.runs.progress import Turn
from experiments.runs.seeds import Starts
from experiments.runs.training import Between, Result, train_seeds
from experiments.storage.metrics import dropped_seeds


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


def train_settings(
    config: Config, settings: Settings, folder: pathlib.Path, quiet: bool = False, to_come: float = 0.0
) -> Outcome:
    """Trains every seed of a run with every setting, as the seeds of one run that start from other hyperparameters.

    Args:
      config: validated settings, with estimator `none`; the hyperparameters that are searched are not used.
      settings: these hyperparameters.
      folder: of the run.
      quiet: whether to show no progress.
      to_come: how many such runs follow, which the progress tells.

    Returns:
      The outcome.

    Raises:
      Exception: as `searching.search`.
    """
    shape = len(settings["discount"]), config.num_seeds
    numbers = np.tile(config.seed + np.arange(config.num_seeds, dtype=np.int32), shape[0])
    starts = Starts(numbers, {name: np.repeat(values, shape[1]) for name, values in settings.items()})
    turn = Turn("settings: {}, seeds of each: {}".format(*shape), to_come)
    metrics, seconds = train_starts(config, starts, folder, turn, quiet)
    return Outcome(final_returns(metrics).reshape(shape), dropped_seeds(metrics).reshape(shape), seconds)


def train_starts(
    config: Config, starts: Starts, folder: pathlib.Path, turn: Turn, quiet: bool, between: Between | None = None
) -> Result:
    """Trains seeds, of which those that diverge are dropped, in a folder that is no run for anybody else."""
    return train_seeds(
        require_agent(config),
        dataclasses.replace(config, num_seeds=len(starts.numbers)),
        starts,
        folder,
        Execution(keep=1, on_divergence="drop"),
        trials=True,
        between=between,
        quiet=quiet,
        turn=turn,
    )
