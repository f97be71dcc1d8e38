"""What a training run leaves behind: settings, metrics, TensorBoard events and checkpoints, in one folder."""

import csv
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorboardX

from experiments import config as config_lib
from experiments.config import Config, UsageError

CONFIG, METRICS, CHECKPOINTS = "config.json", "metrics.csv", "checkpoint"

Metrics = Mapping[str, np.ndarray]
"""Arrays by column name, each [logging points, seeds]; NaN where nothing was measured."""


class RunWriter:
    """Writes a run's folder while the run goes on; everything written so far is on disk after each call."""

    def __init__(self, folder: pathlib.Path, config: Config) -> None:
        """Starts the folder, which must not hold a run yet, and writes the settings into it."""
        folder.mkdir(parents=True, exist_ok=True)
        config_lib.save(config, folder / CONFIG)
        self._metrics_file = (folder / METRICS).open("w", newline="")
        self._csv: csv.DictWriter | None = None
        self._events = tensorboardX.SummaryWriter(str(folder))
        self._checkpoints = _checkpoint_manager(folder)
        self._seeds = config.seed + np.arange(config.num_seeds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics_file.close()
        self._events.close()
        self._checkpoints.close()

    def write_metrics(self, env_steps: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Adds a logging point: a row a seed to the CSV, and the means over seeds to TensorBoard.

        Args:
          env_steps: environment steps of one seed so far.
          metrics: float [num_seeds] for each column; NaN, where nothing was measured, becomes an empty cell.
        """
        if self._csv is None:
            self._csv = csv.DictWriter(self._metrics_file, ["env_steps", "seed", *metrics], lineterminator="\n")
            self._csv.writeheader()
        for index, seed in enumerate(self._seeds):
            values = {name: "" if np.isnan(column[index]) else str(column[index]) for name, column in metrics.items()}
            self._csv.writerow({"env_steps": env_steps, "seed": seed} | values)
        self._metrics_file.flush()
        for name, column in metrics.items():
            if not np.isnan(column).all():
                self._events.add_scalar(name, np.nanmean(column), env_steps)
        self._events.flush()

    def write_checkpoint(self, env_steps: int, state: Any) -> None:
        """Saves a tree of arrays, keys included, under the number of environment steps of one seed."""
        self._checkpoints.save(env_steps, args=ocp.args.StandardSave(_without_keys(state)))
        # The next interval reuses the state's memory, so the copy must be complete.
        self._checkpoints.wait_until_finished()


def read_metrics(folder: pathlib.Path) -> Metrics:
    """Reads `metrics.csv`.

    Args:
      folder: of a run.

    Returns:
      The columns, `env_steps` and `seed` included, each [logging points, seeds].

    Raises:
      UsageError: if the file cannot be read, or the run ended before its first logging point.
    """
    try:
        with (folder / METRICS).open(newline="") as file:
            rows = list(csv.DictReader(file))
        num_seeds = len({row["seed"] for row in rows}) or 1
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else ())}
        metrics = {name: column.reshape(-1, num_seeds) for name, column in columns.items()}
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{folder / METRICS}: is not the metrics of a run ({error})") from error
    if not metrics:
        raise UsageError(f"{folder / METRICS}: has no logging point yet")
    return metrics


def checkpoint_steps(folder: pathlib.Path) -> list[int]:
    """Returns the environment steps at which a run's checkpoints were taken, in order."""
    if not (folder / CHECKPOINTS).is_dir():
        return []
    with _checkpoint_manager(folder) as manager:
        return sorted(manager.all_steps())


def read_checkpoint(folder: pathlib.Path, env_steps: int, like: Any) -> Any:
    """Reads a checkpoint.

    Args:
      folder: of a run.
      env_steps: which checkpoint, one of `checkpoint_steps`.
      like: a tree of arrays, or of their shapes and dtypes, as it was saved.

    Returns:
      The tree.

    Raises:
      UsageError: if its arrays are not those of `like`, or cannot be read.
    """
    plain = jax.eval_shape(_without_keys, like)
    place = folder / CHECKPOINTS / str(env_steps)
    try:
        with _checkpoint_manager(folder) as manager:
            # Before anything is read: orbax finds out in the middle, and stops with threads at work that complain.
            metadata = manager.item_metadata(env_steps)
            if metadata is None:
                raise LookupError("the description of its arrays is missing")
            _check_arrays(place, metadata.tree, plain)
            restored = manager.restore(env_steps, args=ocp.args.StandardRestore(plain))
    except (LookupError, OSError, TypeError, ValueError) as error:
        raise UsageError(f"{place}: is not a checkpoint that this version can read ({error})") from error
    return jax.tree.map(lambda leaf, shape: jax.random.wrap_key_data(leaf) if _is_key(shape) else leaf, restored, like)


def _checkpoint_manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    return ocp.CheckpointManager((folder / CHECKPOINTS).resolve(), item_handlers=ocp.StandardCheckpointHandler())


def _check_arrays(place: pathlib.Path, saved: Any, expected: Any) -> None:
    """Compares a checkpoint's arrays, of which only shapes and dtypes need be known, with those expected.

    Raises:
      UsageError: names the first array that is missing, of another shape or dtype, or not expected.
    """
    found, wanted = _descriptions(saved), _descriptions(expected)
    for path in sorted(wanted.keys() | found.keys()):
        if found.get(path) != wanted.get(path):
            has, needs = found.get(path, "not in it"), wanted.get(path, "none")
            raise UsageError(f"{place}: does not fit its run's settings: {path} is {has}, expected {needs}")


def _descriptions(tree: Any) -> dict[str, str]:
    """Returns the dtype and shape of every array, such as float32[3, 4], by its path in the tree.

    Checkpoints turn tuples into lists and named ones into dictionaries, which have the same paths.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(tree: Any) -> Any:
    """Replaces random keys by their data, which files can hold."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)
