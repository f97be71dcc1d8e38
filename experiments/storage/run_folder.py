"""What a training run leaves behind: settings, metrics, TensorBoard events and checkpoints, in one folder.

A run that was stopped, or killed at any moment, goes on from its last complete checkpoint: the rows after it are cut
off and come again.
"""

import contextlib
import csv
import dataclasses
import fcntl
import io
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import jax
import numpy as np

from experiments.config import settings as config_lib
from experiments.config.settings import Config, Execution, UsageError, flag_name, refuse
from experiments.storage.events import EventLog, scalars
from experiments.storage.files import read_text

# Orbax tells the story of every checkpoint by warnings, and of errors besides raising them.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

if TYPE_CHECKING:  # imported where it is used, so that --help need not wait for it
    import orbax.checkpoint as ocp

CONFIG, METRICS, CHECKPOINTS = "config.json", "metrics.csv", "checkpoint"

PRECISION = re.compile("(?<=^float)(32|64)")
"""Of an array, in its description."""

OWN = (CONFIG, METRICS)
"""What a folder holds at least where a run began, if only for a moment."""

Metrics = Mapping[str, np.ndarray]
"""Arrays by column name, each [logging points, seeds]; NaN where nothing was measured."""


class WriteError(Exception):
    """The folder of a run cannot be written to any more, such as on a full disk; its text is the user's one line."""


