"""The format of checkpoints, and which of them are kept: one of each stretch of the run, and the last.

A checkpoint holds the states of all seeds, as orbax writes them, random keys as their numbers. The loop in
`runs.training` writes those that are kept, one every `checkpoint_every` logging points, and one where it is stopped.
"""

import logging
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments.config.ranges import UsageError
from experiments.config.settings import Config, Execution

# Orbax tells the story of every checkpoint by warnings, and of errors besides raising them.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

CHECKPOINTS = "checkpoint"

TEMPORARY = ".orbax-checkpoint-tmp"
"""How orbax marks what is not complete."""

PRECISION = re.compile("(?<=^float)(32|64)")
"""Of an array, in its description."""


def stays(config: Config, execution: Execution, env_steps: int) -> bool:
    """Returns whether a checkpoint is to stay: at the end, and where a logging point first reaches another stretch.

    Args:
      config: the run's settings.
      execution: how it is carried out.
      env_steps: of a logging point.
    """
    stretch = stretch_of(config, execution)
    crossed = env_steps // stretch > (env_steps - config.steps_per_point) // stretch
    return crossed or env_steps == config.num_env_steps


def staying(steps: Sequence[int], stretch: int) -> list[int]:
    """Returns which checkpoints are to stay: the last one, and the first in each stretch of the run but in its first.

    Args:
      steps: environment steps of checkpoints, in order.
      stretch: environment steps of a stretch.
    """
    firsts = {env_steps // stretch: env_steps for env_steps in reversed(steps) if env_steps >= stretch}
    return sorted({*firsts.values(), *steps[-1:]})


def stretch_of(config: Config, execution: Execution) -> int:
    """Returns environment steps of one seed, in whole logging points, of which a run has `keep` at most."""
    num_points = -(-config.num_env_steps // config.steps_per_point)
    return -(-num_points // execution.keep) * config.steps_per_point


def checkpoint_steps(folder: pathlib.Path) -> list[int]:
    """Returns the environment steps at which a run's checkpoints were taken, in order."""
    place = folder / CHECKPOINTS
    names = [entry.name for entry in place.iterdir()] if place.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())  # others are not complete


def open_checkpoints(folder: pathlib.Path, read_only: bool) -> ocp.CheckpointManager:
    """Opens a run's checkpoints; to write, it first removes what a process left behind that was killed meanwhile."""
    place = (folder / CHECKPOINTS).resolve()
    if not read_only:
        place.mkdir(exist_ok=True)
    # Where several processes train a run, the first has all that is saved, and none waits for the others.
    alone = ocp.options.MultiprocessingOptions(active_processes={0}, barrier_sync_key_prefix="first")
    options = ocp.CheckpointManagerOptions(
        read_only=read_only,
        create=False,
        cleanup_tmp_directories=not read_only,
        enable_async_checkpointing=False,  # for the next interval reuses the state's memory
        multiprocessing_options=alone,
    )
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    return ocp.CheckpointManager(place, options=options, item_handlers=handler)


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
    plain = jax.tree.map(
        lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), jax.eval_shape(without_keys, like)
    )
    place = folder / CHECKPOINTS / str(env_steps)
    try:
        with open_checkpoints(folder, read_only=True) as manager:
            # Before anything is read: orbax finds out in the middle, and stops with threads at work that complain.
            metadata = manager.item_metadata(env_steps)
            if metadata is None:
                raise LookupError("the description of its arrays is missing")
            _check_arrays(place, metadata.tree, plain, same_precision)
            restored = manager.restore(env_steps, args=ocp.args.StandardRestore(plain))
    except UsageError:
        raise
    except Exception as error:  # whatever a damaged file leads to, in orbax and below it
        raise unreadable(folder, env_steps, error) from error
    return with_keys(restored, like)


def unreadable(folder: pathlib.Path, env_steps: int, error: Exception) -> UsageError:
    """Returns what is said of a damaged checkpoint."""
    place = folder / CHECKPOINTS / str(env_steps)
    return UsageError(f"{place}: is not a checkpoint that this version can read ({error})")


def _check_arrays(place: pathlib.Path, saved: Any, expected: Any, same_precision: bool) -> None:
    """Compares a checkpoint's arrays, of which only shapes and dtypes need be known, with those expected.

    Raises:
      UsageError: names the first array that is missing, of another shape or dtype, or not expected.
    """
    found, wanted = _descriptions(saved), _descriptions(expected)
    for path in sorted(wanted.keys() | found.keys()):
        has, needs = found.get(path, "not in it"), wanted.get(path, "none")
        alike = PRECISION.sub("", has) == PRECISION.sub("", needs)
        if not alike or (same_precision and has != needs):
            hint = "; JAX_ENABLE_X64 must be as it was for the run to go on" if alike else ""
            raise UsageError(f"{place}: does not fit its run's settings: {path} is {has}, expected {needs}{hint}")


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
