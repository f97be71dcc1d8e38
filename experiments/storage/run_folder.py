"""Writes and reads a run's folder: `config.json`, `metrics.csv`, TensorBoard events and checkpoints.

A run that was stopped, or killed at any moment, goes on from its last complete checkpoint: the rows after it are cut
off and come again.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
from types import TracebackType
from typing import Any, Self

import numpy as np
import orbax.checkpoint as ocp

from experiments.config.ranges import UsageError, refuse
from experiments.config.settings import Config, Execution
from experiments.storage import checkpoints, config_file, metrics
from experiments.storage.config_file import CONFIG
from experiments.storage.events import EventLog, scalars
from experiments.storage.files import told
from experiments.storage.metrics import METRICS, Metrics

OWN = (CONFIG, METRICS)
"""What a folder holds at least where a run began, if only for a moment."""


class RunFolder:
    """Writes a run's folder while the run goes on; everything written so far is on disk after each call.

    Attributes:
      env_steps: environment steps of one seed at the last checkpoint, where the run goes on; 0 without one.
      seconds: how long training took until then.
    """

    env_steps: int
    seconds: float

    def __init__(self, folder: pathlib.Path, config: Config, execution: Execution, settings: str = CONFIG) -> None:
        """Starts the folder, or goes back to the last checkpoint of the same run in it; `settings` is a file's name.

        Raises:
          UsageError: if the folder holds something else or a run with other settings, another process is using it,
            or it cannot be written to.
        """
        self._folder, self._config, self._settings = folder, config, folder / settings
        self._stretch = checkpoints.stretch_of(config, execution)
        self._seeds = config.seed + np.arange(config.num_seeds)
        self._events: EventLog | None = None
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._rows = stack.enter_context((folder / METRICS).open("a+b"))
            except OSError as error:
                raise UsageError(f"{folder}: cannot be written to ({error.strerror})") from error
            self._lock()
            self._claim()
            with told(folder):
                self._checkpoints = stack.enter_context(contextlib.closing(self._open_checkpoints()))
                self._go_back()
            self._open = stack.pop_all()

    def _lock(self) -> None:
        """Keeps other processes out until the file is closed, which the system does for a process that is killed."""
        try:
            fcntl.flock(self._rows, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self._folder}: another process is using this folder") from None

    def _claim(self) -> None:
        """Writes the settings where there are none; those of a longer run replace them with its first rows."""
        self._longer = False
        if self._settings.exists():
            config_file.check_settings(self._folder, self._config, self._settings.name)
            self._longer = config_file.load(self._settings) != self._config
        elif self._rows.tell():
            refuse("logdir", self._folder, f"a folder whose {METRICS}, if it has one, is that of a run")
        else:
            with told(self._folder):
                config_file.save(self._config, self._settings)

    def _open_checkpoints(self) -> ocp.CheckpointManager:
        """Opens the checkpoints, of which orbax reads what describes them."""
        try:
            return checkpoints.open_checkpoints(self._folder, read_only=False)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            steps = checkpoints.checkpoint_steps(self._folder)
            if not steps:
                raise
            raise checkpoints.unreadable(self._folder, steps[-1], error) from error

    def _go_back(self) -> None:
        """Finds the last checkpoint, and removes what came after it."""
        self._remove_checkpoints()
        self.env_steps = max(checkpoints.checkpoint_steps(self._folder), default=0)
        self.seconds = self._seconds_until(self.env_steps) if self.env_steps else 0.0
        self._rows.truncate(metrics.length_until(self._folder / METRICS, self.env_steps, len(self._seeds)))
        self._rows.seek(0)
        self._header = self._rows.readline().decode("utf-8-sig", "replace").rstrip()

    def _seconds_until(self, env_steps: int) -> float:
        """Reads how long training took until a checkpoint; 0 where that is not known."""
        try:
            return float((self._checkpoints.metadata(env_steps).custom_metadata or {}).get("seconds", 0.0))
        except Exception as error:  # whatever a damaged file leads to
            raise checkpoints.unreadable(self._folder, env_steps, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # what could not be written was told by the call that wrote it
            self._open.close()

    def write_metrics(self, env_steps: int, columns: Metrics) -> None:
        """Adds a logging point: a row a seed to the CSV, and what TensorBoard shows of it.

        Args:
          env_steps: environment steps of one seed so far.
          columns: float [num_seeds] each; NaN, where nothing was measured, becomes an empty cell.

        Raises:
          UsageError: if the rows before have other columns.
          WriteError: if they cannot be written.
        """
        header, rows = metrics.as_rows(env_steps, self._seeds, columns)
        if self._header not in ("", header):
            raise UsageError(f"{self._folder / METRICS}: has other columns than this version writes")
        with told(self._folder):
            if self._longer:
                config_file.save(self._config, self._settings)
                self._longer = False
            self._rows.write((rows if self._header else f"{header}\n{rows}").encode())
            self._rows.flush()
            self._header = header
            if self._events is None:
                self._events = self._open.enter_context(
                    contextlib.closing(EventLog(self._folder, self._config, self.env_steps, columns))
                )
            self._events.write(env_steps, scalars(columns, self._seeds))

    def write_checkpoint(self, env_steps: int, state: Any, seconds: float) -> None:
        """Saves a tree of arrays, keys included, and removes earlier checkpoints that do not stay.

        Args:
          env_steps: environment steps of one seed so far.
          state: the arrays.
          seconds: how long training took until now.

        Raises:
          WriteError: if it cannot be written; those before are intact.
        """
        plain = ocp.args.StandardSave(checkpoints.without_keys(state))
        with told(self._folder):
            self._checkpoints.save(env_steps, args=plain, custom_metadata={"seconds": seconds})
            self._remove_checkpoints()

    def _remove_checkpoints(self) -> None:
        """Removes the checkpoints that do not stay."""
        steps = checkpoints.checkpoint_steps(self._folder)
        place = self._folder / checkpoints.CHECKPOINTS
        for env_steps in set(steps) - set(checkpoints.staying(steps, self._stretch)):
            # Renamed first: a folder that is half empty must not look like a checkpoint. Orbax clears it away.
            leaving = place / f"{env_steps}{checkpoints.TEMPORARY}"
            os.replace(place / str(env_steps), leaving)
            shutil.rmtree(leaving)

    def read_checkpoint(self, like: Any) -> Any:
        """Reads the last checkpoint, as `checkpoints.read_checkpoint` does, without keys."""
        state = checkpoints.read_checkpoint(self._folder, self.env_steps, like, same_precision=True)
        return checkpoints.without_keys(state)

    def read_metrics(self) -> Metrics:
        """Reads `metrics.csv`, as `metrics.read_metrics` does."""
        return metrics.read_metrics(self._folder)
