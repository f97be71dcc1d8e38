"""Draws the horizon gradients of independent windows, chunk by chunk; what is drawn is on disk and is not drawn again.

One forward pass over a window gives the gradient of every horizon, so every estimator is a weighted sum of the same
samples, on common random numbers.
"""

import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import UsageError
from experiments.train import NonFiniteError
from metagrad import windows
from metagrad.meta_parameters import MetaParameters
from metagrad.windows import InnerProblem, Position

Start = Callable[[Any, chex.PRNGKey], Position]
"""From whatever is held fixed and a key to the beginning of a window, drawn independently for each key."""


Program = Callable[[Any, MetaParameters, chex.PRNGKey], chex.Array]
"""From what is held fixed, eta and the keys [N] of windows to their horizon gradients, float [N, n, M]; jitted."""


class Point(NamedTuple):
    """Something to study: a learner and its hyperparameters, held fixed.

    Attributes:
      name: fit for a file's name, and for a legend.
      about: what `variance.json` says of it.
      program: from `make_program`.
      fixed: the program's first argument.
      eta: the program's second argument.
      exact: what the estimators' expectations are compared with, if it is known: float [n, M] by name.
    """

    name: str
    about: dict[str, Any]
    program: Program
    fixed: Any
    eta: MetaParameters
    exact: dict[str, np.ndarray]


def make_program(
    problem: InnerProblem,
    start: Start,
    horizon: int,
    names: tuple[str, ...],
    mapped: Callable[[Callable[[Any], Any]], Callable[[Any], Any]],
) -> Program:
    """Makes the program that draws windows.

    Args:
      problem: the inner problem.
      start: of a window.
      horizon: n.
      names: M meta-parameters to differentiate; the others stay as they are.
      mapped: maps a function over the leading axis of the windows' keys.

    Returns:
      The program.
    """

    def draw(fixed: Any, eta: MetaParameters, key: chex.PRNGKey) -> chex.Array:
        start_key, window_key = jax.random.split(key)

        def update(learner: Any, selected: MetaParameters, batch: Any) -> tuple[Any, Any]:
            return problem.update(learner, eta | selected, batch)

        selected = {name: eta[name] for name in names}
        gradients, _, _ = windows.horizon_gradients(
            problem._replace(update=update), horizon, selected, start(fixed, start_key), window_key
        )
        return jnp.stack([gradients[name] for name in names], axis=-1)

    @jax.jit
    def program(fixed: Any, eta: MetaParameters, keys: chex.PRNGKey) -> chex.Array:
        return mapped(lambda key: draw(fixed, eta, key))(keys)

    return program


def draw(
    point: Point,
    key: chex.PRNGKey,
    num_samples: int,
    chunk_size: int,
    folder: pathlib.Path,
    progress: Callable[[int], Any],
) -> np.ndarray:
    """Draws windows at a point, and goes on from those that are on disk already.

    Args:
      point: where.
      key: the point's randomness; window i depends on it and on i alone, not on the chunks.
      num_samples: N.
      chunk_size: windows of one call of the program, as many as fit the memory; on a CPU they take turns.
      folder: for the samples; a file a chunk, named by its first window.
      progress: told how many windows have come.

    Returns:
      Horizon gradients, float [N, n, M].

    Raises:
      UsageError: if the samples on disk were drawn from another agent, or with another key.
      NonFiniteError: if a gradient is not finite; leaving the window out would bend every statistic.
    """
    _claim(folder, point, key)
    chunks: list[np.ndarray] = []
    drawn = 0
    while drawn < num_samples:
        file = folder / f"{drawn:08d}.npy"
        if file.exists():
            chunk = np.load(file)
        else:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, drawn + jnp.arange(chunk_size))
            chunk = np.asarray(point.program(point.fixed, point.eta, keys))
            if not np.isfinite(chunk).all():
                window = drawn + int(np.argmin(np.isfinite(chunk).all((1, 2))))
                raise NonFiniteError(f"stopped: the gradients of window {window} at {point.name} are not finite")
            _write(file, chunk)
        progress(min(len(chunk), num_samples - drawn))
        chunks.append(chunk)
        drawn += len(chunk)
    return np.concatenate(chunks)[:num_samples].astype(np.float64)


def _claim(folder: pathlib.Path, point: Point, key: chex.PRNGKey) -> None:
    """Marks the folder as this agent's and this key's, or checks that it is."""
    leaves = jax.tree.leaves((point.fixed, point.eta, jax.random.key_data(key)))
    mark = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest() + "\n"
    file = folder / "drawn_from"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(mark)
    if file.read_text() != mark:
        raise UsageError(f"{folder}: holds samples of another agent than this; choose another --logdir")


def _write(file: pathlib.Path, chunk: np.ndarray) -> None:
    """Writes a file whole or not at all, wherever the process is killed."""
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.save(stream, chunk)
    os.replace(partial, file)