class RunWriter:
    """Writes a run's folder while the run goes on; everything written so far is on disk after each call.

    Attributes:
      env_steps: environment steps of one seed at the last checkpoint, where the run goes on; 0 without one.
      seconds: how long training took until then.
    """

    env_steps: int
    seconds: float

    def __init__(self, folder: pathlib.Path, config: Config, execution: Execution) -> None:
        """Starts the folder, or goes back to the last checkpoint of the same run in it.

        Raises:
          UsageError: if the folder holds something else or a run with other settings, another process is at work in it,
            or it cannot be written to.
        """
        self._folder, self._config, self._execution = folder, config, execution
        self._seeds = config.seed + np.arange(config.num_seeds)
        self._events: EventLog | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._metrics_file = (folder / METRICS).open("a+b")
        except OSError as error:
            raise UsageError(f"{folder}: cannot be written to ({error.strerror})") from error
        with contextlib.ExitStack() as undo:
            undo.callback(self._metrics_file.close)
            self._lock()
            self._claim()
            with told(folder):
                self._checkpoints = self._open_checkpoints()
                undo.callback(self._checkpoints.close)
                self._go_back()
            undo.pop_all()

    def _lock(self) -> None:
        """Keeps other processes out until the file is closed, which the system does for a process that is killed."""
        try:
            fcntl.flock(self._metrics_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self._folder}: another process is at work in this folder") from None

    def _claim(self) -> None:
        """Writes the settings where there are none; those of a longer run replace them with its first rows."""
        path = self._folder / CONFIG
        if not path.exists() and self._metrics_file.tell():
            refuse("logdir", self._folder, f"without a {METRICS} that is not of a run")
        check_settings(self._folder, self._config)
        self._longer = path.exists() and config_lib.load(path) != self._config
        if not path.exists():
            with told(self._folder):
                config_lib.save(self._config, path)

    def _open_checkpoints(self) -> "ocp.CheckpointManager":
        """Opens the checkpoints, of which orbax reads what describes them."""
        try:
            return _checkpoint_manager(self._folder, read_only=False)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            steps = checkpoint_steps(self._folder)
            if not steps:
                raise
            raise _unreadable(self._folder, steps[-1], error) from error

    def _go_back(self) -> None:
        """Finds the last checkpoint, and removes what came after it and what was being written or removed."""
        self._remove_checkpoints()
        steps = checkpoint_steps(self._folder)
        self.env_steps, self.seconds = 0, 0.0
        if steps:
            self.env_steps = steps[-1]
            self.seconds = self._seconds_until(self.env_steps)
        self._metrics_file.truncate(_length_until(self._folder / METRICS, self.env_steps, len(self._seeds)))
        self._metrics_file.seek(0)
        self._header = self._metrics_file.readline().decode("utf-8-sig", "replace").rstrip()

    def _seconds_until(self, env_steps: int) -> float:
        """Reads how long training took until a checkpoint; 0 where that is not known."""
        try:
            return float((self._checkpoints.metadata(env_steps).custom_metadata or {}).get("seconds", 0.0))
        except Exception as error:  # whatever a damaged file leads to
            raise _unreadable(self._folder, env_steps, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What could not be written was told by the call that wrote it.
        with contextlib.suppress(OSError):
            self._metrics_file.close()
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()
        self._checkpoints.close()

    def write_metrics(self, env_steps: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Adds a logging point: a row a seed to the CSV, and what TensorBoard shows of it.

        Args:
          env_steps: environment steps of one seed so far.
          metrics: float [num_seeds] for each column; NaN, where nothing was measured, becomes an empty cell.

        Raises:
          UsageError: if the rows before have other columns.
          WriteError: if they cannot be written.
        """
        rows = io.StringIO()
        writer = csv.DictWriter(rows, ["env_steps", "seed", *metrics], lineterminator="\n")
        writer.writeheader()
        header = rows.getvalue()
        for index, seed in enumerate(self._seeds):
            values = {name: "" if np.isnan(column[index]) else str(column[index]) for name, column in metrics.items()}
            writer.writerow({"env_steps": env_steps, "seed": seed} | values)
        if self._header not in ("", header.rstrip()):
            raise UsageError(f"{self._folder / METRICS}: has other columns than this version writes")
        with told(self._folder):
            if self._longer:
                config_lib.save(self._config, self._folder / CONFIG)
                self._longer = False
            self._metrics_file.write(rows.getvalue().removeprefix(header if self._header else "").encode())
            self._metrics_file.flush()
            self._header = header.rstrip()
            if self._events is None:
                self._events = EventLog(self._folder, self._config, self.env_steps)
            self._events.write(env_steps, scalars(metrics, self._seeds))

    def write_checkpoint(self, env_steps: int, state: Any, seconds: float) -> None:
        """Saves a tree of arrays, keys included, and removes earlier checkpoints that do not stay.

        Args:
          env_steps: environment steps of one seed so far.
          state: the arrays.
          seconds: how long training took until now.

        Raises:
          WriteError: if it cannot be written; those before are intact.
        """
        import orbax.checkpoint as ocp

        with told(self._folder):
            self._checkpoints.save(
                env_steps, args=ocp.args.StandardSave(without_keys(state)), custom_metadata={"seconds": seconds}
            )
            self._remove_checkpoints()

    def _remove_checkpoints(self) -> None:
        """Removes the checkpoints that do not stay, and what a process left behind that was killed meanwhile."""
        place = self._folder / CHECKPOINTS
        steps = checkpoint_steps(self._folder)
        for env_steps in set(steps) - set(staying(steps, _stretch(self._config, self._execution))):
            # Renamed first: a folder that is half empty must not look like a checkpoint.
            os.replace(place / str(env_steps), place / f"{env_steps}.removed")
        for entry in place.iterdir():
            if entry.is_dir() and not entry.name.isdecimal():
                shutil.rmtree(entry)


def stays(config: Config, execution: Execution, env_steps: int) -> bool:
    """Returns whether a checkpoint is to stay: at the end, and where a logging point first reaches another stretch.

    Args:
      config: the run's settings.
      execution: how it is carried out.
      env_steps: of a logging point.
    """
    stretch = _stretch(config, execution)
    crossed = env_steps // stretch > (env_steps - config.steps_per_point) // stretch
    return crossed or env_steps == config.num_env_steps


def _stretch(config: Config, execution: Execution) -> int:
    """Returns environment steps of one seed, in whole logging points, of which a run has `keep` at most."""
    num_points = -(-config.num_env_steps // config.steps_per_point)
    return -(-num_points // execution.keep) * config.steps_per_point


def staying(steps: Sequence[int], stretch: int) -> list[int]:
    """Returns which checkpoints are to stay: the last one, and the first in each stretch of the run but in its first.

    Args:
      steps: environment steps of checkpoints, in order.
      stretch: environment steps of a stretch.
    """
    firsts = {env_steps // stretch: env_steps for env_steps in reversed(steps) if env_steps >= stretch}
    return sorted({*firsts.values(), *steps[-1:]})


def check_settings(folder: pathlib.Path, config: Config) -> None:
    """Checks that a folder, if it holds a run, holds one that these settings go on with.

    Raises:
      UsageError: names the flag that differs, its value and the folder's.
    """
    if not (folder / CONFIG).exists():
        return
    theirs = config_lib.load(folder / CONFIG)
    for field in dataclasses.fields(Config):
        value, other = getattr(config, field.name), getattr(theirs, field.name)
        if field.name == "num_env_steps":
            if value < other:
                refuse("num_env_steps", value, f"at least {other}, as of the run in {folder}")
        elif value != other:
            shown = ",".join(other) if isinstance(other, tuple) else other
            refuse(flag_name(field), value, f"{shown}, as of the run in {folder}, to go on with it")


@contextlib.contextmanager
def told(folder: pathlib.Path) -> Iterator[None]:
    """Tells in one line that a folder cannot be written to."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)  # NumPy says how much was written, and not why no more
        else:
            # Tensorstore, which orbax writes arrays with, has the system's errors in the text of its own.
            codes = re.findall(r"os_error_code='(\d+)'", str(error))
            if not codes:
                raise
            reason = os.strerror(int(codes[-1]))
        raise WriteError(
            f"stopped: {folder} cannot be written to ({reason}); what was complete is intact, and the same command "
            "goes on from there"
        ) from error


def _length_until(path: pathlib.Path, env_steps: int, num_seeds: int) -> int:
    """Returns the number of bytes of a metrics file until the rows of a checkpoint end.

    Raises:
      UsageError: if these rows are not there.
    """
    length = num_rows = 0
    with path.open("rb") as file:
        for line in file:
            steps = line.split(b",")[0]
            if not line.endswith(b"\n") or (steps.isdigit() and int(steps[:20]) > env_steps):
                break
            length += len(line)
            num_rows += steps == str(env_steps).encode()
    if env_steps and num_rows != num_seeds:
        raise UsageError(f"{path}: has not the rows of the checkpoint at {env_steps} environment steps")
    return length


def dropped_seeds(metrics: Metrics) -> np.ndarray:
    """Returns which seeds diverged and were dropped, bool [seeds]: their last row is empty, as no other is."""
    measured = [column[-1] for name, column in metrics.items() if name not in ("env_steps", "seed")]
    return np.asarray(np.isnan(measured).all(0))


def of_survivors(metrics: Metrics) -> Metrics:
    """Leaves out the seeds that were dropped, so that a run's means are over the same seeds everywhere.

    The environment steps, which are the same for every seed, stay whole: no other seed may be left.
    """
    survivors = ~dropped_seeds(metrics)
    return {name: column if name == "env_steps" else column[:, survivors] for name, column in metrics.items()}


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
        rows = list(csv.DictReader(io.StringIO(read_text(folder / METRICS))))
        num_seeds = len({row["seed"] for row in rows}) or 1
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else ())}
        metrics = {name: column.reshape(-1, num_seeds) for name, column in columns.items()}
        if metrics and not {"env_steps", "seed"} < metrics.keys():
            raise LookupError("it has no env_steps, no seed, or nothing else")
    except (OSError, LookupError, TypeError, ValueError, csv.Error) as error:
        raise UsageError(f"{folder / METRICS}: is not the metrics of a run ({error})") from error
    if not metrics:
        raise UsageError(f"{folder / METRICS}: has no logging point yet")
    return metrics


