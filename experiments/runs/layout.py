"""Decides which device computes which seeds, or which samples of a study, and how many are in memory at once.

Shares among several processes come before: `hosts`.

Each device has an equal share of a batch; nothing is exchanged. An accelerator takes its share all at once, a CPU item
by item. On CPUs the layout does not change a bit of the results, unless a share is a single item: the compiler then
dissolves the loop over the share, and rounds otherwise.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.config.ranges import refuse
from experiments.runs import compilation

AXIS = "items"

ALONG = PartitionSpec(AXIS)
"""The leading axis over the devices."""


class Layout(NamedTuple):
    """How items along a leading axis are taken.

    Attributes:
      number: of items.
      size: of a batch, a multiple of the number of devices; what the items do not fill is padding.
      mesh: a row of devices.
    """

    number: int
    size: int
    mesh: Mesh

    @property
    def sharding(self) -> NamedSharding:
        """How a batch lies on the devices."""
        return NamedSharding(self.mesh, ALONG)

    def split(self, tree: Any) -> list[Any]:
        """Cuts arrays [number, ...] into batches, arrays [size, ...]; the padding is zero."""
        num_batches = -(-self.number // self.size)

        def cut(leaf: Any) -> np.ndarray:
            padding = [(0, num_batches * self.size - self.number)] + [(0, 0)] * (np.ndim(leaf) - 1)
            return np.pad(np.asarray(leaf), padding)

        padded = jax.tree.map(cut, tree)
        starts = range(0, num_batches * self.size, self.size)
        return [jax.tree.map(lambda leaf, start=start: leaf[start : start + self.size], padded) for start in starts]

    def join(self, batches: list[Any]) -> Any:
        """Puts batches together again, as NumPy arrays [number, ...], without the padding."""
        return jax.tree.map(
            lambda *leaves: np.concatenate(leaves)[: self.number], *(jax.device_get(batch) for batch in batches)
        )


def lay_out(number: int, at_once: int | None = None) -> Layout:
    """Shares items out among as many of the local devices as have work where the largest share is smallest.

    Args:
      number: of items, at least 1.
      at_once: the most items of a batch, rounded up to a multiple of the devices; None for all.

    Returns:
      The layout, whose batches are as equal as they can be.
    """
    devices = jax.local_devices()
    num_batches = -(-number // (at_once or number))
    share = -(-number // (num_batches * len(devices)))
    used = -(-number // (num_batches * share))
    return Layout(number, share * used, Mesh(np.array(devices[:used]), (AXIS,)))


def over_leading_axis(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Maps a function over a leading axis of seeds, or of windows, inside one program.

    An accelerator takes all at once (`jax.vmap`). A CPU has no lanes left for them: batched products of large matrices
    run slower there than as many plain ones, so it takes one after another (`jax.lax.map`), up to 1.3 times faster.
    """
    return partial(jax.lax.map, function) if jax.default_backend() == "cpu" else jax.vmap(function)


def over_batch(function: Callable[[Any], Any], layout: Layout) -> Callable[[Any], Any]:
    """Maps a function over a batch, arrays [size, ...], each device over its share.

    With JAX_DISABLE_JIT one has it all: JAX would compile every single operation for all devices, again and again.
    """
    mapped = over_leading_axis(function)
    if compilation.jit_is_disabled():
        return mapped
    return jax.shard_map(mapped, mesh=layout.mesh, in_specs=(ALONG,), out_specs=ALONG, check_vma=False)


def over_devices(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Maps a function over a leading axis, all of it at once, inside one program; any number of items will do."""

    def mapped(items: Any) -> Any:
        number = len(jax.tree.leaves(items)[0])
        layout = lay_out(number)
        again = np.arange(layout.size) % number  # the padding repeats the first
        results = over_batch(function, layout)(jax.tree.map(lambda leaf: leaf[again], items))
        return jax.tree.map(lambda leaf: leaf[:number], results)

    return mapped


@contextlib.contextmanager
def fits_memory(flag: str, value: int, what: str) -> Iterator[None]:
    """Says in one line which flag to lower where the memory of a device is too small.

    Args:
      flag: the flag.
      value: its value.
      what: what the memory is too small for.

    Raises:
      UsageError: in place of JAX's error.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and not isinstance(error, MemoryError):
            raise
        refuse(flag, value, f"below {value}, since the memory is too small for {what}")
