"""A run's folder as all processes of the run have it: the first one writes it, and tells the others what is in it."""

import dataclasses
import json
import pathlib
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from experiments.config import settings as config_lib
from experiments.config.settings import Config, Execution, refuse
from experiments.runs.hosts import Hosts
from experiments.storage import checkpoints
from experiments.storage.metrics import Metrics, read_metrics
from experiments.storage.run_folder import RunWriter


class SharedFolder:
    """Writes a run's folder as `RunWriter` does, from what all processes have; they call the same at the same time.

    Attributes:
      env_steps: environment steps of one seed at the last checkpoint, where the run goes on; 0 without one.
      seconds: how long training took until then.
    """

    env_steps: int
    seconds: float

    def __init__(self, folder: pathlib.Path | None, config: Config, execution: Execution, hosts: Hosts) -> None:
        """Starts the folder, or goes back to the last checkpoint of the same run in it.

        Raises:
          UsageError: as of `RunWriter`, or if the processes have different settings.
          LostError: if another process has ended.
        """
        self._hosts, self._folder = hosts, folder
        self._shares = hosts.shares(config.num_seeds)
        _agree(config, execution, hosts)
        self._writer: RunWriter | None = None
        if hosts.first:
            assert folder is not None
            self._writer = RunWriter(folder, config, execution)
        env_steps, seconds = (self._writer.env_steps, self._writer.seconds) if self._writer else (0, 0.0)
        known = hosts.from_first((np.array([env_steps]), np.array([seconds])))
        self.env_steps, self.seconds = (number.item() for number in known)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.__exit__(kind, error, trace)

    def read_checkpoint(self, like: Any) -> Any:
        """Reads the last checkpoint.

        Args:
          like: a tree of arrays of all seeds, or of their shapes and dtypes, as it was saved.

        Returns:
          The arrays of this process's share of the seeds, without keys.

        Raises:
          UsageError: if it cannot be read.
          LostError: if another process has ended.
        """
        whole = jax.eval_shape(checkpoints.without_keys, like)
        if self._folder and self._writer:
            whole = checkpoints.without_keys(
                checkpoints.read_checkpoint(self._folder, self.env_steps, like, same_precision=True)
            )
        mine = self._shares[self._hosts.index]
        return jax.tree.map(lambda leaf: leaf[mine], self._hosts.from_first(whole))

    def write_metrics(self, env_steps: int, metrics: Metrics) -> None:
        """Adds a logging point, of all seeds, as `RunWriter.write_metrics` does."""
        if self._writer:
            self._writer.write_metrics(env_steps, metrics)

    def write_checkpoint(self, env_steps: int, states: Any, seconds: float) -> None:
        """Saves the arrays of everybody's share of the seeds, without keys, and returns once they are on disk.

        Raises:
          WriteError: if they cannot be written; the checkpoints before are intact.
          LostError: if another process has ended.
        """
        whole = self._hosts.everywhere(states)
        if self._writer:
            self._writer.write_checkpoint(env_steps, whole, seconds)
        self._hosts.everywhere(np.zeros(1))  # that it is there

    def read_metrics(self) -> Metrics:
        """Reads `metrics.csv`; elsewhere than in the first process, there is nothing to read."""
        return read_metrics(self._folder) if self._folder and self._writer else {}


def _agree(config: Config, execution: Execution, hosts: Hosts) -> None:
    """Makes sure that all processes have the same settings.

    Raises:
      UsageError: names the flag that differs from the first process's.
    """
    ours = config_lib.by_flag(config) | dataclasses.asdict(execution)
    sent = hosts.from_first(np.frombuffer(json.dumps(ours).encode(), np.uint8))
    theirs = json.loads(sent.tobytes())
    for name, value in json.loads(json.dumps(ours)).items():
        if value != theirs.get(name):
            refuse(name, value, f"{theirs.get(name)}, as process 0 has it")
    if hosts.number > config.num_seeds:
        refuse("num_processes", hosts.number, f"at most `num_seeds` ({config.num_seeds})")
