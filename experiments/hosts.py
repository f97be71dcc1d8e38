"""Several processes that train one run, each its share of the seeds on its own devices; the first writes the folder.

The seeds exchange nothing while they are trained, so a connection of each process to the first is enough: metrics and
checkpoints come together there. JAX says what it detects of a cluster, but its distributed runtime is not started:
where it loses a process it aborts the others on the spot, and they could not say why. Here the end of a process closes
its connection, which the others see at once; a machine that vanishes is given up after `LOST_SECONDS`. Whoever can
reach the first process's port could take part, as with JAX's runtime, so the network must be one to trust.
"""

import contextlib
import dataclasses
import itertools
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.config import UsageError, refuse
from experiments.packing import pack, unpack

JOIN_SECONDS = 300.0
"""How long processes wait for each other at the start."""

LOST_SECONDS = 60
"""After how long a process is given up that does not answer any more, though its connection was not closed."""

AUTO = "auto"

ADDRESS = f"HOST:PORT of process 0, or {AUTO}"

HELLO = struct.Struct("!8sII")
"""What processes say first: a mark, the own number or whether it was free, and how many they are."""

MARK, FREE, TAKEN = b"metagrad", 1, 0

LENGTH = struct.Struct("!Q")

ENDED = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class LostError(Exception):
    """Another process has ended, or is out of reach; its text is the user's one line."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among all.

    Attributes:
      index: its number, from 0.
      number: of processes.
      host: of process 0, by name or address.
      port: on which process 0 awaits the others.
    """

    index: int
    number: int
    host: str
    port: int


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The processes of a run, which call the same methods in the same order.

    Attributes:
      index: of this process; 0 is the first.
      number: of processes.
      links: of the first, a connection to each of the others, in order; of any other, the one to the first.
    """

    index: int
    number: int
    links: tuple[socket.socket, ...]

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    def shares(self, count: int) -> list[slice]:
        """Returns which of so many seeds each process has: neighbours, in equal numbers but for one."""
        ends = [count * index // self.number for index in range(self.number + 1)]
        return [slice(start, end) for start, end in itertools.pairwise(ends)]

    def check(self) -> None:
        """Makes sure, without waiting, that no other process has ended.

        Raises:
          LostError: if one has.
        """
        self._ready(self.links, timeout=0)

    def at_first(self, tree: Any) -> Any:
        """Joins everybody's arrays [share, ...] along their leading axis, to arrays [all shares, ...].

        Returns:
          The joined tree in the first process; None elsewhere.

        Raises:
          LostError: if another process has ended.
        """
        if not self.links:
            return tree
        if not self.first:
            self._send(0, pack(tree))
            return None
        parts = [tree, *(unpack(part, tree) for part in self._collect())]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def from_first(self, tree: Any, shares: Sequence[slice] | None = None) -> Any:
        """Sends arrays [N, ...] of the first process to all.

        Args:
          tree: of the first; elsewhere only structure, dtypes and shapes behind the leading axis matter.
          shares: which part of the arrays each process is to have; None for all of them.

        Returns:
          The tree, or this process's part of it.

        Raises:
          LostError: if another process has ended.
        """
        if not self.links:
            return tree
        if not self.first:
            return unpack(self._receive(0), tree)
        parts = [tree] * self.number if shares is None else [_part(tree, share) for share in shares]
        for index, part in enumerate(parts[1:], 1):
            self._send(index, pack(part))
        return parts[0]

    def everywhere(self, tree: Any) -> Any:
        """Joins everybody's arrays as `at_first` does, in every process."""
        whole = self.at_first(tree)
        return self.from_first(whole if self.first else tree)

    def _collect(self) -> list[bytes]:
        """Receives one message of every other process, in whatever order they come."""
        parts: dict[int, bytes] = {}
        while len(parts) < len(self.links):
            # Who has sent the last message of all may have ended well.
            for index in self._ready([link for index, link in enumerate(self.links, 1) if index not in parts]):
                parts[index] = self._receive(index)
        return [parts[index] for index in sorted(parts)]

    def _ready(self, links: Sequence[socket.socket], timeout: int | None = None) -> list[int]:
        """Returns the processes among some from which there is something to read, waiting for it for milliseconds."""
        indices = {link.fileno(): self._other(link) for link in links}
        poll = select.poll()
        for link in links:
            poll.register(link, select.POLLIN | ENDED)
        events = [(indices[descriptor], event) for descriptor, event in poll.poll(timeout)]
        for index, event in events:
            if event & ENDED and not (event & select.POLLIN and timeout is None):
                raise _lost(index)
        return [index for index, _ in events]

    def _other(self, link: socket.socket) -> int:
        return self.links.index(link) + 1 if self.first else 0

    def _link(self, index: int) -> socket.socket:
        return self.links[index - 1 if self.first else 0]

    def _send(self, index: int, data: bytes) -> None:
        with _losing(index):
            self._link(index).sendall(LENGTH.pack(len(data)))
            self._link(index).sendall(data)

    def _receive(self, index: int) -> bytes:
        with _losing(index):
            (length,) = LENGTH.unpack(_read(self._link(index), LENGTH.size))
            return _read(self._link(index), length)


