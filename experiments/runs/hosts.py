"""Several processes that train one run, each its share of the seeds on its own devices, by JAX's distributed runtime.

The seeds exchange nothing while they are trained. What all have to know, metrics and checkpoints, is gathered as bytes
at each logging point, so that nothing is rounded and a folder does not depend on the number of processes. JAX's runtime
finds the processes of a cluster, and ends those that are left where one is lost.
"""

import contextlib
import dataclasses
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.config.settings import Group, UsageError, refuse
from experiments.storage.packing import pack, unpack

HEARTBEAT_SECONDS = 30
"""After how long without a sign of life JAX takes a process for lost."""

AUTO = "auto"

ADDRESS = f"HOST:PORT of process 0, or {AUTO}"


class LostError(Exception):
    """Another process has ended; its text is the user's one line."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among all; what is None is left to JAX to detect.

    Attributes:
      address: HOST:PORT, on which process 0 awaits the others.
      number: of processes.
      index: this one's, from 0.
    """

    address: str | None
    number: int | None
    index: int | None


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The processes of a run, which call the same methods in the same order.

    Attributes:
      index: of this process; 0 is the first.
      number: of processes.
      gather: from this process's bytes to those of all, in order.
    """

    index: int
    number: int
    gather: Callable[[bytes], list[bytes]]

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    def shares(self, count: int) -> list[slice]:
        """Returns which of so many seeds each process has: neighbours, in equal numbers but for one."""
        ends = [count * index // self.number for index in range(self.number + 1)]
        return [slice(start, end) for start, end in itertools.pairwise(ends)]

    def everywhere(self, tree: Any) -> Any:
        """Joins everybody's arrays [share, ...] along their leading axis, to arrays [all shares, ...].

        Raises:
          LostError: if another process has ended.
        """
        if self.number == 1:
            return tree
        parts = [unpack(part, tree) for part in self.gather(pack(tree))]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def from_first(self, tree: Any) -> Any:
        """Sends arrays [N, ...] of the first process to all.

        Args:
          tree: of the first; elsewhere only structure, dtypes and shapes behind the leading axis matter.

        Raises:
          LostError: if another process has ended.
        """
        if self.number == 1:
            return tree
        return unpack(self.gather(pack(tree) if self.first else b"")[0], tree)


ALONE = Hosts(0, 1, lambda data: [data])
"""A single process, which has all seeds and asks nobody."""


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags that say where a process stands among those of a run."""
    where: dict[str, Any] = {"flag_values": values, "module_name": Group.PROCESSES}
    flags.DEFINE_string(
        "coordinator",
        "",
        f"where several processes train one run, each a share of the seeds on the devices that it sees: {ADDRESS}, "
        "which takes it, --num_processes and --process_id from what JAX detects of a cluster (Slurm, Open MPI, "
        "Kubernetes). All are started with the same flags, but for --process_id; only process 0 writes to --logdir",
        **where,
    )
    flags.DEFINE_integer("num_processes", None, "with --coordinator: processes that train the run; at least 2", **where)
    flags.DEFINE_integer(
        "process_id", None, "with --coordinator: which of the processes this one is; in [0, num_processes)", **where
    )


def place_from_flags(values: flags.FlagValues) -> Place | None:
    """Returns where this process stands, or None if it is the only one.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    address, number, index = values.coordinator, values.num_processes, values.process_id
    if address in ("", AUTO):
        for name, value in (("num_processes", number), ("process_id", index)):
            if value is not None:
                refuse(
                    name,
                    value,
                    f"left out{' with' if address else ', or given with'} --coordinator={address or ADDRESS}",
                )
        return Place(None, None, None) if address else None
    if number is None or not 2 <= number < 2**31:
        allowed = f"given with --coordinator={address}, at least 2 and below 2^31"
        refuse("num_processes", "" if number is None else number, allowed)
    if index is None or not 0 <= index < number:
        refuse("process_id", "" if index is None else index, f"in [0, {number - 1}], with --num_processes={number}")
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port[:6]) < 2**16):
        refuse("coordinator", address, f"{ADDRESS}, with a port in [1, 65535]")
    return Place(address, number, index)


@contextlib.contextmanager
def joined(place: Place | None, told: tuple[type[Exception], ...]) -> Iterator[Hosts]:
    """Finds the other processes, before JAX computes anything, and waits for them in the end.

    Where there are others, an exception ends this process within the context, with status 2 if it is a `UsageError` and
    otherwise 1.

    Args:
      place: of this process; None if it is the only one.
      told: exceptions whose text is one line for the user.

    Yields:
      The processes.

    Raises:
      UsageError: if there is no cluster to be detected.
      RuntimeError: JAX's, if the others are not found.
    """
    if place is None:
        yield ALONE
        return
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            place.address, place.number, place.index, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except ValueError as error:
        refuse("coordinator", AUTO, f"HOST:PORT of process 0, since JAX detects no cluster here ({error})")
    try:
        yield Hosts(jax.process_index(), jax.process_count(), _gather)
    except Exception as error:
        # At once: otherwise JAX's runtime would first wait for the others, and they wait for this one.
        if isinstance(error, (UsageError, LostError, *told)):
            line = error.of_flags() if isinstance(error, UsageError) else str(error)
            print(" ".join(line.split()), file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        os._exit(2 if isinstance(error, UsageError) else 1)
    jax.distributed.shutdown()


def _gather(data: bytes) -> list[bytes]:
    """Returns the bytes of every process, in order; they need not be as many.

    Raises:
      LostError: if another process has ended.
    """
    from jax.experimental import multihost_utils

    with _losing():
        lengths = multihost_utils.process_allgather(np.array(len(data), np.uint32))
        padded = np.zeros(lengths.max(), np.uint8)
        padded[: len(data)] = np.frombuffer(data, np.uint8)
        everything = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:length].tobytes() for row, length in zip(everything, lengths, strict=True)]


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
