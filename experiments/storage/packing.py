"""Trees of arrays as plain bytes, and back: for files and connections that carry nothing that could be run."""

from typing import Any

import jax
import numpy as np


def pack(tree: Any) -> bytes:
    """Returns the bytes of a tree of arrays [N, ...], without random keys, one array after the other."""
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))


def unpack(data: bytes, like: Any) -> Any:
    """Undoes `pack`.

    Args:
      data: of a tree of arrays [N, ...].
      like: a tree of arrays, or of their shapes and dtypes, that are the same but for N.

    Returns:
      The tree, of NumPy arrays of their own.

    Raises:
      ValueError: if these are not the bytes of such a tree.
    """
    leaves, structure = jax.tree.flatten(like)
    number, rest = divmod(len(data), sum(_row(leaf) for leaf in leaves))
    if rest:
        raise ValueError("there are more or fewer bytes than the arrays have")
    arrays, start = [], 0
    for leaf in leaves:
        array = np.frombuffer(data, leaf.dtype, number * _row(leaf) // leaf.dtype.itemsize, start)
        arrays.append(array.reshape(number, *leaf.shape[1:]).copy())
        start += array.nbytes
    return jax.tree.unflatten(structure, arrays)


def _row(leaf: Any) -> int:
    """Returns the number of bytes of one of the items along an array's leading axis."""
    return int(np.prod(leaf.shape[1:], dtype=int)) * leaf.dtype.itemsize