ALONE = Hosts(0, 1, ())
"""A single process, which has all seeds and asks nobody."""


def _part(tree: Any, share: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[share], tree)


def _read(link: socket.socket, length: int) -> bytes:
    """Reads so many bytes.

    Raises:
      EOFError: if the connection was closed before.
    """
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = link.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)


def _lost(index: int) -> LostError:
    return LostError(
        f"stopped: process {index} has ended, for which its own output has the reason, or cannot be reached any more; "
        "what was complete is intact, and the same commands go on from there"
    )


@contextlib.contextmanager
def _losing(index: int) -> Iterator[None]:
    """Tells in one line that the connection to a process broke."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise _lost(index) from error


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags that say where a process stands among those of a run."""
    where: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_string(
        "coordinator",
        "",
        f"where several processes train one run, each a share of the seeds on the devices that it sees: {ADDRESS}, "
        "which takes it and the next two flags from what JAX detects of a cluster (Slurm, Open MPI, Kubernetes). All "
        "are started with the same flags, but for --process_id; only process 0 writes to --logdir",
        **where,
    )
    flags.DEFINE_integer("num_processes", None, "with --coordinator: how many; at least 2", **where)
    flags.DEFINE_integer(
        "process_id", None, "with --coordinator: which of them this one is; in [0, num_processes)", **where
    )