def checkpoint_steps(folder: pathlib.Path) -> list[int]:
    """Returns the environment steps at which a run's checkpoints were taken, in order."""
    place = folder / CHECKPOINTS
    names = [entry.name for entry in place.iterdir()] if place.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())  # others are not complete


def read_checkpoint(folder: pathlib.Path, env_steps: int, like: Any, same_precision: bool = False) -> Any:
    """Reads a checkpoint, wherever its arrays were when it was saved.

    Args:
      folder: of a run.
      env_steps: which checkpoint, one of `checkpoint_steps`.
      like: a tree of arrays, or of their shapes and dtypes, as it was saved; floats may be of another precision.
      same_precision: whether they may not.

    Returns:
      The tree, of NumPy arrays but for its keys, which no NumPy array can hold.

    Raises:
      UsageError: if its arrays are not those of `like`, or cannot be read.
    """
    import orbax.checkpoint as ocp

    plain = jax.tree.map(
        lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), jax.eval_shape(without_keys, like)
    )
    place = folder / CHECKPOINTS / str(env_steps)
    try:
        with _checkpoint_manager(folder, read_only=True) as manager:
            # Before anything is read: orbax finds out in the middle, and stops with threads at work that complain.
            metadata = manager.item_metadata(env_steps)
            if metadata is None:
                raise LookupError("the description of its arrays is missing")
            _check_arrays(place, metadata.tree, plain, same_precision)
            restored = manager.restore(env_steps, args=ocp.args.StandardRestore(plain))
    except UsageError:
        raise
    except Exception as error:  # whatever a damaged file leads to, in orbax and below it
        raise _unreadable(folder, env_steps, error) from error
    return with_keys(restored, like)


