"""The flags of a run that several processes train: `--coordinator`, `--num_processes` and `--process_id`."""

import dataclasses
from typing import Any

from absl import flags

from experiments.config.ranges import refuse
from experiments.config.settings import Group

AUTO = "auto"

ADDRESS = f"HOST:PORT of process 0, or {AUTO}"


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


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags that say where a process stands among those of a run."""
    where: dict[str, Any] = {"flag_values": values, "module_name": Group.PROCESSES}
    text = (
        "where several processes train one run, each an equal share of the seeds on the devices that it sees: "
        f"{ADDRESS}, which takes it, --num_processes and --process_id from what JAX detects of a cluster (Slurm, Open "
        "MPI, Kubernetes). All are started with the same flags, but for --process_id; only process 0 writes to --logdir"
    )
    flags.DEFINE_string("coordinator", "", text, **where)
    text = "with --coordinator: processes that train the run; at least 2, and a divisor of --num_seeds"
    flags.DEFINE_integer("num_processes", None, text, **where)
    text = "with --coordinator: which of the processes this one is; in [0, num_processes)"
    flags.DEFINE_integer("process_id", None, text, **where)


def place_from_flags(values: flags.FlagValues) -> Place | None:
    """Returns where this process stands, or None if it is the only one.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    address, number, index = values.coordinator, values.num_processes, values.process_id
    if address in ("", AUTO):
        for name, value in (("num_processes", number), ("process_id", index)):
            if value is not None:
                refuse(name, value, f"left out, or given with `coordinator`={ADDRESS.partition(',')[0]}")
        return Place(None, None, None) if address else None
    if number is None or not 2 <= number < 2**31:
        allowed = f"given with `coordinator`={address}, at least 2 and below 2^31"
        refuse("num_processes", "" if number is None else number, allowed)
    if index is None or not 0 <= index < number:
        refuse("process_id", "" if index is None else index, f"in [0, {number - 1}], with `num_processes`={number}")
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port[:6]) < 2**16):
        refuse("coordinator", address, f"{ADDRESS}, with a port in [1, 65535]")
    return Place(address, number, index)