def place_from_flags(values: flags.FlagValues) -> Place | None:
    """Returns where this process stands, or None if it is the only one.

    It must be called before JAX begins to work: where a cluster has a process for each device, it chooses the device.

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
        if not address:
            return None
        address, number, index = _detect()
        if number == 1:
            return None
    if number is None or number < 2:
        refuse("num_processes", "" if number is None else number, f"given with --coordinator={address}, at least 2")
    if index is None or not 0 <= index < number:
        refuse("process_id", "" if index is None else index, f"in [0, {number - 1}], with --num_processes={number}")
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port[:6]) < 2**16):
        refuse("coordinator", address, f"{ADDRESS}, with a port in [1, 65535]")
    return Place(index, number, host.strip("[]"), int(port))


def _detect() -> tuple[str, int, int]:
    """Returns what JAX detects of a cluster: address of process 0, number of processes, and which of them this one is.

    Raises:
      UsageError: if it detects none.
    """
    from jax._src.clusters import ClusterEnv  # JAX shows it to its own distributed runtime alone

    address, number, index, devices = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, int(JOIN_SECONDS)
    )
    if address is None or number is None or index is None:
        refuse("coordinator", AUTO, "HOST:PORT of process 0, since JAX detects no cluster here")
    for name in ("jax_cuda_visible_devices", "jax_rocm_visible_devices"):
        if devices is not None:
            jax.config.update(name, ",".join(map(str, devices)))  # as its runtime does
    return address, number, index


@contextlib.contextmanager
def joined(place: Place | None) -> Iterator[Hosts]:
    """Connects the processes, and closes the connections in the end.

    Args:
      place: of this process; None if it is the only one.

    Yields:
      The processes.

    Raises:
      UsageError: if the processes do not agree on who they are, or the port cannot be had.
      LostError: if one does not come.
    """
    if place is None:
        yield ALONE
        return
    deadline = time.monotonic() + JOIN_SECONDS
    with contextlib.ExitStack() as opened:
        links = _await(place, deadline, opened) if place.index == 0 else [_reach(place, deadline, opened)]
        for link in links:
            _watch(link)
        yield Hosts(place.index, place.number, tuple(links))


def _watch(link: socket.socket) -> None:
    """Has the system give a connection up whose other end does not answer any more."""
    link.settimeout(None)
    options = {
        socket.TCP_NODELAY: 1,
        socket.TCP_KEEPIDLE: LOST_SECONDS // 4,
        socket.TCP_KEEPINTVL: LOST_SECONDS // 4,
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: LOST_SECONDS * 1000,
    }
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in options.items():
        link.setsockopt(socket.IPPROTO_TCP, option, value)


def _await(place: Place, deadline: float, opened: contextlib.ExitStack) -> list[socket.socket]:
    """Returns connections from all others to this first process; strangers who call are not heard."""
    links: dict[int, socket.socket] = {}
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        # On all addresses, as JAX's coordinator: the host's name may mean another one to itself than to the others.
        server = socket.create_server(("", place.port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    except OSError as error:
        raise UsageError(
            f"--coordinator={place.host}:{place.port}: cannot be listened on ({error.strerror})"
        ) from error
    with server:
        while len(links) < place.number - 1:
            missing = [index for index in range(1, place.number) if index not in links]
            with _in_time(deadline, f"process {missing[0]} did not come"):
                server.settimeout(_left(deadline))
                link = opened.enter_context(server.accept()[0])
            with contextlib.suppress(OSError, EOFError):
                link.settimeout(min(10.0, _left(deadline)))
                mark, index, number = HELLO.unpack(_read(link, HELLO.size))
                free = index in missing
                if mark == MARK:
                    link.sendall(HELLO.pack(MARK, FREE if free else TAKEN, place.number))
                    if free and number == place.number:
                        links[index] = link
    return [links[index] for index in sorted(links)]


def _reach(place: Place, deadline: float, opened: contextlib.ExitStack) -> socket.socket:
    """Returns a connection to the first process."""
    with _in_time(deadline, f"process 0 was not to be found at {place.host}:{place.port}"):
        while True:
            with contextlib.suppress(ConnectionError, EOFError, socket.gaierror, struct.error):
                link = socket.create_connection((place.host, place.port), _left(deadline))
                opened.enter_context(link)
                link.sendall(HELLO.pack(MARK, place.index, place.number))
                mark, free, number = HELLO.unpack(_read(link, HELLO.size))
                if mark == MARK:
                    break
            time.sleep(min(0.2, _left(deadline)))
    if number != place.number:
        refuse("num_processes", place.number, f"{number}, as process 0 has it")
    if free != FREE:
        refuse("process_id", place.index, "that of no process that is there already")
    return link


def _left(deadline: float) -> float:
    """Returns the seconds until a deadline.

    Raises:
      TimeoutError: if it is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@contextlib.contextmanager
def _in_time(deadline: float, what: str) -> Iterator[None]:
    """Tells in one line what did not happen before a deadline."""
    try:
        yield
    except TimeoutError as error:
        raise LostError(f"stopped: {what} within {JOIN_SECONDS:g} seconds") from error