def _unreadable(folder: pathlib.Path, env_steps: int, error: Exception) -> UsageError:
    place = folder / CHECKPOINTS / str(env_steps)
    return UsageError(f"{place}: is not a checkpoint that this version can read ({error})")


def _checkpoint_manager(folder: pathlib.Path, read_only: bool) -> "ocp.CheckpointManager":
    import orbax.checkpoint as ocp

    place = (folder / CHECKPOINTS).resolve()
    if not read_only:
        place.mkdir(exist_ok=True)
    # Where several processes train a run, the first has all that is saved, and none waits for the others.
    alone = ocp.options.MultiprocessingOptions(active_processes={0}, barrier_sync_key_prefix="first")
    return ocp.CheckpointManager(
        place,
        # Not in the background, for the next interval reuses the state's memory.
        options=ocp.CheckpointManagerOptions(
            read_only=read_only, create=False, enable_async_checkpointing=False, multiprocessing_options=alone
        ),
        item_handlers=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
    )


def _check_arrays(place: pathlib.Path, saved: Any, expected: Any, same_precision: bool) -> None:
    """Compares a checkpoint's arrays, of which only shapes and dtypes need be known, with those expected.

    Raises:
      UsageError: names the first array that is missing, of another shape or dtype, or not expected.
    """
    found, wanted = _descriptions(saved), _descriptions(expected)
    for path in sorted(wanted.keys() | found.keys()):
        has, needs = found.get(path, "not in it"), wanted.get(path, "none")
        if PRECISION.sub("", has) != PRECISION.sub("", needs):
            raise UsageError(f"{place}: does not fit its run's settings: {path} is {has}, expected {needs}")
        if has != needs and same_precision:
            raise UsageError(
                f"{place}: {path} is {has}, and here {needs}; JAX_ENABLE_X64 must be as it was for the run to go on"
            )


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


def without_keys(tree: Any) -> Any:
    """Replaces random keys by their data, which files and NumPy arrays can hold."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def with_keys(tree: Any, like: Any) -> Any:
    """Undoes `without_keys`; `like` is the tree as it was, of which only dtypes need be known."""
    return jax.tree.map(lambda leaf, shape: jax.random.wrap_key_data(leaf) if _is_key(shape) else leaf, tree, like)
