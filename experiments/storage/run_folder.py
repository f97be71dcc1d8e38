"""What a training run leaves behind: settings, metrics, TensorBoard events and checkpoints, in one folder.

A run that was stopped, or killed at any moment, goes on from its last complete checkpoint: the rows after it are cut
off and come again.
"""

import contextlib
import csv
import dataclasses
import fcntl
import io
import os
import pathlib
import shutil
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from experiments.config import settings as config_lib
from experiments.config.settings import Config, Execution, UsageError, flag_name, refuse
from experiments.storage.checkpoints import (
    CHECKPOINTS,
    checkpoint_manager,
    checkpoint_steps,
    staying,
    stretch_of,
    unreadable,
    without_keys,
)
from experiments.storage.events import EventLog, scalars
from experiments.storage.files import told
from experiments.storage.metrics import METRICS, length_until

if TYPE_CHECKING:  # imported where it is used, so that --help need not wait for it
    import orbax.checkpoint as ocp

CONFIG = "config.json"


OWN = (CONFIG, METRICS)
"""What a folder holds at least where a run began, if only for a moment."""


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
            return checkpoint_manager(self._folder, read_only=False)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            steps = checkpoint_steps(self._folder)
            if not steps:
                raise
            raise unreadable(self._folder, steps[-1], error) from error

    def _go_back(self) -> None:
        """Finds the last checkpoint, and removes what came after it and what was being written or removed."""
        self._remove_checkpoints()
        steps = checkpoint_steps(self._folder)
        self.env_steps, self.seconds = 0, 0.0
        if steps:
            self.env_steps = steps[-1]
            self.seconds = self._seconds_until(self.env_steps)
        self._metrics_file.truncate(length_until(self._folder / METRICS, self.env_steps, len(self._seeds)))
        self._metrics_file.seek(0)
        self._header = self._metrics_file.readline().decode("utf-8-sig", "replace").rstrip()

    def _seconds_until(self, env_steps: int) -> float:
        """Reads how long training took until a checkpoint; 0 where that is not known."""
        try:
            return float((self._checkpoints.metadata(env_steps).custom_metadata or {}).get("seconds", 0.0))
        except Exception as error:  # whatever a damaged file leads to
            raise unreadable(self._folder, env_steps, error) from error

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
        for env_steps in set(steps) - set(staying(steps, stretch_of(self._config, self._execution))):
            # Renamed first: a folder that is half empty must not look like a checkpoint.
            os.replace(place / str(env_steps), place / f"{env_steps}.removed")
        for entry in place.iterdir():
            if entry.is_dir() and not entry.name.isdecimal():
                shutil.rmtree(entry)


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
