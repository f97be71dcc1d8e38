"""Several processes that train one run: which seeds each has, and what they exchange. Their flags: `config.hosts`.

The seeds exchange nothing while they are trained. At each logging point JAX's runtime gathers what all have to know,
metrics and checkpoints, and the first process writes them: a folder does not depend on their number. It also finds the
processes of a cluster, and ends those that are left where one is lost.
"""

import contextlib
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.config.hosts import AUTO, Place
from experiments.config.ranges import StoppedError, UsageError, refuse

HEARTBEAT_SECONDS = 30
"""After how long without a sign of life JAX takes a process for lost."""

LARGEST_TEXT = 2**16
"""Bytes of settings that are sent."""


class LostError(StoppedError):
    """Another process has ended."""


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The processes of a run, which call the same methods in the same order.

    Attributes:
      index: of this process; 0 is the first, which writes.
      number: of processes.
    """

    index: int = 0
    number: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    def share(self, count: int) -> slice:
        """Returns which of so many seeds this process has.

        Raises:
          UsageError: if there are no equal shares.
        """
        if count % self.number:
            refuse("num_processes", self.number, f"a divisor of `num_seeds` ({count})")
        size = count // self.number
        return slice(self.index * size, (self.index + 1) * size)

    def all_gather(self, tree: Any) -> Any:
        """Joins everybody's arrays [share, ...] along their leading axis, to NumPy arrays [all shares, ...].

        Raises:
          LostError: if another process has ended.
        """
        if self.number == 1:
            return tree
        with _losing():
            return multihost_utils.process_allgather(tree, tiled=True)

    def broadcast(self, tree: Any) -> Any:
        """Sends NumPy arrays [N, ...] of the first process to all, to the bit; all have the same shapes and dtypes.

        Raises:
          LostError: if another process has ended.
        """
        if self.number == 1:
            return tree
        # As bytes, for JAX adds up what it sends, to zeros, and minus zero would not arrive.
        data = jax.tree.map(lambda leaf: np.ascontiguousarray(leaf).view(np.uint8), tree)
        with _losing():
            sent = multihost_utils.broadcast_one_to_all(data)
        return jax.tree.map(lambda data, leaf: np.asarray(data).view(leaf.dtype), sent, tree)

    def check_alike(self, settings: Mapping[str, Any]) -> None:
        """Makes sure that all processes have the same settings, given under their flags' names.

        Raises:
          UsageError: names the setting that differs from the first process's.
          LostError: if another process has ended.
        """
        text = json.dumps(settings).encode().ljust(LARGEST_TEXT)
        theirs = json.loads(self.broadcast(np.frombuffer(text, np.uint8)).tobytes())
        for name, value in json.loads(text).items():
            if value != theirs.get(name):
                refuse(name, value, f"{theirs.get(name)}, as process 0 has it")


ALONE = Hosts()
"""A single process, which has all seeds."""


@contextlib.contextmanager
def joined(place: Place | None) -> Iterator[Hosts]:
    """Finds the other processes, before JAX computes anything, and waits for them in the end.

    Where there are others, an exception ends this process within the context, with status 2 if it is a `UsageError` and
    otherwise 1.

    Args:
      place: of this process; None if it is the only one.

    Yields:
      The processes.

    Raises:
      UsageError: if there is no cluster to be detected.
      RuntimeError: JAX's, if the others are not found.
    """
    if place is None:
        yield ALONE
        return
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(
            place.address, place.number, place.index, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except ValueError as error:
        refuse("coordinator", AUTO, f"HOST:PORT of process 0, since JAX detects no cluster here ({error})")
    try:
        yield Hosts(jax.process_index(), jax.process_count())
    except Exception as error:
        # At once: otherwise JAX's runtime would first wait for the others, and they wait for this one.
        if isinstance(error, UsageError | StoppedError):
            print(" ".join(error.of_flags().split()), file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        os._exit(2 if isinstance(error, UsageError) else 1)
    jax.distributed.shutdown()


@contextlib.contextmanager
def _losing() -> Iterator[None]:
    """Tells in one line that another process did not take part."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # the latter where the call is JAX's fast one
        raise LostError(
            "stopped: another process has ended, for which its own output has the reason, or cannot be reached any "
            "more; what was complete is intact, and the same commands go on from there"
        ) from error
